"""One loop for all trainings."""
