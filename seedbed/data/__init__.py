"""Data sets: from files on disk to an index of images, labels and masks."""
