"""SPSM's selection of pixels: every rule by hand, and its invariants."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.methods.spsm import masks
from seedbed.methods.spsm.pixels import PixelThresholds, initial_proposal, refined_proposal

# No mean-field iteration: the CRF only normalises the scores.
CRF = {
    "iterations": 0,
    "gaussian_weight": 3,
    "gaussian_sxy": 3,
    "bilateral_weight": 10,
    "bilateral_sxy": 80,
    "bilateral_srgb": 13,
}
THRESHOLDS = PixelThresholds(
    harmonic=0.3,
    attention=0.8,
    background_attention=0.2,
    drop=0.06,
    background_power=16.0,
    foreground_confidence=0.85,
    background_confidence=0.95,
    witness_foreground_saliency=0.5,
    witness_background_saliency=0.3,
    promote_saliency=0.8,
    promote_probability=0.3,
    require_witness=True,
)


@pytest.fixture(autouse=True)
def any_area(monkeypatch):
    """Small masks: any area of a class and of the foreground counts."""
    monkeypatch.setattr(masks, "CLASS_AREA", 0)
    monkeypatch.setattr(masks, "FOREGROUND_AREA", (0, 1))


def row(*values):
    return np.array([values])


def mask(*values):
    return row(*values).astype(np.uint8)


# --- initial proposal


def initial(attention, saliency):
    saliency = np.asarray(saliency, dtype=float)
    return initial_proposal(
        {label: np.asarray(values, dtype=float) for label, values in attention.items()},
        saliency,
        np.zeros((*saliency.shape, 3), np.uint8),
        CRF,
        THRESHOLDS,
    )


@pytest.mark.parametrize(
    ("attention", "saliency", "expected"),
    [
        (0.9, 0.9, 7),  # both agree
        (0.6, 0.5, 7),  # saliency at its threshold suffices; score .545 against .4
        (0.6, 0.49, 255),  # neither saliency nor attention suffices
        (0.85, 0.4, 7),  # attention ≥ .8 replaces saliency; score .544
        (0.95, 0.1, 255),  # harmonic mean .18 beats background's .05 but is below .3
        (0.05, 0.05, 0),  # neither salient nor attended
        (0.05, 0.06, 255),  # too salient for background
        (0.2, 0.05, 255),  # too much attention for background
        (0.1, 0.95, 255),  # salient without attention
    ],
)
def test_initial_pixels(attention, saliency, expected):
    # A second, certain pixel keeps the proposal from being empty.
    proposal = initial({7: row(attention, 0.9)}, row(saliency, 0.9))
    assert proposal.mask.tolist() == [[expected, 7]]


def test_levels_of_the_first_proposal_are_compared_exactly():
    """With thresholds at levels: each condition at its threshold, and one level beside."""
    thresholds = replace(
        THRESHOLDS,
        harmonic=0.1,
        attention=0.8,
        background_attention=0.2,
        drop=0.4,
        witness_foreground_saliency=0.6,
    )
    #                  salient enough or not, attention instead or not, attended or salient ground
    attention = mask(170, 170, 204, 203, 50, 51, 40, 40)
    saliency = mask(153, 152, 152, 152, 90, 90, 101, 102)
    image = np.zeros((*saliency.shape, 3), np.uint8)
    found = initial_proposal({7: attention}, saliency, image, CRF, thresholds)
    assert found.mask.tolist() == [[7, 255, 7, 255, 0, 255, 0, 255]]


def test_pixel_relabelled_by_the_crf_is_void():
    # The CRF, here a wide Gaussian, overrules the lone 2 among ones.
    ones = np.full((5, 5), 0.9)
    twos = np.zeros((5, 5))
    ones[2, 2], twos[2, 2] = 0.85, 0.9
    crf = CRF | {"iterations": 10}
    image = np.zeros((5, 5, 3), np.uint8)
    proposal = initial_proposal({1: ones, 2: twos}, np.full((5, 5), 0.9), image, crf, THRESHOLDS)
    assert proposal.mask[2, 2] == 255
    assert np.count_nonzero(proposal.mask == 1) == 24


def test_initial_quality_by_hand():
    # m1 = [7, 0, 0, 0]; attention alone gives m2 = [7, 7, 0, 0], since (1 − .5)^16 < .5.
    proposal = initial({7: row(0.9, 0.5, 0, 0)}, row(0.9, 0.1, 0, 0))
    assert proposal.quality == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert proposal.mask.tolist() == [[7, 255, 0, 0]]
    assert (proposal.candidate, proposal.coverage, proposal.size_ok) == (1, 1, True)
    assert proposal.valid_fraction == 0.75


@pytest.mark.parametrize(("power", "quality"), [(1.0, 1), (16.0, (1 / 2 + 2 / 3) / 2)])
def test_the_background_of_attention_alone_has_the_power_of_the_thresholds(power, quality):
    # m1 = [7, 0, 0, 0]; against attention .4 background has .6, but to the power of 16 nothing.
    proposal = initial_proposal(
        {7: row(0.9, 0.4, 0, 0)},
        row(0.9, 0.1, 0, 0),
        np.zeros((1, 4, 3), np.uint8),
        CRF,
        replace(THRESHOLDS, background_power=power),
    )
    assert proposal.quality == pytest.approx(quality)


def test_image_without_labels_has_quality_zero():
    proposal = initial({}, row(0, 0.9))
    assert proposal.mask.tolist() == [[0, 255]]
    assert (proposal.quality, proposal.coverage) == (0, 0)


@pytest.mark.parametrize("bad", [row(0.5, np.nan), row(0.5, 1.5), row(-0.1, 0), row(0.5)])
def test_maps_outside_the_unit_range_are_refused(bad):
    with pytest.raises(ValueError, match=r"attention\[7\]"):
        initial({7: bad}, row(0.5, 0.5))
    with pytest.raises(ValueError):
        initial({7: row(0.5, 0.5)}, bad)


# --- refined proposal


def refined(network, saliency, m1, *, confidence=None, tag=None, labels=(7,), **thresholds):
    network = np.asarray(network, dtype=np.uint8)
    tag = np.zeros(network.shape) if tag is None else tag
    return refined_proposal(
        network,
        np.ones(network.shape) if confidence is None else confidence,
        np.stack([1 - tag, tag, *(np.zeros(network.shape) for _ in labels[1:])]),
        [0, *labels],
        np.asarray(saliency, dtype=float),
        np.asarray(m1, dtype=np.uint8),
        labels,
        replace(THRESHOLDS, **thresholds),
    )


@pytest.mark.parametrize(
    ("says", "confidence", "kept"), [(7, 0.85, 7), (7, 0.84, 255), (0, 0.95, 0), (0, 0.94, 255)]
)
def test_confidence_is_required(says, confidence, kept):
    sure = row(1.0, 1.0, confidence)
    proposal = refined(row(7, 0, says), row(0.6, 0.1, 0.4), row(7, 0, says), confidence=sure)
    assert proposal.mask.tolist() == [[7, 0, kept]]


def test_levels_of_a_refined_proposal_are_compared_exactly():
    """Confidence and both witnesses at their thresholds, and one level beside."""
    arguments = {
        "prediction": mask(7, 7, 0, 0, 7, 7, 0, 0, 0),
        "confidence": mask(153, 152, 204, 203, 255, 255, 255, 255, 255),
        "probabilities": np.full((2, 1, 9), 0.5),
        "classes": [0, 7],
        "saliency": mask(255, 255, 0, 0, 102, 101, 50, 51, 0),
        "initial": mask(7, 7, 0, 0, 0, 0, 255, 255, 0),
        "labels": [7],
        "thresholds": replace(
            THRESHOLDS,
            foreground_confidence=0.6,
            background_confidence=0.8,
            witness_foreground_saliency=0.4,
            witness_background_saliency=0.2,
        ),
    }
    kept = refined_proposal(**arguments).mask
    assert kept.tolist() == [[7, 255, 0, 255, 7, 255, 0, 255, 0]]


def test_levels_correct_a_prediction_exactly():
    """m3 drops foreground below 0.2 and promotes background from 0.8 on, so that it is m1."""
    found = refined_proposal(
        prediction=mask(7, 7, 0, 0),
        confidence=mask(255, 255, 255, 255),
        probabilities=np.full((2, 1, 4), 0.5),
        classes=[0, 7],
        saliency=mask(50, 51, 203, 204),
        initial=mask(0, 7, 0, 7),
        labels=[7],
        thresholds=replace(THRESHOLDS, drop=0.2, promote_saliency=0.8),
    )
    assert (found.candidate, found.quality) == (3, 1)


@pytest.mark.parametrize(
    ("says", "witness", "saliency", "kept"),
    [
        (7, 7, 0.10, 7),  # m1 agrees
        (7, 0, 0.50, 7),  # saliency agrees
        (7, 0, 0.49, 255),
        (7, 255, 0.49, 255),  # void confirms nothing
        (0, 0, 0.70, 0),
        (0, 7, 0.29, 0),
        (0, 7, 0.30, 255),
    ],
)
def test_confirmation_is_required(says, witness, saliency, kept):
    case = row(7, 0, 0, says), row(0.6, 0.1, 0.1, saliency), row(7, 0, 0, witness)
    assert refined(*case).mask.tolist() == [[7, 0, 0, kept]]
    alone = refined(*case, require_witness=False)
    assert alone.mask.tolist() == [[7, 0, 0, says]]


def test_saliency_corrects_the_prediction_both_ways():
    # m3: the 7 of low saliency becomes 0, the salient 0 becomes 7 where p ≥ .3.
    network = row(7, 7, 0, 0, 0, 0)
    saliency = row(0.9, 0.05, 0.8, 0.8, 0.79, 0.1)
    tag = row(0.9, 0.9, 0.3, 0.29, 0.5, 0.0)
    m1 = row(7, 0, 7, 0, 0, 0)
    proposal = refined(network, saliency, m1, tag=tag)
    assert proposal.candidate == 3
    assert proposal.quality == 1  # only if m3 is m1 to the pixel
    # Pixels changed by the correction disagree with the prediction, so they are void.
    assert proposal.mask.tolist() == [[7, 255, 255, 0, 0, 0]]


def test_correction_takes_the_likeliest_label():
    # Of background .2, tag 3 .05, tag 7 .15 and an absent class, .6: tag 7 has .375 of what counts.
    probabilities = np.array([0.2, 0.05, 0.15, 0.6])[:, None, None] * np.ones((1, 1, 4))
    arguments = {
        "prediction": mask(0, 0, 3, 7),
        "confidence": np.ones((1, 4)),
        "probabilities": probabilities.astype(np.float16),
        "classes": [0, 3, 7, 9],
        "saliency": row(0.9, 0.1, 0.9, 0.9),
        "initial": mask(7, 0, 3, 7),
        "thresholds": THRESHOLDS,
    }
    proposal = refined_proposal(**arguments, labels=[3, 7])
    assert proposal.quality == 1  # m3 is m1
    assert proposal.mask.tolist() == [[255, 0, 3, 7]]
    with pytest.raises(ValueError, match=r"missing \[8\]"):
        refined_proposal(**arguments, labels=[8])


def test_quality_is_agreement_with_the_independent_candidate():
    # m2 = m3 = [7, 7, 0, 0] outvote m1 = [7, 0, 0, 0].
    proposal = refined(row(7, 7, 0, 0), row(0.5, 0.5, 0.5, 0.5), row(7, 0, 0, 0))
    assert proposal.candidate == 3
    assert proposal.quality == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_what_the_prediction_does_not_know_is_not_dropped_to_background():
    """A class that is no label is void in m2, and in m3 too, however low the saliency.

    As background it would speak against m1, and m3 would lose against m2.
    """
    proposal = refined(row(7, 9, 0, 0), row(0.9, 0.01, 0.1, 0.1), row(7, 7, 0, 0))
    assert (proposal.candidate, proposal.quality) == (3, 1)
    assert proposal.mask.tolist() == [[7, 255, 0, 0]]


def test_initial_mask_may_be_chosen():
    # m1 lies between m2 and m3 = [7, 0, 0, 0, 7, 0, 0, 0], nearer to m2; its quality is from m3.
    network, m1 = row(7, 7, 7, 7, 7, 0, 0, 0), row(7, 7, 7, 0, 7, 0, 0, 0)
    proposal = refined(network, row(0.9, 0.01, 0.01, 0.01, 0.9, 0.2, 0.2, 0.2), m1)
    assert proposal.candidate == 1
    assert proposal.quality == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert proposal.mask.tolist() == [[7, 7, 7, 255, 7, 0, 0, 0]]


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_proposals_hold_only_labels_and_void(seed):
    rng = np.random.default_rng(seed)
    anything = [rng.choice([0, 3, 7, 9, 255], (4, 5)).astype(np.uint8) for _ in range(2)]
    network, m1 = anything
    confidence, saliency, *maps = rng.random((5, 4, 5))
    probabilities = rng.dirichlet(np.ones(4), (4, 5)).transpose(2, 0, 1)
    image = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    maps_and_mask = [0, 3, 7, 9], saliency, m1, [3, 7], THRESHOLDS
    refined = refined_proposal(network, confidence, probabilities, *maps_and_mask)
    crf = CRF | {"iterations": 2}
    initial = initial_proposal({3: maps[0], 7: maps[1]}, saliency, image, crf, THRESHOLDS)
    for proposal in (initial, refined):
        assert proposal.mask.dtype == np.uint8
        assert set(np.unique(proposal.mask)) <= {0, 3, 7, 255}
        assert 0 <= proposal.quality <= 1
        assert 0 <= proposal.coverage <= 1
        assert proposal.valid_fraction == np.mean(proposal.mask != 255)
