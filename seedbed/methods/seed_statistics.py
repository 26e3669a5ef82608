"""Figures of localisation cues, by which they can be compared with published ones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CueStatistics:
    """How much is seeded; `str` gives it to read.

    `background`, `foreground`: mean share of the grid. `smallest`, `largest`: foreground cells of
    an image. `labels`: how many images have as many labels. `multi_labelled`: cells of more than
    one class. `without_background`, `without_foreground`: images that have no such cell.
    """

    images: int
    background: float
    foreground: float
    smallest: int
    largest: int
    labels: dict[int, int]
    multi_labelled: int
    without_background: int
    without_foreground: int

    def __str__(self) -> str:
        labels = ", ".join(f"{count}: {images}" for count, images in self.labels.items())
        return (
            f"{self.images} images: {self.background:.1%} background, {self.foreground:.1%} "
            f"foreground ({self.smallest} to {self.largest} cells), {self.multi_labelled} cells of "
            f"several classes\nimages by number of labels: {labels}; without background "
            f"{self.without_background}, without foreground {self.without_foreground}"
        )


def cue_statistics(cues: Iterable[np.ndarray], labels: Iterable[Sequence[int]]) -> CueStatistics:
    """Count the cues (C, g, g) bool of one image or more, and their foreground labels."""
    counts = []
    for cue in cues:
        parts = (cue[0], cue[1:].any(axis=0), cue.sum(axis=0) > 1)
        counts.append([np.count_nonzero(part) for part in parts])
        cells = parts[0].size
    background, foreground, several = np.transpose(counts)
    return CueStatistics(
        images=len(counts),
        background=float(background.mean() / cells),
        foreground=float(foreground.mean() / cells),
        smallest=int(foreground.min()),
        largest=int(foreground.max()),
        labels=dict(sorted(Counter(map(len, labels)).items())),
        multi_labelled=int(several.sum()),
        without_background=int((background == 0).sum()),
        without_foreground=int((foreground == 0).sum()),
    )
