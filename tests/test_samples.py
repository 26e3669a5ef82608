import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seedbed.artefacts import Maps, write_maps
from seedbed.data.groups import GroupIndex
from seedbed.data.index import ImageEntry
from seedbed.data.samples import Request, Samples, View, draws, group_draws, loader

PLAIN = {"flip": False}


@pytest.fixture
def make_samples(tmp_path):
    """Samples of one picture (H, W, 3), with its mask and cues if given."""

    def make(picture, view, *, seed=0, mask=None, cues=None, copies=1, **options):
        Image.fromarray(picture).save(tmp_path / "a.png")
        maps = {"targets": mask, "cues": cues}
        for name, array in maps.items():
            if array is not None:
                with write_maps(tmp_path / f"{name}.h5") as file:
                    file.put("a", array)
                options[name] = Maps(tmp_path / f"{name}.h5")
        entry = ImageEntry("a", "a.png", *picture.shape[:2], (2,), "train", True, "")
        return Samples([entry] * copies, 4, tmp_path, view, seed=seed, **options)

    return make


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def corners(theta):
    """The view's corners in the image's normalised coordinates, (4, 2) of x and y."""
    square = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]])
    return square @ theta.T


def test_the_plain_warp_is_the_image_resized(make_samples, noise):
    image = make_samples(noise, View(8, **PLAIN))[Request(0, 0, 0)].images
    # two rows to a cell, of whose three columns the middle one is met
    expected = noise.astype(float).reshape(8, 2, 24, 3).mean(1)[:, 1::3]
    np.testing.assert_allclose(image.permute(1, 2, 0), expected, atol=1e-2)


def test_a_plain_sample_of_its_own_size_is_the_image(make_samples, noise):
    square = np.ascontiguousarray(noise[:, :16])
    mask = (square[..., 0] % 4).astype(np.uint8)
    sample = make_samples(square, View(16, **PLAIN), mask=mask)[Request(3, 1, 0)]
    np.testing.assert_allclose(sample.images.permute(1, 2, 0), square, atol=1e-2)
    np.testing.assert_array_equal(sample.targets, mask)
    assert sample.tags.tolist() == [1, 0, 1, 0]
    assert sample.index == 0 and not sample.mirrored and sample.cues is None


def test_flip_mirrors_about_half_of_the_samples(make_samples, noise):
    plain = make_samples(noise, View(8, **PLAIN))[Request(0, 0, 0)].images
    seen = [make_samples(noise, View(8))[Request(step, 0, 0)] for step in range(40)]
    for sample in seen:
        expected = plain.flip(-1) if sample.mirrored else plain
        torch.testing.assert_close(sample.images, expected, atol=1e-2, rtol=0)
    assert 10 < sum(bool(sample.mirrored) for sample in seen) < 30


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(0, 1000))
def test_a_crop_that_fits_stays_inside_and_keeps_its_aspect(height, width, seed):
    view = View(20, warp=False, scale=(1.0, 2.0), flip=False)
    theta = view.draw(height, width, np.random.default_rng(seed))
    assert corners(theta).abs().max() <= 1 + 1e-5
    span = theta[0, 0] * width
    assert span == pytest.approx(float(theta[1, 1] * height), rel=1e-5)
    assert 10 - 1e-3 <= span <= 20 + 1e-3


def test_a_crop_larger_than_the_image_shows_it_whole():
    places = []
    for seed in range(20):
        theta = View(30, warp=False, **PLAIN).draw(10, 40, np.random.default_rng(seed))
        x, y = corners(theta).T
        assert y.min() <= -1 and y.max() >= 1
        assert x.min() >= -1 - 1e-6 and x.max() <= 1 + 1e-6
        places.append(float(theta[1, 2]))
    assert min(places) < -1 and max(places) > 1  # anywhere in the view, low as well as high


@pytest.mark.parametrize("warp", [True, False])
def test_zoom_sees_less(warp):
    rng = np.random.default_rng(0)
    one, two = (
        View(20, warp=warp, scale=(zoom, zoom), **PLAIN).draw(40, 50, rng) for zoom in (1.0, 2.0)
    )
    torch.testing.assert_close(two[:, :2], one[:, :2] / 2)


def test_rotation_turns_pixels_rather_than_normalised_coordinates():
    angles = []
    for seed in range(20):
        view = View(10, warp=False, rotate=30, flip=False)
        theta = view.draw(40, 80, np.random.default_rng(seed))[:, :2].double()
        turn = torch.diag(torch.tensor([80.0, 40.0]).double()) @ theta / 10
        torch.testing.assert_close(turn @ turn.T, torch.eye(2).double(), atol=1e-5, rtol=0)
        angles.append(float(torch.rad2deg(torch.atan2(turn[1, 0], turn[0, 0]))))
    assert -30 <= min(angles) < -10 and 10 < max(angles) <= 30


def centroid(where):
    """Mean place (row, column) of the marked cells, in shares of the view."""
    cells = where.nonzero().double() + 0.5
    return cells.mean(0) / torch.tensor(where.shape)


