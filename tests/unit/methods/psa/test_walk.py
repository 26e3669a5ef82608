"""PSA's random walk against powers of the dense transition matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.methods.psa.pairs import pair_offsets
from seedbed.methods.psa.walk import pool_to_grid, random_walk, walk_scores, with_background

torch.set_num_threads(1)
PSA = {"beta": 8.0, "steps": 256}


def along_a_row(*first_partner):
    """Affinities of a grid of one row, each cell with the next; with those further away 0."""
    affinities = torch.zeros(34, 1, len(first_partner) + 1)
    affinities[0, 0, :-1] = torch.tensor(first_partner)
    return affinities


def across(wall, width):
    """Index of the affinities of pairs with a wall before that column between them."""
    columns = torch.arange(width)
    crosses = [(columns < wall) != (columns + right < wall) for _, right in pair_offsets()]
    pair, column = torch.stack(crosses).nonzero(as_tuple=True)
    return pair, slice(None), column


def symmetric_matrix(affinities):
    """W (h·w, h·w), pair by pair, in double precision."""
    _, height, width = affinities.shape
    matrix = np.eye(height * width)
    for pair, (down, right) in enumerate(pair_offsets()):
        for y, x in np.ndindex(height - min(down, height), width):
            if 0 <= x + right < width:
                here, there = y * width + x, (y + down) * width + x + right
                matrix[here, there] = matrix[there, here] = affinities[pair, y, x]
    return matrix


def dense_walk(affinities, scores, beta, steps):
    matrix = symmetric_matrix(affinities) ** beta
    transition = np.linalg.matrix_power(matrix / matrix.sum(axis=0, keepdims=True), steps)
    flat = scores.double().numpy().reshape(len(scores), -1)
    return torch.from_numpy((flat @ transition).reshape(scores.shape))


def random_case(seed, size, channels=2):
    """Affinities, those with cells outside the grid as well, and scores."""
    rng = torch.Generator().manual_seed(seed)
    affinities = torch.rand(34, *size, generator=rng)
    return affinities, torch.rand(channels, *size, generator=rng)


def test_one_and_two_steps_by_hand():
    # W = [1 1 0, 1 1 1, 0 1 1]: the middle cell divides by 3, the others by 2.
    scores = torch.tensor([[[6.0, 0.0, 0.0]], [[0.0, 6.0, 0.0]]])
    once = random_walk(along_a_row(1.0, 1.0), scores, beta=1, steps=1)
    torch.testing.assert_close(once, torch.tensor([[[3.0, 2.0, 0.0]], [[3.0, 2.0, 3.0]]]))
    twice = random_walk(along_a_row(1.0, 1.0), scores[:1], beta=1, steps=2)
    torch.testing.assert_close(twice, torch.tensor([[[5 / 2, 5 / 3, 1.0]]]))


def test_the_power_is_element_wise():
    walked = random_walk(along_a_row(0.5), torch.tensor([[[1.0, 0.0]]]), beta=2, steps=1)
    torch.testing.assert_close(walked, torch.tensor([[[0.8, 0.2]]]))


def test_the_number_of_steps_matters():
    affinities, scores = along_a_row(*[0.9] * 59), torch.zeros(1, 1, 60)
    scores[0, 0, :9] = 1
    walked = random_walk(affinities, scores, **PSA)
    assert not torch.allclose(random_walk(affinities, scores, beta=8, steps=255), walked)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 8), st.integers(1, 11)),
    beta=st.sampled_from([0.5, 1.0, 8.0]),
    steps=st.integers(0, 12),
)
@settings(max_examples=60)
def test_equals_the_power_of_the_dense_matrix(seed, size, beta, steps):
    affinities, scores = random_case(seed, size)
    found = random_walk(affinities.double(), scores.double(), beta=beta, steps=steps)
    torch.testing.assert_close(found, dense_walk(affinities, scores, beta, steps))


def test_single_precision_is_accurate_after_256_steps():
    rng = torch.Generator().manual_seed(0)
    affinities = torch.rand(34, 15, 13, generator=rng) ** 0.1
    affinities[across(6, width=13)] *= 0.4
    scores = torch.rand(3, 15, 13, generator=rng) * torch.linspace(0.1, 1, 13)
    expected = dense_walk(affinities, scores, 8, 256)
    assert expected.std(dim=(1, 2)).min() > 0.1
    found = random_walk(affinities, scores, **PSA)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-5 * expected.max()


def test_affinities_with_cells_outside_the_grid_are_ignored():
    affinities, scores = random_case(2, (6, 7))
    clean = affinities.clone()
    for pair, (down, right) in enumerate(pair_offsets()):
        for y, x in np.ndindex(6, 7):
            if y + down >= 6 or not 0 <= x + right < 7:
                affinities[pair, y, x], clean[pair, y, x] = float("nan"), 0
    assert torch.equal(random_walk(affinities, scores, **PSA), random_walk(clean, scores, **PSA))


def test_zero_affinity_and_constant_scores_change_nothing():
    affinities, scores = random_case(3, (6, 5))
    torch.testing.assert_close(random_walk(torch.zeros(34, 6, 5), scores, **PSA), scores)
    assert torch.equal(random_walk(affinities, scores, beta=8, steps=0), scores)
    flat = torch.full((1, 6, 5), 0.7)
    torch.testing.assert_close(random_walk(affinities, flat, **PSA), flat)


def test_scores_do_not_cross_zero_affinities():
    affinities = torch.ones(34, 6, 8)
    affinities[across(4, width=8)] = 0
    scores = torch.zeros(1, 6, 8)
    scores[0, 2, 1] = 1
    walked = random_walk(affinities, scores, **PSA)[0]
    assert (walked[:, :4] > 0.01).all() and not walked[:, 4:].any()


def test_images_of_a_batch_are_independent():
    cases = [random_case(seed, (6, 7), channels=3) for seed in range(4)]
    affinities, scores = (torch.stack(each) for each in zip(*cases, strict=True))
    found = random_walk(affinities, scores, beta=8, steps=9)
    for image, case in zip(found, cases, strict=True):
        torch.testing.assert_close(image, random_walk(*case, beta=8, steps=9))


def test_inputs_are_not_modified_and_the_result_has_no_gradient():
    affinities, scores = random_case(4, (6, 7))
    scores.requires_grad_()
    before = affinities.clone(), scores.detach().clone()
    assert not random_walk(affinities, scores, beta=8, steps=3).requires_grad
    assert torch.equal(affinities, before[0]) and torch.equal(scores, before[1])


def test_bad_arguments_are_refused():
    affinities, scores = random_case(5, (6, 7))
    with pytest.raises(ValueError, match="affinities"):
        random_walk(affinities[:33], scores, **PSA)
    with pytest.raises(ValueError, match="scores"):
        random_walk(affinities, scores.mT, **PSA)
    with pytest.raises(ValueError, match=r"same leading dimensions, not \(1,\) and \(\)"):
        random_walk(affinities[None], scores, **PSA)
    with pytest.raises(ValueError, match="steps"):
        random_walk(affinities, scores, beta=8, steps=-1)


def test_background_score_by_hand():
    cams = torch.tensor([[[0.5, 0.0, 1.0]], [[0.25, 0.0, 0.9]]])
    expected = torch.tensor([[[0.0625, 1.0, 0.0]]])
    assert torch.equal(with_background(cams, 4), torch.cat([expected, cams]))
    assert with_background(torch.full((2, 1, 1), 0.5), 16)[0].item() == 2**-16
    assert torch.equal(with_background(cams[None], 4)[0], with_background(cams, 4))


def test_pooling_pads_with_zeros():
    pooled = pool_to_grid(torch.ones(2, 10, 20))
    expected = torch.tensor([[1.0, 1.0, 0.5], [0.25, 0.25, 0.125]])
    assert torch.equal(pooled, expected.expand(2, 2, 3))
    assert torch.equal(pool_to_grid(torch.ones(1, 16, 8)), torch.ones(1, 2, 1))
    ramp = torch.arange(16.0).repeat(8, 1)
    assert torch.equal(pool_to_grid(ramp[None]), torch.tensor([[[3.5, 11.5]]]))


def test_background_score_is_computed_before_pooling():
    cams = torch.zeros(1, 8, 12)
    cams[:, :, :4] = 1
    expected = torch.tensor([[[0.5, 0.5]], [[0.5, 0.0]]])
    assert torch.equal(walk_scores(cams, 16), expected)
    half = torch.full((2, 8, 8), 0.5)
    assert walk_scores(half, alpha=3)[:, 0, 0].tolist() == [0.125, 0.5, 0.5]
    assert walk_scores(half, 16)[0].item() == 2**-16
