"""The half disc of pairs, and their affinities against a literal double loop."""

import math

import pytest
import torch

from seedbed.methods.psa.pairs import inner_cells, pair_affinities, pair_offsets

torch.set_num_threads(1)

OFFSETS = pair_offsets()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def literal_affinity(features, y, x, row, column):
    """Of the cells (y, x) and (y + row, x + column), each with its channels."""
    difference = features[:, y, x] - features[:, y + row, x + column]
    return math.exp(-difference.abs().mean().item())


def literal_affinities(features, sources):
    """(C, h, w) → (34, h, w): 0 but for the sources' partners within the grid."""
    _, height, width = features.shape
    result = torch.zeros(34, height, width)
    for p, (row, column) in enumerate(OFFSETS):
        for y, x in sources:
            if y + row < height and 0 <= x + column < width:
                result[p, y, x] = literal_affinity(features, y, x, row, column)
    return result


def all_cells(height, width):
    return [(y, x) for y in range(height) for x in range(width)]


def psa_sources(height, width):
    """All but the last four rows and four columns at both sides, row by row."""
    return [(y, x) for y in range(height - 4) for x in range(4, width - 4)]


def test_small_radius_by_hand():
    assert pair_offsets(2) == [(0, 1), (1, -1), (1, 0), (1, 1)]


def test_each_pair_within_the_radius_once():
    found = pair_offsets()
    assert len(found) == len(set(found)) == 34
    assert all(0 < r * r + c * c < 25 and (-r, -c) not in found for r, c in found)


def test_pair_affinities_are_the_literal_double_loop():
    features = noise(2, 5, 12, 13)
    expected = torch.stack([literal_affinities(one, all_cells(12, 13)) for one in features])
    found = pair_affinities(features)
    torch.testing.assert_close(found, expected)
    assert ((found == 0) == (expected == 0)).all()
    inside = sum((12 - row) * (13 - abs(column)) for row, column in OFFSETS)
    assert (found > 0).sum() == 2 * inside


def test_two_cells_by_hand():
    features = torch.tensor([[1.0, 4.0], [2.0, 1.0]]).view(1, 2, 1, 2)
    found = pair_affinities(features)
    assert found[0, 0].flatten().tolist() == pytest.approx([math.exp(-2), 0])
    assert (found[0, 1:] == 0).all()


def test_a_grid_smaller_than_the_radius():
    features = noise(1, 4, 2, 3)
    expected = literal_affinities(features[0], all_cells(2, 3))
    torch.testing.assert_close(pair_affinities(features)[0], expected)
    assert inner_cells(pair_affinities(features)).numel() == 0


def test_gradients_are_finite_at_the_border():
    features = noise(1, 3, 6, 7).requires_grad_()
    pair_affinities(features).sum().backward()
    assert features.grad.isfinite().all()
    assert (features.grad[0].abs().sum(0) > 0).all()


def test_half_precision_is_widened_first():
    features = noise(1, 64, 8, 9).bfloat16()
    assert torch.equal(pair_affinities(features), pair_affinities(features.float()))


@pytest.mark.parametrize(
    "size, inner",
    [
        ((56, 56), (52, 48)),
        ((5, 9), (1, 1)),
        ((4, 20), (0, 12)),
        ((3, 20), (0, 12)),
        ((20, 7), (16, 0)),
        ((20, 3), (16, 0)),
    ],
)
def test_inner_cells(size, inner):
    grid = torch.arange(size[0] * size[1]).view(size)
    found = inner_cells(grid)
    assert found.shape == inner
    assert found.flatten().tolist() == [y * size[1] + x for y, x in psa_sources(*size)]


@pytest.mark.parametrize("offset", OFFSETS)
def test_partners_of_inner_cells(offset):
    rows, columns = torch.arange(11)[:, None], torch.arange(13)
    cells = rows * 100 + columns
    found = inner_cells(cells, offset) - inner_cells(cells)
    assert found.shape == (7, 5) and (found == offset[0] * 100 + offset[1]).all()
