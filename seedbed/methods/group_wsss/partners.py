"""Groups of images with common labels, for group-wise mining.

Li et al., "Group-Wise Semantic Mining for Weakly Supervised Semantic Segmentation", AAAI 2021;
utils/LoadData.py of the authors' code.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


class GroupIndex:
    """Draws the partners of an image: images with the same set of labels.

    The authors draw images at random until one has the same labels, and after 1000 failures accept
    any that shares one label, drawn at random once a group. `GroupIndex` draws from the same
    distribution without rejection: with n of N images equal, all `draws` draws fail with
    probability (1 − n / N) ** draws.

    The partners of an image without labels are the images without labels.

    Args:
        labels: class ids of each image, in the order of the data set.
        draws: failed draws after which one common label suffices (Group-WSSS: 1000); None:
            partners always have the same labels unless no other image has.

    """

    def __init__(self, labels: Sequence[tuple[int, ...]], draws: int | None) -> None:
        self._labels = labels
        self._draws = draws
        self._by_labels: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._by_label: dict[int, list[int]] = defaultdict(list)
        for index, classes in enumerate(labels):
            self._by_labels[classes].append(index)
            for c in classes:
                self._by_label[c].append(index)

    def group(self, index: int, size: int, rng: np.random.Generator) -> list[int]:
        """Positions of the `size` images of a group: `index`, then its partners.

        Partners are drawn with replacement and may be `index` itself.
        """
        classes = self._labels[index]
        same = self._by_labels[classes]
        if self._draws is not None and classes:
            common = self._by_label[classes[rng.integers(len(classes))]]
            all_fail = (1 - len(same) / len(self._labels)) ** self._draws
            pools = [common if rng.random() < all_fail else same for _ in range(size - 1)]
            return [index, *(pool[rng.integers(len(pool))] for pool in pools)]
        if len(same) == 1 and classes:
            same = self._by_label[classes[rng.integers(len(classes))]]
        return [index, *(same[i] for i in rng.integers(len(same), size=size - 1))]