def test_image_target_and_cues_stay_aligned(make_samples):
    picture, mask = np.zeros((60, 40, 3), np.uint8), np.zeros((60, 40), np.uint8)
    cues = np.zeros((4, 20, 20), np.uint8)
    picture[12:24, 20:28], mask[12:24, 20:28], cues[2, 4:8, 10:14] = 255, 2, 1
    for warp in (True, False):
        view = View(48, warp=warp, scale=(0.7, 1.3), rotate=40)
        options = {"target_stride": 2, "cue_grid": 48}
        samples = make_samples(picture, view, mask=mask, cues=cues, **options)
        seen = [samples[Request(step, 0, 0)] for step in range(25)]
        assert {bool(sample.mirrored) for sample in seen} == {True, False}
        whole = [sample for sample in seen if (sample.targets == 2).sum() > 20]
        assert len(whole) > 10
        for sample in whole:
            assert sample.targets.shape == (24, 24) and sample.cues.shape == (4, 48, 48)
            where = centroid(sample.images[0] > 128)
            torch.testing.assert_close(centroid(sample.targets == 2), where, atol=0.02, rtol=0)
            torch.testing.assert_close(centroid(sample.cues[2]), where, atol=0.02, rtol=0)
            assert not sample.cues[[0, 1, 3]].any()


def test_outside_the_image_is_void_without_cues_in_the_mean_colour(make_samples, noise):
    view = View(32, scale=(0.5, 0.5), flip=False)
    mask, cues = np.ones((16, 24), np.uint8), np.ones((4, 8, 8), np.uint8)
    sample = make_samples(noise, view, mask=mask, cues=cues, cue_grid=32)[Request(1, 0, 0)]
    void = sample.targets == 255
    assert set(sample.targets.unique().tolist()) == {1, 255}
    assert 0.7 < void.float().mean() < 0.8  # the image covers half of each side
    rows, columns = (~void).nonzero(as_tuple=True)
    outside = torch.ones(32, 32, dtype=torch.bool)
    # bilinear sampling reaches half a pixel of the image further than nearest does
    tall = slice(max(0, rows.min() - 2), rows.max() + 3)
    wide = slice(max(0, columns.min() - 2), columns.max() + 3)
    outside[tall, wide] = False
    mean = torch.from_numpy(noise).float().mean((0, 1))
    torch.testing.assert_close(
        sample.images[:, outside], mean[:, None].expand(-1, int(outside.sum())), atol=1e-2, rtol=0
    )
    assert not sample.cues[:, void].any() and sample.cues[:, ~void].all()


def test_jitter_changes_colours_as_a_whole(make_samples):
    picture = np.full((8, 8, 3), (75, 60, 45), np.uint8)
    samples = make_samples(picture, View(8, jitter=0.5, **PLAIN))
    means, ranges = [], []
    for step in range(30):
        image = samples[Request(step, 0, 0)].images
        torch.testing.assert_close(image, image[:, :1, :1].expand(3, 8, 8))
        red, green, blue = image[:, 0, 0].tolist()
        assert red - green == pytest.approx(green - blue, abs=1e-3)
        means.append(green / 60)
        ranges.append((red - green) / green)
    assert 0.5 <= min(means) < 0.8 and 1.2 < max(means) <= 1.5
    assert 0.25 / 4 <= min(ranges) < 0.2 and 0.4 < max(ranges) <= 0.25 * 9 / 4


def test_a_sample_is_a_function_of_seed_step_and_slot(make_samples, noise):
    view = View(8, warp=False, scale=(0.5, 2), rotate=20, jitter=0.3)
    samples, again = make_samples(noise, view), make_samples(noise, view)
    base = samples[Request(5, 1, 0)].images
    samples[Request(9, 9, 0)]
    assert torch.equal(again[Request(5, 1, 0)].images, base)
    for other in (Request(6, 1, 0), Request(5, 2, 0)):
        assert not torch.equal(samples[other].images, base)
    assert not torch.equal(make_samples(noise, view, seed=1)[Request(5, 1, 0)].images, base)


def test_every_epoch_visits_every_image_once():
    requests = [one for batch in draws(7, 3, 0, 14, seed=4) for one in batch]
    epochs = np.array([one.index for one in requests]).reshape(6, 7)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(7), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert [(one.step, one.slot) for one in requests[:5]] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_draws_go_on_where_they_stopped(count, batch, start):
    whole = list(draws(count, batch, 0, 8, seed=1))
    assert list(draws(count, batch, start, 8, seed=1)) == whole[start:]


def test_group_draws_put_partners_behind_each_image():
    groups = GroupIndex([(1,), (2,), (1,), (2,)])
    whole = list(group_draws(groups, 3, draws(4, 2, 0, 6, seed=0), seed=0))
    later = list(group_draws(groups, 3, draws(4, 2, 4, 6, seed=0), seed=0))
    assert later == whole[4:]
    for batch, firsts in zip(whole, draws(4, 2, 0, 6, seed=0), strict=True):
        assert [one.slot for one in batch] == list(range(6))
        assert [one.index for one in batch[::3]] == [one.index for one in firsts]
        for first in (0, 3):
            assert len({one.index % 2 for one in batch[first : first + 3]}) == 1


def test_loader_gives_the_same_batches_with_workers(make_samples, noise):
    mask, view = noise[..., 0].copy(), View(8, rotate=9)
    samples = make_samples(noise, view, mask=mask, copies=4)
    plain, worked = (
        list(loader(samples, draws(4, 3, 1, 4, seed=0), workers=workers)) for workers in (0, 1)
    )
    assert len(plain) == len(worked) == 3
    for one, other in zip(plain, worked, strict=True):
        assert one.images.shape == (3, 3, 8, 8) and one.tags.shape == (3, 4)
        assert one.mirrored.dtype == torch.bool and one.cues is None
        for name in ("images", "tags", "index", "mirrored", "targets"):
            assert torch.equal(getattr(one, name), getattr(other, name))
