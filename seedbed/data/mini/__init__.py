"""The made-up data set of the default run."""
