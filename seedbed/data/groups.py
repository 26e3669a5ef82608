"""Groups of images that share their labels, for group-wise mining (Li et al., AAAI 2021)."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


class GroupIndex:
    """Finds partners for an image: images with the very same label vector.

    The original draws at random until a vector agrees and, after 1000 failures, takes any image
    that has one fixed label of the item; an index gives the same distribution without the draws.
    Labels: class ids of each image, in the order of the data set.
    """

    def __init__(self, labels: Sequence[tuple[int, ...]]) -> None:
        self._labels = labels
        self._same: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._holding: dict[int, list[int]] = defaultdict(list)
        for index, classes in enumerate(labels):
            self._same[classes].append(index)
            for c in classes:
                self._holding[c].append(index)

    def group(self, index: int, size: int, rng: np.random.Generator) -> list[int]:
        """`size` positions, `index` first; partners are drawn with replacement."""
        classes = self._labels[index]
        candidates = self._same[classes]
        if len(candidates) == 1:  # nobody shares the whole vector: share one label of it
            candidates = self._holding[classes[rng.integers(len(classes))]]
        return [index, *(candidates[i] for i in rng.integers(len(candidates), size=size - 1))]
