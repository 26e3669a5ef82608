"""Dense CRF of Krähenbühl & Koltun (NIPS 2011), solved in C++, with PyTorch or by pydensecrf."""

from seedbed.crf.backends import Backend, resolve_backend
from seedbed.crf.dense import crf_posterior, dense_crf, unary_from_probabilities
from seedbed.crf.grid import DenseCRFGrid
from seedbed.crf.pydensecrf.densecrf import DenseCRF2D

__all__ = [
    "Backend",
    "DenseCRF2D",
    "DenseCRFGrid",
    "crf_posterior",
    "dense_crf",
    "resolve_backend",
    "unary_from_probabilities",
]
