"""The made-up default data set."""
