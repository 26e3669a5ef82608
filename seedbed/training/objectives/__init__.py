"""What trainings minimise: the published losses on a batch."""
