"""Evaluation: published definitions of mIoU, and which artefacts of a run are scored."""
