"""The CRF's backends: the lattice by hand and by its invariants, and all against pydensecrf."""

import importlib
import sys
from itertools import product

import numpy as np
import pytest
import torch

from seedbed.crf import DenseCRFGrid, dense_crf
from seedbed.crf.backends import choose, seedbed_lattice
from seedbed.crf.lattice import Lattice, SumOfLattices, enclosing_simplices, neighbours, vertex_keys
from seedbed.runtime.errors import UserError

torch.set_num_threads(1)

PARAMS = {
    "iterations": 10,
    "gaussian_weight": 3,
    "gaussian_sxy": 3,
    "bilateral_weight": 10,
    "bilateral_sxy": 80,
    "bilateral_srgb": 13,
}
GRID = PARAMS | {"gaussian_sxy": 3 / 12, "bilateral_sxy": 80 / 12}
OURS = [
    pytest.param(
        "native", marks=pytest.mark.skipif(seedbed_lattice is None, reason="module not built")
    ),
    "torch",
]


def picture(height, width, seed=0):
    """A gradient, a bright patch and noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    patch = (rows > height / 3) & (columns > width / 2)
    layers = [40 + rows, 90 + columns, 60 + 100 * patch]
    noisy = np.stack(layers, axis=-1) + rng.normal(0, 6, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def energies(channels, height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.gamma(2, 1, (channels, height, width)).astype(np.float32)


# The lattice


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_simplices_enclose_their_points(dimensions):
    features = 30 * torch.rand(dimensions, 500, generator=torch.Generator().manual_seed(1))
    corner, rank, shares = enclosing_simplices(features)
    assert (shares >= -1e-4).all()
    torch.testing.assert_close(shares.sum(0), torch.ones(500))
    assert (corner.sum(0) == 0).all() and (corner % (dimensions + 1) == 0).all()
    assert (rank.sort(0).values == torch.arange(dimensions + 1)[:, None]).all()
    # The vertices, weighted, make up the point: twice as far away, twice as far in the plane.
    order = dimensions + 1
    vertices = [corner + r - order * (rank > dimensions - r) for r in range(order)]
    point = sum(share * vertex for share, vertex in zip(shares, vertices, strict=True))
    lengths = (point**2).sum(0).sqrt() / (features**2).sum(0).sqrt()
    torch.testing.assert_close(lengths, torch.full((500,), order * (2 / 3) ** 0.5))


def test_simplex_of_the_origin():
    corner, rank, shares = enclosing_simplices(torch.zeros(2, 1))
    assert corner.flatten().tolist() == [0, 0, 0]
    assert rank.flatten().tolist() == [0, 1, 2]  # of equals the earlier one counts as larger
    assert shares.flatten().tolist() == [1, 0, 0]


def test_simplex_in_one_dimension():
    # x lies at 2 sqrt(2/3) / sqrt(2) x = 1.1547 x on the line (t, -t), whose points are t = 0, 1, …
    corner, _, shares = enclosing_simplices(torch.tensor([[1.0]]))
    t = 2 / 3**0.5
    assert corner.flatten().tolist() == [2, -2]
    torch.testing.assert_close(shares.flatten(), torch.tensor([t - 1, 2 - t]))


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
    # 3, 5 and 7 are a line with step 2, 20 is alone, 4 stands for none.
    found = neighbours(torch.tensor([3, 5, 7, 20]), 2)
    assert found.tolist() == [[4, 0, 1], [0, 1, 2], [1, 2, 4], [4, 3, 4], [4, 4, 4]]


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


def test_point_sets_do_not_hear_each_other():
    generator = torch.Generator().manual_seed(0)
    features = 4 * torch.rand(3, 50, 5, generator=generator)
    values = torch.rand(3, 50, 2, generator=generator)
    extents = [4.0] * 5
    together = SumOfLattices([Lattice(features, extents)])(values.flatten(0, 1))
    for one, value, ours in zip(features, values, together.view(3, 50, 2), strict=True):
        alone = SumOfLattices([Lattice(one[None], extents)])(value)
        torch.testing.assert_close(ours, alone, rtol=1e-6, atol=1e-7)


def test_far_points_hear_only_themselves():
    features = 40 * torch.arange(6.0).view(1, 3, 2)
    lattice = Lattice(features, [160.0, 200.0], weight=3)
    assert lattice.diagonal
    near = Lattice(features / 80, [2.0, 2.5])
    assert not near.diagonal
    values = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(SumOfLattices([lattice])(values), 3 * values)
    both = SumOfLattices([lattice, near])(values)
    torch.testing.assert_close(both, 3 * values + SumOfLattices([near])(values))
    # The shortcut is what the lattice itself would have given.
    lattice.diagonal = False
    torch.testing.assert_close(SumOfLattices([lattice])(values), 3 * values)


def test_sum_of_lattices():
    generator = torch.Generator().manual_seed(0)
    features = 4 * torch.rand(1, 40, 2, generator=generator)
    values = torch.rand(40, 3, generator=generator)
    one, two = Lattice(features, [4.0] * 2, 2), Lattice(features / 2, [2.0] * 2)
    both = SumOfLattices([one, two])(values)
    torch.testing.assert_close(both, SumOfLattices([one])(values) + SumOfLattices([two])(values))


# The backends against pydensecrf


@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize(
    ("size", "channels", "params"),
    [
        ((60, 80), 21, PARAMS),
        ((60, 80), 4, PARAMS),
        ((41, 41), 21, GRID),
        ((41, 41), 3, GRID),
        ((1, 50), 2, PARAMS),
        ((50, 1), 2, PARAMS),
        ((1, 50), 2, GRID),
        ((7, 5), 81, PARAMS),
        ((7, 5), 9, GRID),
        ((17, 33), 16, PARAMS),
        ((17, 33), 17, GRID),
        ((20, 30), 3, PARAMS | {"bilateral_srgb": 1}),
        ((1, 1200), 3, PARAMS | {"gaussian_sxy": 1, "bilateral_sxy": 1}),
        ((1200, 1), 3, PARAMS | {"bilateral_sxy": 1, "bilateral_srgb": 1}),
        ((20, 30), 3, PARAMS | {"gaussian_weight": 100, "bilateral_weight": 200}),
        ((20, 30), 3, PARAMS | {"gaussian_weight": 0}),
        ((20, 30), 3, GRID | {"bilateral_weight": 0}),
        ((20, 30), 18, PARAMS | {"iterations": 0}),
        ((20, 30), 18, GRID | {"iterations": 1}),
        ((20, 30), 3, PARAMS | {"bilateral_sxy": 0.2, "gaussian_sxy": 0.2}),
        ((20, 30), 3, GRID | {"gaussian_sxy": 0.4, "gaussian_weight": 30}),
    ],
)
def test_agrees_with_pydensecrf(backend, size, channels, params):
    image, unary = picture(*size), energies(channels, *size)
    ours = dense_crf(image, unary, params | {"backend": backend})
    reference = dense_crf(image, unary, params | {"backend": "pydensecrf"})
    np.testing.assert_allclose(ours, reference, atol=2e-3)
    assert np.abs(ours - reference).mean() < 2e-5


UNARIES = {
    "one-hot": lambda u: np.where(u == u.min(0), 0, 11.5).astype(np.float32),
    "uniform": lambda u: np.full_like(u, 0.7),
    "times 50": lambda u: 50 * u,
    "minus 1000": lambda u: u - 1000,
    "a label impossible": lambda u: np.concatenate([u[:2], u[2:] + 1e30]),
}
IMAGES = {
    "black": lambda image: np.zeros_like(image),
    "grey": lambda image: np.full_like(image, 128),
    "noise": lambda image: np.random.default_rng(3).integers(0, 256, image.shape, np.uint8),
    "plain": lambda image: image,
}


@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize("params", [PARAMS, GRID], ids=["image", "grid"])
@pytest.mark.parametrize("change", UNARIES.values(), ids=UNARIES)
@pytest.mark.parametrize("paint", IMAGES.values(), ids=IMAGES)
def test_agrees_at_the_extremes(backend, params, change, paint):
    image, unary = paint(picture(24, 31)), change(energies(4, 24, 31))
    ours = dense_crf(image, unary, params | {"backend": backend})
    np.testing.assert_allclose(ours.sum(0), 1, atol=1e-5)
    reference = dense_crf(image, unary, params | {"backend": "pydensecrf"})
    # Energies of 1000 leave pydensecrf four decimals.
    np.testing.assert_allclose(ours, reference, atol=1e-2)
    assert np.abs(ours - reference).mean() < 2e-5


@pytest.mark.parametrize("backend", [*OURS, "pydensecrf"])
def test_grid_of_every_backend(backend):
    images = torch.stack([torch.from_numpy(picture(9, 11, seed)) for seed in range(3)])
    unary = -torch.from_numpy(energies(5, 9, 11)).softmax(0).repeat(3, 1, 1, 1)
    labels = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    crf, channels_first = DenseCRFGrid(**GRID, backend=backend), images.permute(0, 3, 1, 2)
    posterior = crf(channels_first, unary, labels)
    assert (posterior[labels == 0] == 0).all()
    assert (posterior[2, 0] == 1).all()
    some = [0, 2, 3]
    expected = dense_crf(images[0], unary[0, some], GRID | {"backend": "pydensecrf"})
    torch.testing.assert_close(posterior[0, some], expected, rtol=0, atol=1e-4)
    leaf = unary.double().requires_grad_()
    again = crf(channels_first, leaf, labels.bool())
    assert torch.equal(again, posterior) and not again.requires_grad
    with pytest.raises(ValueError, match="unary holds NaN or infinity"):
        crf(channels_first, torch.full_like(leaf, 1e300))


@pytest.mark.parametrize("backend", [*OURS, "pydensecrf"])
def test_bytes_depend_on_no_number_of_threads(backend):
    sizes = [(20, 31), (8, 9), (33, 20), (1, 40), (12, 12)]
    images = [picture(*size) for size in sizes]
    unaries = [energies(4, *size) for size in sizes]
    params = PARAMS | {"backend": backend}
    alone = [dense_crf(*pair, params).tobytes() for pair in zip(images, unaries, strict=True)]
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for _ in range(3):
                many = dense_crf(images, unaries, params)
                assert [one.tobytes() for one in many] == alone
    finally:
        torch.set_num_threads(1)


@pytest.fixture
def without_module(monkeypatch):
    """The package seedbed.crf as it is imported where the C++ module is not installed."""
    for name in [name for name in sys.modules if name.startswith("seedbed.crf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "seedbed_lattice", None)
    return importlib.import_module("seedbed.crf")


def test_works_without_the_module(without_module):
    image, unary = picture(20, 30), energies(4, 20, 30)
    ours = without_module.dense_crf([image], [unary], PARAMS)[0]
    reference = dense_crf(image, unary, PARAMS | {"backend": "pydensecrf"})
    np.testing.assert_allclose(ours, reference, atol=1e-4)
    assert ours.tobytes() == dense_crf(image, unary, PARAMS | {"backend": "torch"}).tobytes()
    images, grid = torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(unary)[None]
    posterior = without_module.DenseCRFGrid(**GRID)(images, grid)
    expected = DenseCRFGrid(**GRID, backend="pydensecrf")(images, grid)
    torch.testing.assert_close(posterior, expected, rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="make install"):
        without_module.DenseCRFGrid(**GRID, backend="native")


def test_choice_of_the_backend():
    assert choose("auto") == ("torch" if seedbed_lattice is None else "native")
    assert choose("auto", torch.device("cuda")) == "torch"
    assert choose("pydensecrf", torch.device("cuda")) == "pydensecrf"
    with pytest.raises(ValueError, match="backend must be one of auto, native"):
        dense_crf(picture(4, 4), energies(2, 4, 4), PARAMS | {"backend": "cupy"})


@pytest.mark.parametrize("backend", OURS)
def test_lattices_kept_between_images_are_those_asked_for(backend):
    """More settings than are kept, each after every other one."""
    settings = [
        (20, 30, 2, {}),
        (30, 20, 2, {}),
        (20, 30, 9, {}),
        (20, 30, 2, {"gaussian_sxy": 1}),
        (20, 30, 2, {"gaussian_weight": 1}),
        (20, 30, 2, {"bilateral_sxy": 9}),
    ]
    cases = []
    for height, width, channels, changed in settings:
        case = picture(height, width), energies(channels, height, width), PARAMS | changed
        cases.append((*case, dense_crf(*case[:2], case[2] | {"backend": "pydensecrf"})))
    for pair in product(cases, repeat=2):
        for image, unary, params, expected in pair:
            posterior = dense_crf(image, unary, params | {"backend": backend})
            np.testing.assert_allclose(posterior, expected, atol=1e-4)


@pytest.mark.skipif(seedbed_lattice is None, reason="module not built")
def test_module_refuses_wrong_buffers():
    image, unary = picture(4, 5), energies(2, 4, 5)
    settings, channels = (4, 5, *PARAMS.values()), np.arange(2, dtype=np.int32)
    seedbed_lattice.mean_field(image, unary, np.empty_like(unary), channels, *settings)
    for wrong in [
        (image[:3], unary, channels),
        (image, unary[:1], channels),
        (image, unary.astype(np.float64), channels),
        (image, unary, channels + 1),
        (image, unary, channels - 1),
        (image, unary, channels[:0]),
    ]:
        with pytest.raises(ValueError, match="do not fit"):
            seedbed_lattice.mean_field(*wrong[:2], np.empty_like(unary), wrong[2], *settings)


@pytest.mark.parametrize("backend", [*OURS, "pydensecrf"])
@pytest.mark.parametrize("changed", [{"gaussian_sxy": 1e-6}, {"bilateral_sxy": 1e-6}])
def test_refuses_deviations_too_small(backend, changed):
    name = next(iter(changed)).split("_")[0]
    with pytest.raises(ValueError, match=f"{name}_s… must be greater"):
        dense_crf(picture(9, 9), energies(2, 9, 9), PARAMS | changed | {"backend": backend})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_and_repeats():
    images = torch.stack([torch.from_numpy(picture(41, 41, seed)) for seed in range(4)])
    images, unary = images.permute(0, 3, 1, 2), torch.from_numpy(energies(8, 41, 41))
    unary = unary.repeat(4, 1, 1, 1)
    crf = DenseCRFGrid(**GRID)
    first = crf(images.cuda(), unary.cuda())
    assert first.is_cuda and torch.equal(first, crf(images.cuda(), unary.cuda()))
    torch.testing.assert_close(first.cpu(), crf(images, unary), rtol=0, atol=1e-3)
