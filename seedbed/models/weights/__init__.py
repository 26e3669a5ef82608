"""Checkpoints in and out: published ones by name and shape, our own whole."""

from seedbed.models.weights.checkpoint import load_network, network_on, save_network
from seedbed.models.weights.load import Report, load

__all__ = ["Report", "load", "load_network", "network_on", "save_network"]
