"""Data sets on disk: a VOC devkit with SBD, a folder with a table of labels, COCO."""
