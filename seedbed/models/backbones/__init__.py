"""Backbones, with the layer names of their published weights."""
