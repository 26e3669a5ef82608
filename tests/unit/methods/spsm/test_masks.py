"""SPSM's selection of masks: agreement, quality and selected images, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.methods.spsm.masks import (
    agreement,
    choose_candidate,
    pairwise_agreements,
    score_candidate,
    select_images,
)


def mask(*values):
    return np.array([values], dtype=np.uint8)


def test_agreement_by_hand():
    # Background 2/3, class 1: 1/2; the third column is void in one of the two.
    x, y = mask(0, 0, 1, 1, 0, 1), mask(0, 0, 255, 1, 1, 255)
    assert agreement(x, y, [1]) == pytest.approx((2 / 3 + 1 / 2) / 2)
    # A label that both miss counts 0, a background that both miss does not count.
    assert agreement(x, y, [1, 2]) == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert agreement(mask(1, 1), mask(1, 1), [1]) == 1
    assert agreement(mask(255, 1), mask(0, 255), [1]) == 0


def test_agreement_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        agreement(mask(0, 1), mask(0, 1, 1), [1])


masks = st.lists(st.sampled_from([0, 1, 2, 255]), min_size=6, max_size=6).map(lambda v: mask(*v))


@given(masks, masks)
def test_agreement_is_symmetric_and_bounded(x, y):
    j = agreement(x, y, [1, 2])
    assert 0 <= j <= 1
    assert j == agreement(y, x, [2, 1])
    assert agreement(mask(0, 1, 2), mask(0, 1, 2), [1, 2]) == 1


def choose(candidates, labels):
    return choose_candidate(pairwise_agreements(candidates, labels))


@given(masks, masks, masks)
def test_agreements_of_every_two_masks(x, y, z):
    found = pairwise_agreements([x, y, z], [1, 2])
    assert found.tolist() == [
        [0 if a is b else agreement(a, b, [1, 2]) for b in (x, y, z)] for a in (x, y, z)
    ]


def test_candidate_of_highest_agreement_is_chosen():
    near, nearer, far = mask(0, 1, 1, 1), mask(0, 0, 1, 1), mask(1, 0, 0, 1)
    assert choose([nearer, near, far], [1]) == 0
    assert choose([far, nearer, near], [1]) == 1


@given(masks, masks)
def test_last_of_equal_candidates_is_chosen(x, y):
    assert choose([x, x, x], [1, 2]) == 2
    assert choose([x, y], [1, 2]) == 1
    assert choose([x, y, y], [1, 2]) == 2


def test_no_candidate_is_refused():
    with pytest.raises(ValueError, match="at least one mask"):
        choose([], [1])


def square(pixels, size=20, label=7):
    flat = np.zeros(size * size, np.uint8)
    flat[:pixels] = label
    return flat.reshape(size, size)


def score(candidate, labels=(7,), selected=True, other=None):
    other = candidate if other is None else other
    selected = np.full(candidate.shape, selected)
    return score_candidate(
        candidate, agreement(candidate, other, labels), selected, labels, candidate=3
    )


@pytest.mark.parametrize(
    ("pixels", "coverage", "size_ok"),
    [(1, 0, False), (2, 1, False), (3, 1, False), (4, 1, True), (360, 1, True), (361, 1, False)],
)
def test_coverage_and_size(pixels, coverage, size_ok):
    # Of 400 pixels: a class counts from 2, the foreground must have 4 to 360.
    proposal = score(square(pixels))
    assert (proposal.coverage, proposal.size_ok) == (coverage, size_ok)
    assert proposal.quality == coverage * size_ok
    assert (proposal.candidate, proposal.valid_fraction) == (3, 1)


def test_quality_is_agreement_times_coverage():
    proposal = score(square(100), labels=(7, 8))
    assert proposal.coverage == 0.5
    assert proposal.quality == pytest.approx(0.5 * 2 / 3)  # class 8 has IoU 0
    other = score(square(100), other=square(50))
    assert other.quality == pytest.approx((50 / 100 + 300 / 350) / 2)


def test_pixels_that_are_not_selected_are_void():
    selected = square(40, label=1).astype(bool)
    proposal = score(square(100), selected=selected)
    assert (proposal.mask == np.where(selected, 7, 255)).all()
    assert proposal.valid_fraction == 0.1


def test_mask_without_foreground_has_quality_zero():
    assert score(square(0)).quality == 0
    nothing_selected = score(square(100), selected=False)
    assert (nothing_selected.quality, nothing_selected.size_ok) == (0, True)
    assert nothing_selected.valid_fraction == 0


@pytest.mark.parametrize("label", [0, 255])
def test_background_and_void_are_no_labels(label):
    with pytest.raises(ValueError, match="labels"):
        score(mask(7, 0), labels=(label, 7))


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
def test_selected_images_by_hand(threshold, minimum, expected):
    kept = select_images(QUALITY, TAGS, threshold=threshold, minimum_per_class=minimum)
    assert kept == set(expected)


qualities = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.sampled_from([0, 0.2, 0.5, 0.8, 1]), max_size=20
)


@given(qualities, st.integers(0, 3), st.floats(0, 1), st.floats(0, 1), st.randoms())
def test_selection_is_monotone_and_independent_of_order(quality, minimum, one, other, random):
    tags = {image: {ord(letter) for letter in image} for image in quality}

    def kept(scores, threshold):
        return select_images(scores, tags, threshold=threshold, minimum_per_class=minimum)

    assert kept(quality, max(one, other)) <= kept(quality, min(one, other))
    shuffled = random.sample(sorted(quality.items()), len(quality))
    assert kept(dict(shuffled), one) == kept(quality, one)
