import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps, write_maps
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.methods.resampling import label_pixels, resize
from seedbed.training.samples import Request, Samples, draws, group_draws, loader
from seedbed.training.views import View

torch.set_num_threads(1)

PLAIN = {"flip": False}


@pytest.fixture
def make_samples(tmp_path):
    """Samples of one picture (H, W, 3), with its mask, cues and scores if given."""

    def make(picture, view, *, seed=0, mask=None, cues=None, scores=None, copies=1, **options):
        Image.fromarray(picture).save(tmp_path / "a.png")
        maps = {"targets": mask, "cues": cues, "scores": scores}
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


def channels_last(image):
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("crop", [8, 11])
def test_a_crop_without_zoom_is_a_slice_of_the_image(make_samples, noise, crop):
    mask = noise[..., 0].copy()
    samples = make_samples(noise, View(crop, warp=False), mask=mask)
    places, mirrored = set(), 0
    for step in range(150):
        sample = samples[Request(step, 0, 0)]
        image, target = sample.images, sample.targets
        if sample.mirrored:
            image, target, mirrored = image.flip(-1), target.flip(-1), mirrored + 1
        rows, columns = np.nonzero(mask == int(target[0, 0]))
        (place,) = (
            (row, column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if np.array_equal(mask[row : row + crop, column : column + crop], target)
        )
        slices = tuple(slice(start, start + crop) for start in place)
        np.testing.assert_allclose(channels_last(image), noise[slices], atol=0.02)
        places.add(place)
    assert 50 < mirrored < 100
    assert {row for row, _ in places} == set(range(16 - crop + 1))
    assert {column for _, column in places} == set(range(24 - crop + 1))


@pytest.mark.parametrize("placement", ["random", "top_left"])
def test_an_image_smaller_than_the_crop(make_samples, noise, placement):
    mask = noise[..., 0] % 4
    view = View(21, warp=False, placement=placement, **PLAIN)
    samples = make_samples(noise, view, mask=mask)
    tops, lefts = set(), set()
    for step in range(80):
        sample = samples[Request(step, 0, 0)]
        inside = sample.targets != 255
        rows = inside.any(1).nonzero()[:, 0]
        assert inside.all(1).sum() == len(rows) == 16, "whole rows, padded above or below"
        tops.add(int(rows[0]))
        seen = sample.targets[rows[0] : rows[0] + 16]
        (left,) = (c for c in range(4) if np.array_equal(mask[:, c : c + 21], seen))
        lefts.add(left)
        image = channels_last(sample.images[:, rows])
        np.testing.assert_allclose(image, noise[:, left : left + 21], atol=0.02)
    assert tops == ({0} if placement == "top_left" else set(range(6)))
    assert lefts == set(range(4)), "the side that is longer is cut anywhere"


def test_a_zoomed_out_image_lies_in_the_corner_too():
    view = View(30, warp=False, scale=(0.5, 0.5), placement="top_left", **PLAIN)
    for seed in range(5):
        theta = view.draw(40, 80, np.random.default_rng(seed))
        x, y = corners(theta).T
        assert y.min() == pytest.approx(-1) and y.max() == pytest.approx(2)
        assert x.min() >= -1 - 1e-6 and x.max() <= 1 + 1e-6


def test_the_colour_beyond_the_image_is_the_one_asked_for(make_samples, noise):
    colour = (123.675, 116.28, 103.53)
    options = {"warp": False, "flip": False, "placement": "top_left"}
    mean = torch.from_numpy(noise).float().mean((0, 1))
    for jitter in (0.0, 0.4):
        views = [View(30, padding=c, jitter=jitter, hue=jitter, **options) for c in (None, colour)]
        plain, painted = (make_samples(noise, v)[Request(7, 0, 0)].images for v in views)
        torch.testing.assert_close(plain[:, :16, :24], painted[:, :16, :24])
        beyond = torch.ones(30, 30, dtype=torch.bool)
        beyond[:16, :24] = False
        expected = torch.tensor(colour)[:, None].expand(3, int(beyond.sum()))
        assert torch.equal(painted[:, beyond], expected), "and jitter leaves it alone"
        same = torch.allclose(plain[:, beyond], mean[:, None], atol=1e-2)
        assert same == (jitter == 0)
    inner = torch.from_numpy(noise).permute(2, 0, 1).float()
    assert (painted[:, :16, :24] - inner).abs().mean() > 5


def test_the_long_side_is_resized_as_pillow_does(make_samples):
    picture = np.random.default_rng(0).integers(0, 256, (18, 24, 3), np.uint8)
    mask = picture[..., 0] % 4
    view = View(8, warp=False, long_side=(8, 8), placement="top_left", padding=(0, 0, 0), **PLAIN)
    sample = make_samples(picture, view, mask=mask)[Request(0, 0, 0)]
    small = Image.fromarray(picture).resize((8, 6), Image.Resampling.BICUBIC)
    assert np.abs(channels_last(sample.images[:, :6]) - np.asarray(small, float)).max() <= 1.05
    assert not sample.images[:, 6:].any() and (sample.targets[6:] == 255).all()
    np.testing.assert_array_equal(sample.targets[:6], mask[1::3, 1::3])  # the middle of 3 x 3


def test_long_sides_are_drawn_from_both_ends_of_the_range():
    view, image = View(8, warp=False, long_side=(10, 13)), torch.rand(3, 40, 20) * 255
    sizes = {tuple(view.rescale(image, np.random.default_rng(seed)).shape) for seed in range(60)}
    assert sizes == {(3, 10, 5), (3, 11, 6), (3, 12, 6), (3, 13, 6)}
    thin = View(8, warp=False, long_side=(4, 4)).rescale(image[:, :, :1], np.random.default_rng(0))
    assert thin.shape == (3, 4, 1)


def test_a_long_side_comes_before_the_zoom(make_samples):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 40:] = 200
    view = View(20, warp=False, long_side=(40, 40), scale=(0.5, 0.5), padding=(9, 9, 9), **PLAIN)
    image = make_samples(picture, view)[Request(0, 0, 0)].images[0]
    inside = (image - 9).abs() > 0.5
    assert inside.any(0).sum() == 20 and inside.any(1).sum() == 10  # 80 x 40 at half of a half


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("how", ["tf_legacy", "antialias"])
def test_a_warp_resizes_as_it_is_told(make_samples, noise, size, how):
    pixels = torch.from_numpy(noise).permute(2, 0, 1).float()
    expected = resize(pixels[None], (size, size), how)[0]
    samples = make_samples(noise, View(size, resampling=how))
    seen = [samples[Request(step, 0, 0)] for step in range(12)]
    assert {bool(sample.mirrored) for sample in seen} == {True, False}
    for sample in seen:
        wanted = expected.flip(-1) if sample.mirrored else expected
        torch.testing.assert_close(sample.images, wanted, atol=0.02, rtol=0)


