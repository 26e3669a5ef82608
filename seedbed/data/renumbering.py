"""Find the renumbering of classes under which masks best fit their images' labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Ids = frozenset[int]


@dataclass(frozen=True)
class Renumbering:
    """Classes by id in the masks, no two ids of the same class.

    Attributes:
        classes: the class of each id that masks hold.
        misfits: how many masks hold a class that their image's labels lack, all the same.
        is_unique: whether the ids that change fit the labels with no other class as well.

    """

    classes: dict[int, int]
    misfits: int
    is_unique: bool


def find_renumbering(
    masks: Sequence[tuple[Ids, Ids]], classes: Sequence[int]
) -> Renumbering | None:
    """The renumbering that fits best and, of several that fit as well, changes the fewest ids.

    Args:
        masks: the ids in each mask, without background and void, and the labels of its image.
        classes: the ids that labels can have.

    Returns:
        None if there are more ids in the masks than classes.

    """
    ids = sorted(frozenset().union(*(held for held, _ in masks)))
    if len(ids) > len(classes):
        return None
    counts = _count_misfits(masks, ids, classes)
    changes = np.not_equal.outer(ids, classes)
    columns = _cheapest(counts * (len(ids) + 1) + changes)
    found = {k: classes[column] for k, column in zip(ids, columns, strict=True)}
    least = counts[range(len(ids)), columns].sum()
    return Renumbering(
        found,
        sum(not {found[k] for k in held} <= labels for held, labels in masks),
        all(
            _cost_without(counts, row, column) > least
            for row, column in enumerate(columns)
            if changes[row, column]
        ),
    )


def _count_misfits(
    masks: Sequence[tuple[Ids, Ids]], ids: Sequence[int], classes: Sequence[int]
) -> np.ndarray:
    """How many masks hold an id while the labels lack a class, (ids, classes)."""
    counts = np.zeros((len(ids), len(classes)), dtype=np.int64)
    for held, labels in masks:
        counts[np.ix_(np.isin(ids, list(held)), np.isin(classes, list(labels), invert=True))] += 1
    return counts


def _cheapest(costs: np.ndarray) -> list[int]:
    """The column of each row, all different, for the least sum of costs (rows, columns)."""
    from scipy.optimize import linear_sum_assignment  # slow to import, and seldom needed

    return linear_sum_assignment(costs)[1].tolist()


def _cost_without(costs: np.ndarray, row: int, column: int) -> int:
    """The least sum of costs if a row must not have a column; more than all costs if it must."""
    costs = costs.copy()
    costs[row, column] = costs.sum() + 1
    return costs[range(len(costs)), _cheapest(costs)].sum()
