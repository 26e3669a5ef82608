"""A reader of Python pickles that executes nothing in them."""
