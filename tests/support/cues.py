"""Localisation cues on a 3×3 grid of six classes."""

import numpy as np


def cue_grid(cells, classes=6):
    """Cues on a 3×3 grid from {class: [(row, column), ...]}."""
    cues = np.zeros((classes, 3, 3), dtype=bool)
    for c, positions in cells.items():
        cues[(c, *np.transpose(positions))] = True
    return cues


BACKGROUND = [(0, 1), (0, 2), (1, 2)]
CLASS_3 = [(0, 0), (1, 0), (2, 0)]
CUES = cue_grid({0: BACKGROUND, 3: CLASS_3, 5: [(1, 1)]})
MULTI_HOT = cue_grid({0: [*BACKGROUND, (0, 0), (1, 0), (1, 1)], 3: [*CLASS_3, (1, 1)], 5: [(1, 1)]})
