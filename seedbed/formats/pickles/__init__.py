"""Python's pickles, read without executing anything in them."""
