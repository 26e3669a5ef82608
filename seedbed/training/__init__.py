"""Training of all networks: one loop, with data, objectives, checkpoints and log."""
