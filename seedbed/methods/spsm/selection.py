"""SPSM's selection of high-quality pixels and of high-quality masks: a reconstruction.

The text of "Weakly Supervised Semantic Segmentation by Selecting High-quality Pixels and Masks"
was not available. What follows is reconstructed from traces in its author's public code: training
lists named by a score between 0 and 1 (0.8 for ResNet-101, 0.55 for VGG-16), three candidate
masks an image in the successor, saliency as a second opinion. The thresholds are ours, save for
those that other published systems use for the same purpose.

An image's tags are its class ids without background. Masks are uint8 (H, W): 0 background, a tag,
or 255 void. Saliency, attention and confidence are float (H, W) in [0, 1].
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean

import numpy as np

from seedbed.crf import dense_crf, unary_from_probabilities

VOID = 255


@dataclass(frozen=True)
class SelectionThresholds:
    """What a pixel, and then a mask, must pass; values in [0, 1] unless said otherwise."""

    harmonic: float = 0.3  # least harmonic mean of attention and saliency of a first seed
    attention: float = 0.8  # attention that stands in for saliency there (as in OAA, ICCV 2019)
    background_attention: float = 0.2  # a first background pixel has less, from every class
    drop: float = 0.06  # below this saliency nothing is foreground (DSRG's rule for its cues)
    background_power: float = 16.0  # (1 − attention)^power is background without saliency (> 0)
    foreground_confidence: float = 0.85  # of the network after its CRF, to keep a class
    background_confidence: float = 0.95  # the same, to keep background
    witness_foreground_saliency: float = 0.5  # saliency that confirms a class (first seeds too)
    witness_background_saliency: float = 0.3  # saliency below this confirms background
    promote_saliency: float = 0.8  # background this salient may become foreground …
    promote_probability: float = 0.3  # … of a class this probable
    class_area: float = 0.005  # share of the image at which a class counts as found
    smallest_foreground: float = 0.01  # share of the image; a mask outside the two has quality 0
    largest_foreground: float = 0.9
    require_witness: bool = True  # the network's word alone keeps no pixel


@dataclass(frozen=True)
class Proposal:
    """A training mask and what speaks for it.

    `mask` holds 255 where no pixel was selected. `quality` in [0, 1] is what `keep` decides by,
    `coverage` the share of the tags that the chosen candidate found, `size_ok` whether its
    foreground has a plausible size, `candidate` its number (1 is m1) and `valid_fraction` the
    share of selected pixels.
    """

    mask: np.ndarray
    quality: float
    coverage: float
    size_ok: bool
    candidate: int
    valid_fraction: float


def agreement(x: np.ndarray, y: np.ndarray, labels: Collection[int]) -> float:
    """Mean IoU of two masks over background and `labels`, on pixels that are void in neither.

    A tag that both masks miss counts 0; background that both miss is left out of the mean.
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


def choose(candidates: Sequence[np.ndarray], labels: Collection[int]) -> int:
    """Index of the mask that agrees best with all others; of equals the last one."""
    if not candidates:
        raise ValueError("candidates must hold at least one mask")

    def support(index: int) -> float:
        others = (mask for other, mask in enumerate(candidates) if other != index)
        # An exact sum, so that the order of adding never decides between equals.
        return fsum(agreement(candidates[index], mask, labels) for mask in others)

    return max(range(len(candidates)), key=lambda index: (support(index), index))


def initial_proposal(
    attention: Mapping[int, np.ndarray],
    saliency: np.ndarray,
    image: np.ndarray,
    crf: Mapping[str, float],
    thresholds: SelectionThresholds = SelectionThresholds(),
) -> Proposal:
    """Proposal of an image that no network has been trained for yet.

    Args:
        attention: an (H, W) map for each tag.
        saliency: (H, W).
        image: RGB uint8 (H, W, 3).
        crf: `params` of `seedbed.crf.dense_crf`.
        thresholds: see SelectionThresholds.

    """
    _check_unit(saliency=saliency, **{f"attention[{c}]": a for c, a in attention.items()})
    labels = np.array([0, *attention], dtype=np.uint8)
    found = np.stack([np.zeros(saliency.shape), *attention.values()])  # nothing attends to 0
    strongest = found.max(axis=0)
    score = 2 * found * saliency / (found + saliency + 1e-7)
    score[0] = 1 - np.maximum(saliency, strongest)
    first = labels[_best_after_crf(score, image, crf)]
    without_saliency = found.copy()
    without_saliency[0] = (1 - strongest) ** thresholds.background_power
    second = labels[_best_after_crf(without_saliency, image, crf)]
    selected = _first_pixels(first, labels, score, found, saliency, thresholds)
    return _proposal(first, second, selected, 1, list(attention), thresholds)


