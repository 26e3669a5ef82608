"""The CRF's backends against pydensecrf, and which of them is chosen."""

import importlib
import shutil
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seedbed.crf import DenseCRFGrid, backends, dense, dense_crf
from seedbed.crf.backends import native_source_hash, resolve_backend, seedbed_lattice
from seedbed.crf.grid import _solve_without_waiting
from seedbed.runtime.errors import UserError
from tests.support.workflow_helpers import ROOT
from tests.unit.crf.test_crf import GRID, PARAMS

torch.set_num_threads(1)

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
    present = [0, 2, 3]
    expected = dense_crf(images[0], unary[0, present], GRID | {"backend": "pydensecrf"})
    torch.testing.assert_close(posterior[0, present], expected, rtol=0, atol=1e-4)
    leaf = unary.double().requires_grad_()
    again = crf(channels_first, leaf, labels.bool())
    assert torch.equal(again, posterior) and not again.requires_grad
    with pytest.raises(ValueError, match="unary holds NaN or infinity"):
        crf(channels_first, torch.full_like(leaf, 1e300))


@pytest.mark.parametrize("backend", [*OURS, "pydensecrf"])
def test_bytes_do_not_depend_on_the_number_of_threads(backend):
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
                assert [posterior.tobytes() for posterior in many] == alone
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


def test_auto_is_native_on_the_cpu_where_it_is_built():
    assert resolve_backend("auto") == ("torch" if seedbed_lattice is None else "native")
    assert resolve_backend("auto", torch.device("cuda")) == "torch"
    assert resolve_backend("pydensecrf", torch.device("cuda")) == "pydensecrf"
    with pytest.raises(ValueError, match="backend must be one of auto, native"):
        dense_crf(picture(4, 4), energies(2, 4, 4), PARAMS | {"backend": "cupy"})


@pytest.mark.skipif(seedbed_lattice is None, reason="the C++ module is not built")
@pytest.mark.parametrize(("device", "backend"), [("cpu", "native"), ("meta", "torch")])
def test_a_list_is_solved_by_the_backend_of_its_tensors_device(monkeypatch, device, backend):
    """Several threads would compete for one GPU; the device "meta" stands in for it."""
    used = []
    monkeypatch.setattr(dense, "map_images", lambda _function, _jobs, name: used.append(name))
    dense_crf([picture(4, 5)], [torch.empty(2, 4, 5, device=device)], PARAMS)
    dense_crf([], [], PARAMS)
    assert used == [backend, "native"]


def use_module(monkeypatch, **attributes):
    module = SimpleNamespace(__file__="/venv/seedbed_lattice.so", **attributes)
    monkeypatch.setattr(backends, "seedbed_lattice", module)


@pytest.mark.parametrize("attributes", [{}, {"source_hash": "0" * 64}])
@pytest.mark.parametrize("backend", ["auto", "native"])
def test_a_module_of_other_sources_is_refused(monkeypatch, backend, attributes):
    use_module(monkeypatch, **attributes)
    message = (
        r"seedbed_lattice\.so was not built from the sources in .*/crf/native; run make install"
    )
    with pytest.raises(UserError, match=message) as error:
        dense_crf(picture(4, 4), energies(2, 4, 4), PARAMS | {"backend": backend})
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message):
        DenseCRFGrid(**GRID, backend=backend)
    assert resolve_backend("torch") == "torch"
    assert resolve_backend("auto", torch.device("cuda")) == "torch"


@pytest.fixture
def native_folder(monkeypatch, tmp_path):
    """An empty folder that stands for the one of the sources, whose hash is not cached."""
    monkeypatch.setattr(backends, "NATIVE_FOLDER", tmp_path)
    monkeypatch.setattr(backends, "native_source_hash", native_source_hash.__wrapped__)
    return tmp_path


def test_an_edited_source_needs_a_new_module(monkeypatch, native_folder):
    shutil.copytree(ROOT / "seedbed/crf/native", native_folder, dirs_exist_ok=True)
    for path in [*native_folder.glob("*.?pp"), native_folder / "setup.py"]:
        use_module(monkeypatch, source_hash=backends.native_source_hash())
        assert resolve_backend("auto") == "native"
        path.write_text(path.read_text() + "\n")
        with pytest.raises(UserError, match="make install"):
            resolve_backend("auto")


def test_a_package_without_sources_takes_any_module(monkeypatch, native_folder):
    use_module(monkeypatch, source_hash="0" * 64)
    assert resolve_backend("native") == "native"


def test_pydensecrf_is_imported_only_by_name():
    code = "import sys, seedbed.crf; sys.exit('pydensecrf' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("backend", OURS)
def test_cached_lattices_belong_to_their_settings(backend):
    """More settings than the cache holds, each after every other."""
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
    settings, channels = (4, 5, *PARAMS.values(), 1), np.arange(2, dtype=np.int32)
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
    with pytest.raises(ValueError, match="do not fit"):
        seedbed_lattice.mean_field(image, unary, np.empty_like(unary), channels, *settings[:-1], 0)


@pytest.mark.parametrize("backend", [*OURS, "pydensecrf"])
@pytest.mark.parametrize("changed", [{"gaussian_sxy": 1e-6}, {"bilateral_sxy": 1e-6}])
def test_refuses_too_small_standard_deviations(backend, changed):
    name = next(iter(changed)).split("_")[0]
    with pytest.raises(ValueError, match=f"{name}_s… must be greater"):
        dense_crf(picture(9, 9), energies(2, 9, 9), PARAMS | changed | {"backend": backend})


@pytest.mark.parametrize("labelled", [False, True])
def test_solving_without_waiting_gives_the_same(labelled):
    """The batch as on a GPU: fixed sizes, all channels, no check of values."""
    images = torch.stack([torch.from_numpy(picture(13, 17, seed)) for seed in range(3)])
    unary = torch.stack([torch.from_numpy(energies(5, 13, 17, seed)) for seed in range(3)])
    labels = torch.tensor([[1, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    present = labels.bool() if labelled else torch.ones(3, 5, dtype=torch.bool)
    crf = DenseCRFGrid(**GRID, backend="torch")
    expected = crf(images.permute(0, 3, 1, 2), unary, labels if labelled else None)
    found = _solve_without_waiting(images, unary, present, crf.params)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert not found[~present].any()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_seen_without_waiting(wrong):
    images = torch.from_numpy(picture(13, 17)).expand(2, -1, -1, -1)
    unary = torch.from_numpy(energies(5, 13, 17)).repeat(2, 1, 1, 1)
    unary[1, 2, 6, 8] = wrong
    present = torch.ones(2, 5, dtype=torch.bool)
    found = _solve_without_waiting(images, unary, present, DenseCRFGrid(**GRID).params)
    assert found[0].isfinite().all() and found[1, :, 6, 8].isnan().all()
    present[1, 2] = False  # an absent channel's energies are never looked at
    assert (
        _solve_without_waiting(images, unary, present, DenseCRFGrid(**GRID).params).isfinite().all()
    )
