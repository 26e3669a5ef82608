"""SPSM's selection of high-quality pixels: the training mask proposed for one image.

A reconstruction, see `seedbed.methods.spsm`. Masks are uint8 (H, W): 0 = background, class ids,
255 = void; `labels` are an image's class ids without background; saliency, attention and confidence
are (H, W), uint8 levels of 0..255 or floating in [0, 1].
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seedbed.crf import dense_crf, unary_from_probabilities
from seedbed.formats.levels import fractions
from seedbed.formats.palette import VOID
from seedbed.methods.spsm.masks import (
    Proposal,
    agreement,
    choose_candidate,
    pairwise_agreements,
    score_candidate,
)


@dataclass(frozen=True, kw_only=True)
class PixelThresholds:
    """Conditions on a selected pixel; all values in [0, 1], except the exponent.

    "Least" and "from" include the value itself, "below" does not; levels are compared exactly.

    Attributes:
        harmonic: initial foreground: least harmonic mean of attention and saliency.
        attention: initial foreground: attention that replaces saliency (0.8 in OAA, ICCV 2019).
        background_attention: initial background: attention of every class is below.
        drop: saliency below this is not foreground (0.06 in DSRG's cues).
        background_power: exponent of (1 − attention), the background score without saliency (> 0).
        foreground_confidence: least posterior of a foreground class.
        background_confidence: least posterior of background.
        witness_foreground_saliency: saliency from which a class is confirmed.
        witness_background_saliency: saliency below which background is confirmed.
        promote_saliency: background from this saliency may become foreground …
        promote_probability: … of a class at least as probable as this.
        require_witness: whether the prediction must be confirmed by saliency or the initial mask.

    """

    harmonic: float
    attention: float
    background_attention: float
    drop: float
    background_power: float
    foreground_confidence: float
    background_confidence: float
    witness_foreground_saliency: float
    witness_background_saliency: float
    promote_saliency: float
    promote_probability: float
    require_witness: bool


def initial_proposal(
    attention: Mapping[int, np.ndarray],
    saliency: np.ndarray,
    image: np.ndarray,
    crf: Mapping[str, float],
    thresholds: PixelThresholds,
) -> Proposal:
    """Proposal from attention and saliency, before any network is trained.

    Candidate m1 is the CRF of the harmonic mean of attention and saliency, m2 that of the
    attention alone; m1 is chosen, m2 only serves to score it.

    Args:
        attention: class id → (H, W) for each label.
        saliency: (H, W).
        image: RGB uint8 (H, W, 3).
        crf: `params` of `seedbed.crf.dense_crf`.
        thresholds: see PixelThresholds.

    Raises:
        ValueError: if maps differ in shape or exceed [0, 1].

    """
    saliency = fractions(saliency)
    attention = {c: fractions(a) for c, a in attention.items()}
    _check_unit_range(saliency=saliency, **{f"attention[{c}]": a for c, a in attention.items()})
    ids = np.array([0, *attention], dtype=np.uint8)
    maps = np.stack([np.zeros(saliency.shape), *attention.values()])  # channel 0 = background
    maximum = maps.max(axis=0)
    scores = 2 * maps * saliency / (maps + saliency + 1e-7)
    scores[0] = 1 - np.maximum(saliency, maximum)
    m1 = ids[_argmax_after_crf(scores, image, crf)]
    without_saliency = maps.copy()
    without_saliency[0] = (1 - maximum) ** thresholds.background_power
    m2 = ids[_argmax_after_crf(without_saliency, image, crf)]
    selected = _initial_pixels(m1, ids, scores, maps, saliency, thresholds)
    labels = list(attention)
    return score_candidate(m1, agreement(m1, m2, labels), selected, labels, candidate=1)


def refined_proposal(
    prediction: np.ndarray,
    confidence: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[int],
    saliency: np.ndarray,
    initial: np.ndarray,
    labels: Collection[int],
    thresholds: PixelThresholds,
) -> Proposal:
    """Proposal from the network of the previous round.

    The candidates are the initial mask (m1), the prediction (m2) and the prediction corrected by
    saliency (m3, which is not independent of m2). A pixel of the chosen candidate is selected if
    the prediction agrees with confidence and is confirmed independently of the network, by m1 or
    by saliency.

    Args:
        prediction: the network's mask after the CRF.
        confidence: posterior of that mask's class.
        probabilities: (C, H, W) before the CRF; only background and `labels` are used,
            renormalised.
        classes: class ids of the C channels: 0, all `labels`, possibly others.
        saliency: (H, W).
        initial: mask made without the network; may contain void.
        labels: class ids of the image.
        thresholds: see PixelThresholds.

    Raises:
        ValueError: if a class is missing, maps differ in shape or exceed [0, 1].

    """
    if missing := {0, *labels} - set(classes):
        raise ValueError(f"classes must hold background and every label; missing {sorted(missing)}")
    saliency, confidence = fractions(saliency), fractions(confidence)
    _check_unit_range(saliency=saliency, confidence=confidence)
    m1, m2 = (_without_other_classes(mask, labels) for mask in (initial, prediction))
    m3 = _corrected_by_saliency(m2, probabilities, classes, saliency, labels, thresholds)
    candidates = [m1, m2, m3]
    agreements = pairwise_agreements(candidates, labels)
    index = choose_candidate(agreements)
    mask = candidates[index]
    least = np.where(mask == 0, thresholds.background_confidence, thresholds.foreground_confidence)
    selected = (mask == m2) & (confidence >= least)
    if thresholds.require_witness:
        selected &= (m1 == mask) | _confirmed_by_saliency(mask, saliency, thresholds)
    independent = 0 if index else 2
    agreed = float(agreements[index, independent])
    return score_candidate(mask, agreed, selected, labels, candidate=index + 1)


def _argmax_after_crf(
    scores: np.ndarray, image: np.ndarray, crf: Mapping[str, float]
) -> np.ndarray:
    return dense_crf(image, unary_from_probabilities(scores), crf).argmax(axis=0)


def _initial_pixels(
    mask: np.ndarray,
    ids: np.ndarray,
    scores: np.ndarray,
    attention: np.ndarray,
    saliency: np.ndarray,
    thresholds: PixelThresholds,
) -> np.ndarray:
    """Pixels (H, W) bool whose attention and saliency support the mask made by the CRF."""
    best = scores.argmax(axis=0)[None]
    score, best_attention = (
        np.take_along_axis(maps, best, axis=0)[0] for maps in (scores, attention)
    )
    salient = saliency >= thresholds.witness_foreground_saliency
    foreground = (ids[best[0]] == mask) & (score >= thresholds.harmonic)
    foreground &= salient | (best_attention >= thresholds.attention)
    background = saliency < thresholds.drop
    background &= attention.max(axis=0) < thresholds.background_attention
    return np.where(mask == 0, background, foreground)


def _confirmed_by_saliency(
    mask: np.ndarray, saliency: np.ndarray, thresholds: PixelThresholds
) -> np.ndarray:
    background = saliency < thresholds.witness_background_saliency
    foreground = saliency >= thresholds.witness_foreground_saliency
    return np.where(mask == 0, background, foreground)


def _without_other_classes(mask: np.ndarray, labels: Collection[int]) -> np.ndarray:
    return np.where(np.isin(mask, [0, *labels]), mask, VOID)


def _corrected_by_saliency(
    mask: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[int],
    saliency: np.ndarray,
    labels: Collection[int],
    thresholds: PixelThresholds,
) -> np.ndarray:
    """Set foreground of low saliency to background, salient background to its likeliest label."""
    ids = np.array([0, *labels])
    scores = probabilities[[list(classes).index(label) for label in ids]].astype(np.float32)
    scores /= np.maximum(scores.sum(axis=0), 1e-7)
    scores[0] = 0  # background only counts in the normalisation
    dropped = (mask != VOID) & (saliency < thresholds.drop)
    promoted = (mask == 0) & (saliency >= thresholds.promote_saliency)
    promoted &= scores.max(axis=0) >= thresholds.promote_probability
    return np.select([dropped, promoted], [0, ids[scores.argmax(axis=0)]], mask)


def _check_unit_range(**maps: np.ndarray) -> None:
    """Raise ValueError unless all maps are (H, W) of one shape with values in [0, 1], no NaN."""
    shape = next(iter(maps.values())).shape
    for name, values in maps.items():
        if values.shape != shape or len(shape) != 2:
            raise ValueError(f"{name} must have the shape (H, W) of the others, not {values.shape}")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must lie in [0, 1]")