def refined_proposal(
    network: np.ndarray,
    confidence: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[int],
    saliency: np.ndarray,
    first: np.ndarray,
    labels: Collection[int],
    thresholds: SelectionThresholds = SelectionThresholds(),
) -> Proposal:
    """Proposal of an image from the network of the round before.

    Three masks stand for election: `first` (m1), the network's (m2), and the network's corrected
    by saliency (m3), which is not independent of m2. A pixel of the elected mask is selected if
    the network says the same with confidence and a witness that is not the network agrees: m1 or
    saliency.

    Args:
        network: the network's mask after its CRF.
        confidence: the posterior of that mask's class.
        probabilities: (C, H, W) before the CRF, of `classes`; only tags and background count
            here and are renormalised.
        classes: class ids of `probabilities`: 0, every tag, maybe others.
        saliency: (H, W).
        first: the mask made without the network; may hold 255.
        labels: the tags.
        thresholds: see SelectionThresholds.

    """
    if missing := {0, *labels} - set(classes):
        raise ValueError(f"classes must hold background and every tag; missing {sorted(missing)}")
    _check_unit(saliency=saliency, confidence=confidence)
    m1, m2 = (_only(mask, labels) for mask in (first, network))
    m3 = _corrected(m2, probabilities, classes, saliency, labels, thresholds)
    candidates = [m1, m2, m3]
    index = choose(candidates, labels)
    mask = candidates[index]
    least = np.where(mask == 0, thresholds.background_confidence, thresholds.foreground_confidence)
    selected = (mask == m2) & (confidence >= least)
    if thresholds.require_witness:
        salient = saliency >= thresholds.witness_foreground_saliency
        dull = saliency < thresholds.witness_background_saliency
        selected &= (m1 == mask) | np.where(mask == 0, dull, salient)
    return _proposal(mask, m1 if index else m3, selected, index + 1, labels, thresholds)


def keep(
    qualities: Mapping[str, float],
    labels: Mapping[str, Collection[int]],
    *,
    threshold: float,
    minimum_per_class: int = 30,
) -> set[str]:
    """Ids of the images to train on: quality at `threshold` or above, and each class's best.

    So that no class dies out, its `minimum_per_class` best images are kept below the threshold
    too, equals by id, but never one of quality 0, whose mask shows nothing of the class. The order
    of the mappings does not matter.

    Args:
        qualities: `Proposal.quality` by image id.
        labels: the tags of each of these images.
        threshold: SPSM's lists suggest 0.8 for ResNet-101 and 0.55 for VGG-16.
        minimum_per_class: of each tag's images.

    """
    ranked = sorted(qualities, key=lambda image: (-qualities[image], image))
    best = defaultdict(list)
    for image in ranked:
        for label in labels[image]:
            if qualities[image] > 0 and len(best[label]) < minimum_per_class:
                best[label].append(image)
    above = {image for image in ranked if qualities[image] >= threshold}
    return above.union(*best.values())


def _best_after_crf(scores: np.ndarray, image: np.ndarray, crf: Mapping[str, float]) -> np.ndarray:
    return dense_crf(image, unary_from_probabilities(scores), crf).argmax(axis=0)


def _first_pixels(
    mask: np.ndarray,
    labels: np.ndarray,
    score: np.ndarray,
    found: np.ndarray,
    saliency: np.ndarray,
    thresholds: SelectionThresholds,
) -> np.ndarray:
    """Pixels at which attention and saliency, before the CRF, bear out its mask."""
    best = score.argmax(axis=0)[None]
    score, attention = (np.take_along_axis(maps, best, axis=0)[0] for maps in (score, found))
    salient = saliency >= thresholds.witness_foreground_saliency
    foreground = (labels[best[0]] == mask) & (score >= thresholds.harmonic)
    foreground &= salient | (attention >= thresholds.attention)
    background = saliency < thresholds.drop
    background &= found.max(axis=0) < thresholds.background_attention
    return np.where(mask == 0, background, foreground)


def _only(mask: np.ndarray, labels: Collection[int]) -> np.ndarray:
    return np.where(np.isin(mask, [0, *labels]), mask, VOID)


def _corrected(
    mask: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[int],
    saliency: np.ndarray,
    labels: Collection[int],
    thresholds: SelectionThresholds,
) -> np.ndarray:
    """M3: dull foreground becomes background, salient background the likeliest tag."""
    ids = np.array([0, *labels])
    scores = probabilities[[list(classes).index(label) for label in ids]].astype(np.float32)
    scores /= np.maximum(scores.sum(axis=0), 1e-7)
    scores[0] = 0  # background only takes part in the sum
    dull = (mask != VOID) & (saliency < thresholds.drop)
    promoted = (mask == 0) & (saliency >= thresholds.promote_saliency)
    promoted &= scores.max(axis=0) >= thresholds.promote_probability
    return np.select([dull, promoted], [0, ids[scores.argmax(axis=0)]], mask)


def _proposal(
    mask: np.ndarray,
    other: np.ndarray,
    selected: np.ndarray,
    number: int,
    labels: Collection[int],
    thresholds: SelectionThresholds,
) -> Proposal:
    """Score the elected mask by the other voice and void what is not selected."""
    if {0, VOID} & set(labels):
        raise ValueError("labels must hold tags alone, neither background nor 255")
    found = [np.mean(mask == label) >= thresholds.class_area for label in labels]
    coverage = fmean(found) if found else 0.0
    share = np.mean((mask != 0) & (mask != VOID))
    size_ok = bool(thresholds.smallest_foreground <= share <= thresholds.largest_foreground)
    chosen = np.where(selected, mask, VOID).astype(np.uint8)
    foreground_left = bool(((chosen != 0) & (chosen != VOID)).any())
    return Proposal(
        mask=chosen,
        quality=agreement(mask, other, labels) * coverage * size_ok * foreground_left,
        coverage=coverage,
        size_ok=size_ok,
        candidate=number,
        valid_fraction=float(np.mean(chosen != VOID)),
    )


def _check_unit(**maps: np.ndarray) -> None:
    """ValueError unless the maps have one shape (H, W) and values in [0, 1], so no NaN."""
    shape = next(iter(maps.values())).shape
    for name, values in maps.items():
        if values.shape != shape or len(shape) != 2:
            raise ValueError(f"{name} must have the shape (H, W) of the others, not {values.shape}")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must lie in [0, 1]")