def test_hue_turns_the_circle_and_nothing_else(make_samples):
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    picture[0] = picture[0, :, :1]  # grey
    picture[1, 0], picture[1, 1], picture[1, 2] = (255, 0, 0), (0, 255, 255), (0, 0, 0)
    samples = make_samples(picture, View(6, hue=0.2, **PLAIN))
    before = [colorsys.rgb_to_hsv(*pixel) for pixel in picture.reshape(-1, 3) / 255]
    turns = []
    for step in range(25):
        after = channels_last(samples[Request(step, 0, 0)].images).reshape(-1, 3) / 255
        red = colorsys.rgb_to_hsv(*after[6].tolist())[0]  # was 0
        turns.append((red + 0.5) % 1 - 0.5)
        expected = [colorsys.hsv_to_rgb((h + turns[-1]) % 1, s, v) for h, s, v in before]
        np.testing.assert_allclose(after, expected, atol=2e-3)
    assert -0.2 <= min(turns) < -0.1 and 0.1 < max(turns) <= 0.2


@pytest.mark.parametrize("sampling", ["corner_aligned", "tf_legacy"])
def test_targets_of_every_nth_pixel(make_samples, sampling):
    picture = np.zeros((330, 340, 3), np.uint8)
    mask = np.random.default_rng(1).integers(0, 21, (330, 340), np.uint8)
    view, pixels = View(321, warp=False), label_pixels(321, 8, sampling)
    whole = make_samples(picture, view, mask=mask)
    sparse = make_samples(picture, view, mask=mask, target_stride=8, target_sampling=sampling)
    seen = [(whole[Request(i, 0, 0)], sparse[Request(i, 0, 0)]) for i in range(4)]
    assert len({bool(one.mirrored) for one, _ in seen}) == 2
    for one, other in seen:
        assert one.targets.shape == (321, 321) and other.targets.shape == (41, 41)
        assert torch.equal(other.targets, one.targets[pixels][:, pixels])


