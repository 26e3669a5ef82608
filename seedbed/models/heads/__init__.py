"""What networks put on a backbone: classification, segmentation, groups, pixel affinities."""
