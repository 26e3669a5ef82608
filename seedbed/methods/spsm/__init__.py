"""SPSM: selection of high-quality pixels and masks (a reconstruction)."""
