"""Data sets: files on disk to an index, an index to training samples."""
