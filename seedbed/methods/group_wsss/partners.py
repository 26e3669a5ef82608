"""Groups of images that share their labels, for group-wise mining (Li et al., AAAI 2021)."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


class GroupIndex:
    """Finds partners for an image: images with the very same label vector.

    labels: class ids of each image, in the order of the data set. draws: the original draws at
    random until a vector agrees and, after 1000 failures, takes any image that has one label of
    the item, drawn once; with that number the partners are distributed as its are, without the
    draws. None shares one label only where nobody shares them all.
    """

    def __init__(self, labels: Sequence[tuple[int, ...]], draws: int | None = None) -> None:
        self._labels = labels
        self._draws = draws
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
        if self._draws is not None:
            sharing = self._holding[classes[rng.integers(len(classes))]]
            failing = (1 - len(candidates) / len(self._labels)) ** self._draws
            pools = [sharing if rng.random() < failing else candidates for _ in range(size - 1)]
            return [index, *(pool[rng.integers(len(pool))] for pool in pools)]
        if len(candidates) == 1:  # nobody shares the whole vector: share one label of it
            candidates = self._holding[classes[rng.integers(len(classes))]]
        return [index, *(candidates[i] for i in rng.integers(len(candidates), size=size - 1))]
