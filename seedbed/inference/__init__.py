"""Inference: networks over scales and flip, fusion of their outputs, CRF, export."""
