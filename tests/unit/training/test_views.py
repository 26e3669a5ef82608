"""Random views: geometry and colours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seedbed.methods.resampling import resize_image
from seedbed.training.sampler import Request
from tests.support.training_helpers import crop_view, warp_view

torch.set_num_threads(1)


def corners(theta):
    """The view's corners in the image's normalised coordinates, (4, 2) of x and y."""
    square = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]])
    return square @ theta.T


def test_the_plain_warp_is_the_image_resized(make_samples, noise):
    image = make_samples(noise, warp_view(8))[Request(0, 0, 0)].images
    # two rows to a cell, of whose three columns the middle one is met
    expected = noise.astype(float).reshape(8, 2, 24, 3).mean(1)[:, 1::3]
    np.testing.assert_array_equal(image.permute(1, 2, 0), np.floor(expected + 0.5))


def test_flip_mirrors_about_half_of_the_samples(make_samples, noise):
    plain = make_samples(noise, warp_view(8))[Request(0, 0, 0)].images
    seen = [make_samples(noise, warp_view(8, flip=True))[Request(step, 0, 0)] for step in range(40)]
    for sample in seen:
        expected = plain.flip(-1) if sample.mirrored else plain
        torch.testing.assert_close(sample.images, expected, atol=1e-2, rtol=0)
    assert 10 < sum(bool(sample.mirrored) for sample in seen) < 30


@settings(max_examples=40)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(0, 1000))
def test_a_crop_that_fits_stays_inside_and_keeps_its_aspect(height, width, seed):
    view = crop_view(20, scale=(1.0, 2.0))
    theta = view.draw(height, width, np.random.default_rng(seed))
    assert corners(theta).abs().max() <= 1 + 1e-5
    span = theta[0, 0] * width
    assert span == pytest.approx(float(theta[1, 1] * height), rel=1e-5)
    assert 10 - 1e-3 <= span <= 20 + 1e-3


def test_a_crop_larger_than_the_image_shows_it_whole():
    places = []
    for seed in range(20):
        theta = crop_view(30).draw(10, 40, np.random.default_rng(seed))
        x, y = corners(theta).T
        assert y.min() <= -1 and y.max() >= 1
        assert x.min() >= -1 - 1e-6 and x.max() <= 1 + 1e-6
        places.append(float(theta[1, 2]))
    assert min(places) < -1 and max(places) > 1  # anywhere in the view, low as well as high


@pytest.mark.parametrize("make_view", [warp_view, crop_view])
def test_zoom_shrinks_the_view(make_view):
    rng = np.random.default_rng(0)
    one, two = (make_view(20, scale=(zoom, zoom)).draw(40, 50, rng) for zoom in (1.0, 2.0))
    torch.testing.assert_close(two[:, :2], one[:, :2] / 2)


def test_rotation_turns_pixels_rather_than_normalised_coordinates():
    angles = []
    for seed in range(20):
        view = crop_view(10, rotate=30)
        theta = view.draw(40, 80, np.random.default_rng(seed))[:, :2].double()
        turn = torch.diag(torch.tensor([80.0, 40.0]).double()) @ theta / 10
        torch.testing.assert_close(turn @ turn.T, torch.eye(2).double(), atol=1e-5, rtol=0)
        angles.append(float(torch.rad2deg(torch.atan2(turn[1, 0], turn[0, 0]))))
    assert -30 <= min(angles) < -10 and 10 < max(angles) <= 30


def test_jitter_changes_the_image_before_the_view_is_cut_out(make_samples):
    picture = np.zeros((8, 40, 3), np.uint8)
    picture[:, :20] = 200
    samples = make_samples(picture, crop_view(8, jitter=0.5))
    contrasts = set()
    for step in range(40):
        image = samples[Request(step, 0, 0)].images
        assert torch.equal(image, image.round())
        if image.std() == 0 and 0 < image.mean() < 80:  # black has the whole image's mean mixed in
            contrasts.add(int(image.mean()))
    assert len(contrasts) > 4


def channels_last(image):
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("crop", [8, 11])
def test_a_crop_without_zoom_is_a_slice_of_the_image(make_samples, noise, crop):
    mask = noise[..., 0].copy()
    samples = make_samples(noise, crop_view(crop, flip=True), mask=mask)
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
        np.testing.assert_array_equal(channels_last(image), noise[slices])
        places.add(place)
    assert 50 < mirrored < 100
    assert {row for row, _ in places} == set(range(16 - crop + 1))
    assert {column for _, column in places} == set(range(24 - crop + 1))


@pytest.mark.parametrize("placement", ["random", "top_left"])
def test_an_image_smaller_than_the_crop(make_samples, noise, placement):
    mask = noise[..., 0] % 4
    view = crop_view(21, placement=placement)
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
        np.testing.assert_array_equal(image, noise[:, left : left + 21])
    assert tops == ({0} if placement == "top_left" else set(range(6)))
    assert lefts == set(range(4)), "the side that is longer is cut anywhere"


def test_a_zoomed_out_image_lies_in_the_corner_too():
    view = crop_view(30, scale=(0.5, 0.5), placement="top_left")
    for seed in range(5):
        theta = view.draw(40, 80, np.random.default_rng(seed))
        x, y = corners(theta).T
        assert y.min() == pytest.approx(-1) and y.max() == pytest.approx(2)
        assert x.min() >= -1 - 1e-6 and x.max() <= 1 + 1e-6


def test_the_colour_beyond_the_image_is_the_one_asked_for(make_samples, noise):
    colour = (123.675, 116.28, 103.53)
    mean = torch.from_numpy(noise).float().mean((0, 1))
    for jitter in (0.0, 0.4):
        options = {"placement": "top_left", "jitter": jitter, "hue": jitter}
        views = [crop_view(30, padding=padding, **options) for padding in (None, colour)]
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
    view = crop_view(8, long_side=(8, 8), placement="top_left", padding=(0, 0, 0))
    sample = make_samples(picture, view, mask=mask)[Request(0, 0, 0)]
    small = Image.fromarray(picture).resize((8, 6), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(channels_last(sample.images[:, :6]), small)
    assert not sample.images[:, 6:].any() and (sample.targets[6:] == 255).all()
    np.testing.assert_array_equal(sample.targets[:6], mask[1::3, 1::3])  # the middle of 3 x 3


def test_long_sides_are_drawn_from_both_ends_of_the_range():
    view, image = crop_view(8, long_side=(10, 13), flip=True), torch.rand(3, 40, 20) * 255
    sizes = {tuple(view.rescale(image, np.random.default_rng(seed)).shape) for seed in range(60)}
    assert sizes == {(3, 10, 5), (3, 11, 6), (3, 12, 6), (3, 13, 6)}
    thin = crop_view(8, long_side=(4, 4), flip=True).rescale(
        image[:, :, :1], np.random.default_rng(0)
    )
    assert thin.shape == (3, 4, 1)


def test_a_long_side_comes_before_the_zoom(make_samples):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 40:] = 200
    view = crop_view(20, long_side=(40, 40), scale=(0.5, 0.5), padding=(9, 9, 9))
    image = make_samples(picture, view)[Request(0, 0, 0)].images[0]
    inside = (image - 9).abs() > 0.5
    assert inside.any(0).sum() == 20 and inside.any(1).sum() == 10  # 80 x 40 at half of a half


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("how", ["half_pixel", "tf_legacy", "antialias"])
def test_a_warp_resizes_as_it_is_told(make_samples, noise, size, how):
    pixels = torch.from_numpy(noise).permute(2, 0, 1).float()
    expected = resize_image(pixels[None], (size, size), how)[0]
    samples = make_samples(noise, warp_view(size, resampling=how, flip=True))
    seen = [samples[Request(step, 0, 0)] for step in range(12)]
    assert {bool(sample.mirrored) for sample in seen} == {True, False}
    for sample in seen:
        assert torch.equal(sample.images, expected.flip(-1) if sample.mirrored else expected)


@pytest.mark.parametrize("how", ["half_pixel", "antialias"])
@pytest.mark.parametrize("zoom", [0.6, 1.0, 1.7])
def test_interpolated_views_have_whole_levels(make_samples, noise, how, zoom):
    view = warp_view(30, resampling=how, scale=(zoom, zoom), rotate=20, padding=(0, 0, 0))
    image = make_samples(noise, view)[Request(0, 0, 0)].images
    assert torch.equal(image, image.round())


@pytest.mark.parametrize("make_view", [warp_view, crop_view])
@pytest.mark.parametrize("size", [30, 61])
def test_the_edge_of_an_image_repeats_and_padding_begins_beyond(make_samples, make_view, size):
    picture, mask = np.full((16, 24, 3), 200, np.uint8), np.full((16, 24), 3, np.uint8)
    for zoom, rotate in ((1.0, 0.0), (0.7, 0.0), (2.3, 0.0), (0.8, 30.0)):
        view = make_view(size, scale=(zoom, zoom), rotate=rotate, padding=(0, 10, 20))
        sample = make_samples(picture, view, mask=mask)[Request(0, 0, 0)]
        inside = sample.targets == 3
        assert (sample.images[:, inside] == 200).all()
        assert (sample.targets[~inside] == 255).all()
        padding = torch.tensor([0.0, 10, 20])[:, None].expand(3, int((~inside).sum()))
        assert torch.equal(sample.images[:, ~inside], padding)


def sides(picture, view, make_samples):
    """Columns of the samples that are padding, plain and mirrored, of a bright picture."""
    samples = make_samples(picture, view, mask=np.ones(picture.shape[:2], np.uint8))
    found = {False: set(), True: set()}
    for step in range(40):
        sample = samples[Request(step, 0, 0)]
        void = (sample.targets == 255).all(0)
        assert torch.equal(void, (sample.images == 0).all(0).all(0))
        found[bool(sample.mirrored)].add(tuple(void.nonzero()[:, 0].tolist()))
    return found


@pytest.mark.parametrize("zoom", [{}, {"scale": (1.0, 1.0), "scale_resampling": "tf_legacy"}])
def test_padding_is_right_of_a_mirrored_image_and_left_in_a_mirrored_crop(make_samples, zoom):
    picture = np.full((10, 7, 3), 200, np.uint8)
    options = {"placement": "top_left", "flip": True, "padding": (0, 0, 0), **zoom}
    right, left = {(7, 8, 9)}, {(0, 1, 2)}
    found = sides(picture, crop_view(10, **options), make_samples)
    assert found == {False: right, True: right}
    found = sides(picture, crop_view(10, flip_before_padding=False, **options), make_samples)
    assert found == {False: right, True: left}


def plain_and_mirrored(samples):
    """One sample of each kind, by whether it is mirrored."""
    drawn = [samples[Request(step, 0, 0)] for step in range(9)]
    return {bool(sample.mirrored): sample for sample in drawn}


@pytest.mark.parametrize("flip_before_padding", [True, False])
def test_a_mirrored_sample_shows_the_mirrored_pixels(make_samples, noise, flip_before_padding):
    mask = np.arange(16 * 24).reshape(16, 24).astype(np.uint8) % 200
    options = {"placement": "top_left", "flip": True, "flip_before_padding": flip_before_padding}
    samples = make_samples(noise, crop_view(30, padding=(0, 0, 0), **options), mask=mask)
    seen = plain_and_mirrored(samples)
    columns = slice(0, 24) if flip_before_padding else slice(6, 30)
    np.testing.assert_array_equal(channels_last(seen[True].images)[:16, columns], noise[:, ::-1])
    np.testing.assert_array_equal(seen[True].targets[:16, columns], mask[:, ::-1])
    np.testing.assert_array_equal(channels_last(seen[False].images)[:16, :24], noise)


def test_tensorflows_scaling_gives_whole_sizes_its_bilinear_and_its_nearest(make_samples):
    # factor 1.5: 5 x 3 pixels become ⌊7.5⌋ x ⌊4.5⌋
    picture = np.zeros((3, 5, 3), np.uint8)
    picture[:] = np.array([0, 70, 140, 210, 245], np.uint8)[:, None]
    mask = np.tile(np.arange(5, dtype=np.uint8), (3, 1))
    options = {"scale": (1.5, 1.5), "scale_resampling": "tf_legacy", "placement": "top_left"}
    view = crop_view(8, flip=True, padding=(9, 9, 9), **options)
    samples = make_samples(picture, view, mask=mask)
    seen = plain_and_mirrored(samples)
    # pixel i lies at i · 5 / 7: 0, 5/7, 1 3/7, 2 1/7, 2 6/7, 3 4/7, 4 2/7
    levels, classes = [0, 50, 100, 150, 200, 230, 245], [0, 0, 1, 2, 2, 3, 4]
    for mirrored, order in ((False, 1), (True, -1)):
        image, labels = seen[mirrored].images[0], seen[mirrored].targets
        for row in range(4):
            np.testing.assert_allclose(image[row], [*levels[::order], 9], atol=1e-4)
            assert labels[row].tolist() == [*classes[::order], 255]
        assert (image[4:] == 9).all() and (labels[4:] == 255).all()


def test_tensorflows_scaling_draws_sizes_and_crops_whole_pixels(make_samples, noise):
    view = crop_view(9, scale=(0.5, 1.5), scale_resampling="tf_legacy", padding=(0, 0, 0))
    image = torch.from_numpy(noise).permute(2, 0, 1)
    rng, sizes = np.random.default_rng(0), set()
    for _ in range(60):
        scaled = view.rescale(image, rng)
        placement = view.place(scaled, rng)
        sizes.add(tuple(scaled.shape[1:]))
        assert placement.label_size == tuple(scaled.shape[1:])
        cut = view.render(scaled, placement.theta, rng)
        if min(scaled.shape[1:]) >= 9:
            slices = scaled.unfold(1, 9, 1).unfold(2, 9, 1)
            same = (slices == cut[:, None, None]).all(-1).all(-1).all(0)
            assert same.any(), "a slice, to the bit"
    heights, widths = {height for height, _ in sizes}, {width for _, width in sizes}
    assert min(heights) == 8 and max(heights) == 23 and min(widths) == 12 and max(widths) == 35


@pytest.mark.parametrize(
    "wrong", [{"placement": "centre"}, {"scale_resampling": "bicubic"}], ids=str
)
def test_an_unknown_option_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must be one of "):
        crop_view(8, **wrong)
