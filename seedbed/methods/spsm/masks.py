"""SPSM's selection of high-quality masks: agreement of candidates, quality, images to train on.

A reconstruction, see `seedbed.methods.spsm`. Masks are uint8 (H, W): 0 = background, class ids,
255 = void; `labels` are an image's class ids without background.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum
from statistics import fmean

import numpy as np

from seedbed.formats.palette import VOID

CLASS_AREA = 0.005  # fraction of the image from which a class counts as covered
FOREGROUND_AREA = 0.01, 0.9  # range of a plausible fraction of foreground; outside it, quality 0


@dataclass(frozen=True)
class Proposal:
    """A training mask and its scores.

    Attributes:
        mask: (H, W) uint8, void where no pixel was selected.
        quality: in [0, 1], what `select_images` decides by.
        coverage: fraction of the labels that the chosen candidate covers.
        size_ok: whether the candidate's foreground has a plausible size.
        candidate: number of the chosen candidate, from 1 (m1).
        valid_fraction: fraction of selected pixels.

    """

    mask: np.ndarray
    quality: float
    coverage: float
    size_ok: bool
    candidate: int
    valid_fraction: float


def agreement(x: np.ndarray, y: np.ndarray, labels: Collection[int]) -> float:
    """Mean IoU of two masks over background and `labels`, on pixels void in neither.

    A label missing from both masks has IoU 0; background missing from both is left out.

    Raises:
        ValueError: if the shapes differ.

    """
    if x.shape != y.shape:
        raise ValueError(f"x and y must have one shape, not {x.shape} and {y.shape}")
    valid = (x != VOID) & (y != VOID)
    x, y = x[valid], y[valid]
    ious = []
    for label in {0, *labels}:
        union = np.count_nonzero((x == label) | (y == label))
        if union:
            ious.append(np.count_nonzero((x == label) & (y == label)) / union)
        elif label:
            ious.append(0.0)
    return fmean(ious) if ious else 0.0


def pairwise_agreements(masks: Sequence[np.ndarray], labels: Collection[int]) -> np.ndarray:
    """The `agreement` of every two of n masks: float64 (n, n), symmetric, 0 on the diagonal."""
    agreements = np.zeros((len(masks), len(masks)))
    for i, j in combinations(range(len(masks)), 2):
        agreements[i, j] = agreements[j, i] = agreement(masks[i], masks[j], labels)
    return agreements


def choose_candidate(agreements: np.ndarray) -> int:
    """Index of the mask of highest total agreement with the others; the last of equals.

    Args:
        agreements: (n, n), see `pairwise_agreements`.

    Raises:
        ValueError: if there is no candidate.

    """
    if not len(agreements):
        raise ValueError("agreements must be those of at least one mask")
    # Exact sums, so that the order of summation never decides between equals.
    totals = [fsum(row) for row in agreements]
    return max(range(len(totals)), key=lambda index: (totals[index], index))


def score_candidate(
    mask: np.ndarray,
    agreement: float,
    selected: np.ndarray,
    labels: Collection[int],
    *,
    candidate: int,
) -> Proposal:
    """Score a candidate mask and set its pixels that are not selected to void.

    The quality is the agreement with an independent candidate times the coverage of the labels; 0
    if the foreground's size is implausible or no foreground pixel is selected.

    Args:
        mask: the chosen candidate.
        agreement: its agreement with the independent candidate.
        selected: (H, W) bool.
        labels: class ids.
        candidate: number of the chosen candidate.

    Raises:
        ValueError: if `labels` holds background or 255.

    """
    if {0, VOID} & set(labels):
        raise ValueError("labels must hold neither background nor 255")
    covered = [np.mean(mask == label) >= CLASS_AREA for label in labels]
    coverage = fmean(covered) if covered else 0.0
    smallest, largest = FOREGROUND_AREA
    size_ok = bool(smallest <= np.mean((mask != 0) & (mask != VOID)) <= largest)
    result = np.where(selected, mask, VOID).astype(np.uint8)
    any_foreground = bool(((result != 0) & (result != VOID)).any())
    return Proposal(
        mask=result,
        quality=agreement * coverage * size_ok * any_foreground,
        coverage=coverage,
        size_ok=size_ok,
        candidate=candidate,
        valid_fraction=float(np.mean(result != VOID)),
    )


def select_images(
    qualities: Mapping[str, float],
    labels: Mapping[str, Collection[int]],
    *,
    threshold: float,
    minimum_per_class: int,
) -> set[str]:
    """Ids of the images to train on: those of sufficient quality, and the best of each class.

    Args:
        qualities: image id → `Proposal.quality`.
        labels: image id → class ids, of the same images.
        threshold: least quality. SPSM's lists suggest 0.8 for ResNet-101, 0.55 for VGG-16.
        minimum_per_class: images of each class that are kept below the threshold too, best first,
            ties by id, but never one of quality 0; so that no class vanishes.

    Returns:
        A set of ids that does not depend on the order of the mappings.

    """
    ranked = sorted(qualities, key=lambda image: (-qualities[image], image))
    best = defaultdict(list)
    for image in ranked:
        for label in labels[image]:
            if qualities[image] > 0 and len(best[label]) < minimum_per_class:
                best[label].append(image)
    sufficient = {image for image in ranked if qualities[image] >= threshold}
    return sufficient.union(*best.values())
