"""Weights of networks: published checkpoints, found by name and shape, and our own files."""

from seedbed.models.weights.checkpoint import (
    load_network,
    load_network_cached,
    read_description,
    save_network,
)
from seedbed.models.weights.load import LoadReport, NewHead, load_weights

__all__ = [
    "LoadReport",
    "NewHead",
    "load_network",
    "load_network_cached",
    "load_weights",
    "read_description",
    "save_network",
]
