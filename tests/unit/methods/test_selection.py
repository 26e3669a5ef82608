"""Selection of pixels and masks: every rule by a case worked out by hand, and its invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.methods.spsm.selection import (
    SelectionThresholds,
    agreement,
    choose,
    initial_proposal,
    keep,
    refined_proposal,
)

# No mean-field step: the CRF only normalises its scores, so a case can be worked out by hand.
STILL = {
    "iterations": 0,
    "gaussian_weight": 3,
    "gaussian_sxy": 3,
    "bilateral_weight": 10,
    "bilateral_sxy": 80,
    "bilateral_srgb": 13,
}
# Small cases: any area counts.
ANY_SIZE = {"class_area": 0, "smallest_foreground": 0, "largest_foreground": 1}


def row(*values):
    return np.array([values])


def mask(*values):
    return row(*values).astype(np.uint8)


# --- agreement and choice


def test_agreement_by_hand():
    # Background 2/3, class 1: 1/2; the third column is void in one of the two.
    x, y = mask(0, 0, 1, 1, 0, 1), mask(0, 0, 255, 1, 1, 255)
    assert agreement(x, y, [1]) == pytest.approx((2 / 3 + 1 / 2) / 2)
    # A tag that both miss counts 0, a background that both miss does not count.
    assert agreement(x, y, [1, 2]) == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert agreement(mask(1, 1), mask(1, 1), [1]) == 1
    assert agreement(mask(255, 1), mask(0, 255), [1]) == 0


def test_agreement_refuses_two_shapes():
    with pytest.raises(ValueError, match="one shape"):
        agreement(mask(0, 1), mask(0, 1, 1), [1])


masks = st.lists(st.sampled_from([0, 1, 2, 255]), min_size=6, max_size=6).map(lambda v: mask(*v))


@given(masks, masks)
def test_agreement_is_symmetric_and_bounded(x, y):
    j = agreement(x, y, [1, 2])
    assert 0 <= j <= 1
    assert j == agreement(y, x, [2, 1])
    assert agreement(mask(0, 1, 2), mask(0, 1, 2), [1, 2]) == 1


def test_choose_takes_the_mask_most_agreed_with():
    near, nearer, far = mask(0, 1, 1, 1), mask(0, 0, 1, 1), mask(1, 0, 0, 1)
    assert choose([nearer, near, far], [1]) == 0
    assert choose([far, nearer, near], [1]) == 1


@given(masks, masks)
def test_choose_takes_the_last_of_equals(x, y):
    assert choose([x, x, x], [1, 2]) == 2
    assert choose([x, y], [1, 2]) == 1
    assert choose([x, y, y], [1, 2]) == 2


def test_choose_refuses_nothing():
    with pytest.raises(ValueError, match="candidates"):
        choose([], [1])


# --- the first proposal


def first(attention, saliency, **thresholds):
    saliency = np.asarray(saliency, dtype=float)
    return initial_proposal(
        {label: np.asarray(values, dtype=float) for label, values in attention.items()},
        saliency,
        np.zeros((*saliency.shape, 3), np.uint8),
        STILL,
        SelectionThresholds(**(ANY_SIZE | thresholds)),
    )


@pytest.mark.parametrize(
    ("attention", "saliency", "expected"),
    [
        (0.9, 0.9, 7),  # both say so
        (0.6, 0.5, 7),  # saliency at its threshold bears it out; score .545 against .4
        (0.6, 0.49, 255),  # neither saliency nor attention alone would do
        (0.85, 0.4, 7),  # attention ≥ .8 stands in for saliency; score .544
        (0.95, 0.1, 255),  # harmonic mean .18 beats background's .05 but is below .3
        (0.05, 0.05, 0),  # dull and unattended
        (0.05, 0.06, 255),  # not dull enough for background
        (0.2, 0.05, 255),  # attended too much for background
        (0.1, 0.95, 255),  # and the other way round
    ],
)
def test_first_pixels(attention, saliency, expected):
    # A second, certain pixel keeps the proposal from being empty.
    proposal = first({7: row(attention, 0.9)}, row(saliency, 0.9))
    assert proposal.mask.tolist() == [[expected, 7]]


def test_first_pixel_of_another_class_than_before_the_crf_is_void():
    # The CRF, here a wide Gaussian, overrules the lone 2 among ones.
    ones = np.full((5, 5), 0.9)
    twos = np.zeros((5, 5))
    ones[2, 2], twos[2, 2] = 0.85, 0.9
    crf = STILL | {"iterations": 10}
    image = np.zeros((5, 5, 3), np.uint8)
    proposal = initial_proposal({1: ones, 2: twos}, np.full((5, 5), 0.9), image, crf)
    assert proposal.mask[2, 2] == 255
    assert np.count_nonzero(proposal.mask == 1) == 24


def test_first_quality_by_hand():
    # m1 = [7, 0, 0, 0]; attention alone gives m2 = [7, 7, 0, 0], since (1 − .5)^16 < .5.
    proposal = first({7: row(0.9, 0.5, 0, 0)}, row(0.9, 0.1, 0, 0))
    assert proposal.quality == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert proposal.mask.tolist() == [[7, 255, 0, 0]]
    assert (proposal.candidate, proposal.coverage, proposal.size_ok) == (1, 1, True)
    assert proposal.valid_fraction == 0.75


def test_first_without_tags_has_no_quality():
    proposal = first({}, row(0, 0.9))
    assert proposal.mask.tolist() == [[0, 255]]
    assert (proposal.quality, proposal.coverage) == (0, 0)


@pytest.mark.parametrize("bad", [row(0.5, np.nan), row(0.5, 1.5), row(-0.1, 0), row(0.5)])
def test_first_refuses_what_is_no_map(bad):
    with pytest.raises(ValueError, match=r"attention\[7\]"):
        first({7: bad}, row(0.5, 0.5))
    with pytest.raises(ValueError):
        first({7: row(0.5, 0.5)}, bad)


# --- the proposals after a network


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
        SelectionThresholds(**(ANY_SIZE | thresholds)),
    )


@pytest.mark.parametrize(
    ("says", "confidence", "kept"), [(7, 0.85, 7), (7, 0.84, 255), (0, 0.95, 0), (0, 0.94, 255)]
)
def test_pixel_needs_confidence(says, confidence, kept):
    sure = row(1.0, 1.0, confidence)
    proposal = refined(row(7, 0, says), row(0.6, 0.1, 0.4), row(7, 0, says), confidence=sure)
    assert proposal.mask.tolist() == [[7, 0, kept]]


@pytest.mark.parametrize(
    ("says", "witness", "saliency", "kept"),
    [
        (7, 7, 0.10, 7),  # m1 agrees
        (7, 0, 0.50, 7),  # saliency agrees
        (7, 0, 0.49, 255),
        (7, 255, 0.49, 255),  # void is no witness
        (0, 0, 0.70, 0),
        (0, 7, 0.29, 0),
        (0, 7, 0.30, 255),
    ],
)
def test_pixel_needs_a_witness(says, witness, saliency, kept):
    case = row(7, 0, 0, says), row(0.6, 0.1, 0.1, saliency), row(7, 0, 0, witness)
    assert refined(*case).mask.tolist() == [[7, 0, 0, kept]]
    alone = refined(*case, require_witness=False)
    assert alone.mask.tolist() == [[7, 0, 0, says]]


def test_saliency_corrects_the_network_both_ways():
    # m3: the dull 7 becomes 0, the salient 0 becomes 7 where p ≥ .3.
    network = row(7, 7, 0, 0, 0, 0)
    saliency = row(0.9, 0.05, 0.8, 0.8, 0.79, 0.1)
    tag = row(0.9, 0.9, 0.3, 0.29, 0.5, 0.0)
    m1 = row(7, 0, 7, 0, 0, 0)
    proposal = refined(network, saliency, m1, tag=tag)
    assert proposal.candidate == 3
    assert proposal.quality == 1  # only if m3 is m1 to the pixel
    # What the correction changed is not the network's word, so it is void.
    assert proposal.mask.tolist() == [[7, 255, 255, 0, 0, 0]]


def test_correction_takes_the_likeliest_tag_and_renormalises():
    # Of background .2, tag 3 .05, tag 7 .15 and an untagged .6: tag 7 has .375 of what counts.
    probabilities = np.array([0.2, 0.05, 0.15, 0.6])[:, None, None] * np.ones((1, 1, 4))
    arguments = {
        "network": mask(0, 0, 3, 7),
        "confidence": np.ones((1, 4)),
        "probabilities": probabilities.astype(np.float16),
        "classes": [0, 3, 7, 9],
        "saliency": row(0.9, 0.1, 0.9, 0.9),
        "first": mask(7, 0, 3, 7),
        "thresholds": SelectionThresholds(**ANY_SIZE),
    }
    proposal = refined_proposal(**arguments, labels=[3, 7])
    assert proposal.quality == 1  # m3 is m1
    assert proposal.mask.tolist() == [[255, 0, 3, 7]]
    with pytest.raises(ValueError, match=r"missing \[8\]"):
        refined_proposal(**arguments, labels=[8])


def test_quality_against_the_other_voice():
    # m2 = m3 = [7, 7, 0, 0] outvote m1 = [7, 0, 0, 0].
    proposal = refined(row(7, 7, 0, 0), row(0.5, 0.5, 0.5, 0.5), row(7, 0, 0, 0))
    assert proposal.candidate == 3
    assert proposal.quality == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_first_mask_may_be_chosen():
    # m1 lies between m2 and m3 = [7, 0, 0, 0, 7, 0, 0, 0], nearer to m2; its quality is from m3.
    network, m1 = row(7, 7, 7, 7, 7, 0, 0, 0), row(7, 7, 7, 0, 7, 0, 0, 0)
    proposal = refined(network, row(0.9, 0.01, 0.01, 0.01, 0.9, 0.2, 0.2, 0.2), m1)
    assert proposal.candidate == 1
    assert proposal.quality == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert proposal.mask.tolist() == [[7, 7, 7, 255, 7, 0, 0, 0]]


def square(pixels, size=20, label=7):
    flat = np.zeros(size * size, np.uint8)
    flat[:pixels] = label
    return flat.reshape(size, size)


@pytest.mark.parametrize(
    ("pixels", "coverage", "size_ok"),
    [(1, 0, False), (2, 1, False), (3, 1, False), (4, 1, True), (360, 1, True), (361, 1, False)],
)
def test_coverage_and_size(pixels, coverage, size_ok):
    # 400 pixels: a class counts from 2, the foreground must have 4 to 360.
    same = square(pixels)
    defaults = {name: getattr(SelectionThresholds(), name) for name in ANY_SIZE}
    proposal = refined(same, np.full(same.shape, 0.5), same, **defaults)
    assert (proposal.coverage, proposal.size_ok) == (coverage, size_ok)
    assert proposal.quality == coverage * size_ok


def test_half_the_tags_found_is_half_the_coverage():
    same = square(100)
    proposal = refined(same, np.full(same.shape, 0.5), same, labels=(7, 8), class_area=0.005)
    assert proposal.coverage == 0.5
    assert proposal.quality == pytest.approx(0.5 * 2 / 3)


def test_mask_without_foreground_has_no_quality():
    nothing = square(0)
    assert refined(nothing, np.zeros(nothing.shape), nothing).quality == 0
    # Nor has one whose foreground no pixel rule let through.
    same = square(100)
    unsure = refined(same, np.zeros(same.shape) + 0.5, same, confidence=np.full(same.shape, 0.5))
    assert (unsure.quality, unsure.size_ok, unsure.valid_fraction) == (0, True, 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_proposals_hold_tags_alone_whatever_comes(seed):
    rng = np.random.default_rng(seed)
    anything = [rng.choice([0, 3, 7, 9, 255], (4, 5)).astype(np.uint8) for _ in range(2)]
    network, m1 = anything
    confidence, saliency, *maps = rng.random((5, 4, 5))
    probabilities = rng.dirichlet(np.ones(4), (4, 5)).transpose(2, 0, 1)
    image = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    later = refined_proposal(network, confidence, probabilities, [0, 3, 7, 9], saliency, m1, [3, 7])
    start = initial_proposal({3: maps[0], 7: maps[1]}, saliency, image, STILL | {"iterations": 2})
    for proposal in (start, later):
        assert proposal.mask.dtype == np.uint8
        assert set(np.unique(proposal.mask)) <= {0, 3, 7, 255}
        assert 0 <= proposal.quality <= 1
        assert 0 <= proposal.coverage <= 1
        assert proposal.valid_fraction == np.mean(proposal.mask != 255)


def test_background_is_no_tag():
    with pytest.raises(ValueError, match="labels"):
        refined(row(7, 0), row(0.5, 0.5), row(7, 0), labels=(0, 7))


# --- which images to keep

QUALITY = {"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.2, "e": 0.0}
TAGS = {"a": [1], "b": [1, 2], "c": [2], "d": [3], "e": [3]}


@pytest.mark.parametrize(
    ("threshold", "minimum", "expected"),
    [
        (0.5, 0, "abc"),
        (0.9, 0, "a"),
        (0.95, 0, ""),
        (0.95, 1, "abd"),  # a for 1, b before its equal c for 2, d for 3
        (0.95, 2, "abcd"),  # never e, of quality 0
    ],
)
def test_keep_by_hand(threshold, minimum, expected):
    kept = keep(QUALITY, TAGS, threshold=threshold, minimum_per_class=minimum)
    assert kept == set(expected)


qualities = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.sampled_from([0, 0.2, 0.5, 0.8, 1]), max_size=20
)


@given(qualities, st.integers(0, 3), st.floats(0, 1), st.floats(0, 1), st.randoms())
def test_keep_is_monotone_and_knows_no_order(quality, minimum, one, other, random):
    tags = {image: {ord(letter) for letter in image} for image in quality}

    def kept(scores, threshold):
        return keep(scores, tags, threshold=threshold, minimum_per_class=minimum)

    assert kept(quality, max(one, other)) <= kept(quality, min(one, other))
    shuffled = random.sample(sorted(quality.items()), len(quality))
    assert kept(dict(shuffled), one) == kept(quality, one)
