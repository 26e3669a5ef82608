"""The synthetic data set of the default run."""
