"""The permutohedral lattice: by hand, by its invariants and against exact Gaussian filters."""

import pytest
import torch

from seedbed.crf.lattice import Lattice, SumOfLattices, enclosing_simplices, neighbours, vertex_keys

torch.set_num_threads(1)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_simplices_enclose_their_points(dimensions):
    features = 30 * torch.rand(dimensions, 500, generator=torch.Generator().manual_seed(1))
    corner, rank, weights = enclosing_simplices(features)
    assert (weights >= -1e-4).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(500))
    assert (corner.sum(0) == 0).all() and (corner % (dimensions + 1) == 0).all()
    assert (rank.sort(0).values == torch.arange(dimensions + 1)[:, None]).all()
    # The vertices, weighted, make up the point: twice as far away, twice as far in the plane.
    order = dimensions + 1
    vertices = [corner + r - order * (rank > dimensions - r) for r in range(order)]
    point = sum(weight * vertex for weight, vertex in zip(weights, vertices, strict=True))
    lengths = (point**2).sum(0).sqrt() / (features**2).sum(0).sqrt()
    torch.testing.assert_close(lengths, torch.full((500,), order * (2 / 3) ** 0.5))


def test_simplex_of_the_origin():
    corner, rank, weights = enclosing_simplices(torch.zeros(2, 1))
    assert corner.flatten().tolist() == [0, 0, 0]
    assert rank.flatten().tolist() == [0, 1, 2]  # of equal differences the earlier counts as larger
    assert weights.flatten().tolist() == [1, 0, 0]


def test_simplex_in_one_dimension():
    # x lies at 2 sqrt(2/3) / sqrt(2) x = 1.1547 x on the line (t, -t), whose points are t = 0, 1, …
    corner, _, weights = enclosing_simplices(torch.tensor([[1.0]]))
    t = 2 / 3**0.5
    assert corner.flatten().tolist() == [2, -2]
    torch.testing.assert_close(weights.flatten(), torch.tensor([t - 1, 2 - t]))


def test_vertex_keys():
    lows, strides, total = vertex_keys([10.0, 5.0], batch=1)
    assert strides[0] == 1 and strides[1] > -lows[0] and total > strides[1]
    assert lows[0] == -9 and lows[1] < lows[0]
    with pytest.raises(OverflowError, match="coordinates"):
        vertex_keys([1e6, 1.0], batch=1)
    with pytest.raises(OverflowError, match="keys"):
        vertex_keys([1e5] * 5, batch=1)
    vertex_keys([2e3] * 4, batch=1)
    with pytest.raises(OverflowError, match="keys"):
        vertex_keys([2e3] * 4, batch=2000)


def test_neighbours():
    # 3, 5 and 7 are neighbours with step 2, 20 has none; 4 is the row of no vertex.
    rows = neighbours(torch.tensor([3, 5, 7, 20]), 2)
    assert rows.tolist() == [[4, 0, 1], [0, 1, 2], [1, 2, 4], [4, 3, 4], [4, 4, 4]]


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_filter_is_near_the_exact_gaussian(dimensions):
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.rand(300, dimensions, generator=generator)
    values = torch.rand(300, 2, generator=generator)
    k = torch.exp(-(torch.cdist(features, features) ** 2) / 2)
    scale = k.sum(1, keepdim=True).rsqrt()
    exact = 2 * scale * (k @ (scale * values))
    ours = SumOfLattices([Lattice(features[None], [3.0] * dimensions, weight=2)])(values)
    assert (ours - exact).abs().mean() < 0.05 * exact.mean()
    assert torch.corrcoef(torch.stack([ours.flatten(), exact.flatten()]))[0, 1] > 0.9


def test_point_sets_are_independent():
    generator = torch.Generator().manual_seed(0)
    features = 4 * torch.rand(3, 50, 5, generator=generator)
    values = torch.rand(3, 50, 2, generator=generator)
    extents = [4.0] * 5
    together = SumOfLattices([Lattice(features, extents)])(values.flatten(0, 1))
    for points, value, ours in zip(features, values, together.view(3, 50, 2), strict=True):
        alone = SumOfLattices([Lattice(points[None], extents)])(value)
        torch.testing.assert_close(ours, alone, rtol=1e-6, atol=1e-7)


def test_far_points_are_multiplied_by_the_weight():
    features = 40 * torch.arange(6.0).view(1, 3, 2)
    lattice = Lattice(features, [160.0, 200.0], weight=3)
    assert lattice.diagonal
    near = Lattice(features / 80, [2.0, 2.5])
    assert not near.diagonal
    values = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(SumOfLattices([lattice])(values), 3 * values)
    both = SumOfLattices([lattice, near])(values)
    torch.testing.assert_close(both, 3 * values + SumOfLattices([near])(values))
    # The lattice itself gives the same as the shortcut.
    lattice.diagonal = False
    torch.testing.assert_close(SumOfLattices([lattice])(values), 3 * values)


def test_sum_of_lattices():
    generator = torch.Generator().manual_seed(0)
    features = 4 * torch.rand(1, 40, 2, generator=generator)
    values = torch.rand(40, 3, generator=generator)
    one, two = Lattice(features, [4.0] * 2, 2), Lattice(features / 2, [2.0] * 2)
    both = SumOfLattices([one, two])(values)
    torch.testing.assert_close(both, SumOfLattices([one])(values) + SumOfLattices([two])(values))


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_a_lattice_of_fixed_size_filters_alike(dimensions):
    generator = torch.Generator().manual_seed(2)
    features = 8 * torch.rand(3, 60, dimensions, generator=generator)
    values = torch.rand(180, 4, generator=generator)
    extents = [8.0] * dimensions
    small, full = (Lattice(features, extents, 2.0, fixed_size=fixed) for fixed in (False, True))
    assert full.size == 180 * (dimensions + 1) + 1 > small.size
    expected, found = (SumOfLattices([lattice])(values) for lattice in (small, full))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    used = small.size - 1
    rows = full.splat_and_blur(values)
    torch.testing.assert_close(rows[:used], small.splat_and_blur(values)[:used])
    assert not rows[used:].any()


def test_vertices_that_do_not_exist_have_no_neighbours():
    greatest = torch.iinfo(torch.int32).max
    keys = torch.tensor([3, 7, greatest, greatest], dtype=torch.int32)
    for step in (4, -4, greatest, -greatest):  # the greatest key and a negative step reach others
        rows = neighbours(keys, step)
        assert (rows[2:, [0, 2]] == 4).all(), step
    assert neighbours(keys, 4)[:2].tolist() == [[4, 0, 1], [0, 1, 4]]