def test_targets_at_the_centres_of_cells(make_samples, noise):
    mask = np.repeat(np.repeat(np.arange(9, dtype=np.uint8).reshape(3, 3), 4, 0), 4, 1)
    samples = make_samples(noise[:12, :12], View(12, **PLAIN), mask=mask, target_stride=4)
    np.testing.assert_array_equal(samples[Request(0, 0, 0)].targets, np.arange(9).reshape(3, 3))


@pytest.mark.parametrize("levels", [1.0, 255])
def test_scores_become_the_labels_of_cells(make_samples, levels):
    # columns of 8 pixels: surely background, surely class 1, surely class 2, unsure
    low, high = np.zeros((2, 3, 16, 32), np.float32)
    high[0, :, :8] = low[0, :, :8] = 0.6
    low[1, :, 8:16] = high[1, :, 8:16] = 1
    low[2, :, 16:24] = high[2, :, 16:24] = 1
    low[0, :, 24:], high[1, :, 24:] = 1, 1
    scores = (np.stack([low, high]) * levels).astype(np.float32 if levels == 1 else np.uint8)
    picture = np.zeros((16, 32, 3), np.uint8)
    view = View(40, warp=False, placement="top_left")
    samples = make_samples(picture, view, scores=scores)
    expected = torch.full((5, 5), 255, dtype=torch.uint8)
    expected[:2, :3] = torch.tensor([0, 1, 2])
    found = {}
    for step in range(10):
        sample = samples[Request(step, 0, 0)]
        assert sample.targets.dtype == torch.uint8
        found[bool(sample.mirrored)] = sample.targets
    assert torch.equal(found[False], expected)
    assert torch.equal(found[True], expected.flip(-1))
    odd = View(36, warp=False, flip=False, placement="top_left")
    assert torch.equal(
        make_samples(picture, odd, scores=scores)[Request(0, 0, 0)].targets, expected
    )


def test_nothing_is_sure_beyond_the_image(make_samples):
    scores = np.full((2, 2, 13, 21), 255, np.uint8)
    scores[:, 1] = 0
    view = View(64, warp=False, flip=False)
    samples = make_samples(np.zeros((13, 21, 3), np.uint8), view, scores=scores)
    for step in range(40):
        targets = samples[Request(step, 0, 0)].targets
        rows, columns = (targets == 0).any(1).sum(), (targets == 0).any(0).sum()
        assert set(targets.unique().tolist()) == {0, 255}
        assert 2 <= rows <= 3 and 3 <= columns <= 4


def test_what_interpolation_leaves_beyond_the_border_is_no_score(make_samples):
    scores = np.full((2, 2, 8, 16), 255, np.uint8)
    view = View(48, warp=False, scale=(2.0, 2.0), flip=False, placement="top_left")
    samples = make_samples(np.zeros((8, 16, 3), np.uint8), view, scores=scores)
    targets = samples[Request(0, 0, 0)].targets
    expected = torch.full((6, 6), 255, dtype=torch.uint8)
    expected[:2, :4] = 0
    assert torch.equal(targets, expected)


def test_parts_of_a_batch(make_batch):
    images = torch.arange(6.0).view(6, 1, 1, 1)
    batch = make_batch(images, targets=torch.arange(6).view(6, 1, 1))
    parts = batch.parts(3)
    assert [part.images.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    for part in parts:
        assert torch.equal(part.targets.flatten(), part.images.flatten().long())
        assert torch.equal(part.index, part.targets.flatten()) and part.tags.shape == (2, 3)
        assert part.mirrored.shape == (2,) and part.cues is None
    assert batch.parts(1)[0].images.shape == images.shape
    with pytest.raises(ValueError, match="4 does not divide a batch of 6"):
        batch.parts(4)


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
    groups = GroupIndex([(1,), (2,), (1,), (2,)], draws=None)
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
