"""One CRF for all steps of the chain, so that a comparison of their masks is fair."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.crf import crf_posterior
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry
from seedbed.formats.palette import VOID


@dataclass(frozen=True)
class CommonCRF:
    """Refines scores or masks of images whose paths are relative to `data`.

    `params` are those of `dense_crf`. `label_confidence` in [0, 1] is the probability that a
    label of a hard mask gets in the unary energies.
    """

    data: Path
    params: Mapping[str, Any]
    label_confidence: float

    def refine_scores(self, entry: ImageEntry, scores: np.ndarray) -> np.ndarray:
        """Labels (H, W) uint8 of non-negative scores (1 + T, H, W): background, then the T tags."""
        posterior = crf_posterior(read_entry(self.data, entry), scores, self.params)
        return np.array([0, *entry.labels], np.uint8)[posterior.argmax(0)]

    def refine_labels(self, entry: ImageEntry, mask: np.ndarray) -> np.ndarray:
        """Labels (H, W) uint8 of a mask; its void pixels start with all classes equally likely.

        A mask that is void everywhere says nothing and stays as it is.
        """
        if (mask == VOID).all():
            return mask
        classes = np.array([0, *entry.labels])
        labelled = mask == classes[:, None, None]
        rest = (1 - self.label_confidence) / (len(classes) - 1)
        scores = np.where(labelled, self.label_confidence, rest)
        return self.refine_scores(entry, np.where(mask == VOID, 1.0, scores).astype(np.float32))
