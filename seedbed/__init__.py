"""Seedbed: weakly supervised semantic segmentation, from image labels to masks."""
