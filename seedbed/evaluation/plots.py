"""Figures as PNG files: the confusion matrix, and mIoU against the background score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from seedbed.evaluation.fonts import families_for
from seedbed.runtime.atomic import atomic

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

ID_LEGEND = (
    "\nnumbers: ids of classes, in the order of dataset/index.json,\nwhose names no font here has"
)


def plot_confusion(path: Path, counts: np.ndarray, names: Sequence[str]) -> None:
    """Draw counts (C, C + 1) as percentages of each row: truth down, prediction and void across.

    A class whose name has characters that no font here has is shown as its id.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2 + 0.4 * len(names)
    figure, axes = plt.subplots(figsize=(side + 0.5, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    families, missing = families_for(names)
    labels = [str(k) if missing & set(name) else name for k, name in enumerate(names)]
    literal: dict[str, Any] = {"parse_math": False}  # a class name may contain dollar signs
    if len(families) > 1:
        literal["fontfamily"] = families
    axes.set_xticks(range(len(names) + 1), [*labels, "void"], rotation=90, **literal)
    axes.set_yticks(range(len(names)), labels, **literal)
    axes.set_xlabel("predicted" + (ID_LEGEND if labels != [*names] else ""))
    axes.set_ylabel("true")
    for row, column in np.ndindex(shares.shape):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour)
    _save(figure, path)


def plot_background_curves(
    path: Path, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], note: str
) -> None:
    """Draw curves of mIoU against the background score and mark the best point of each.

    `curves` maps a list's name to scores and mIoU, (T,) each; `note` tells in the legend how the
    best point was chosen.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for name, (scores, mious) in curves.items():
        best = mious.argmax()
        label = f"{name}: best {mious[best]:.4f} at {scores[best]:.2f}, {note}"
        (line,) = axes.plot(scores, mious)
        axes.plot(
            scores[best], mious[best], "*", markersize=12, color=line.get_color(), label=label
        )
    axes.set_xlabel("background score")
    axes.set_ylabel("mIoU of the class maps")
    figure.legend(loc="outside upper center")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write the figure without matplotlib's version, so that equal figures are equal bytes."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    plt.close(figure)
