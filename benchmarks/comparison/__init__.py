"""Five systems on the same photos: `make comparison`."""
