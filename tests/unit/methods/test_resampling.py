"""Resizing against rows by hand, SciPy and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import zoom

from seedbed.methods.regions import Part, size_of
from seedbed.methods.resampling import (
    label_pixels,
    resize,
    resize_image,
    resize_image_part,
    resize_part,
)

torch.set_num_threads(1)

METHODS = ["half_pixel", "corner_aligned", "tf_legacy", "antialias", "bicubic", "nearest"]


@pytest.fixture
def noise():
    return torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(0))


def row(values, length, method):
    """A row resized: what the columns of a map that is the same in all rows become."""
    maps = torch.tensor(values, dtype=torch.float32).expand(1, 1, 3, -1)
    wide = resize(maps, (3, length), method)[0, 0, 0]
    tall = resize(maps.mT, (length, 3), method)[0, 0, :, 0]
    torch.testing.assert_close(wide, tall)  # rows and columns are treated alike
    return wide.tolist()


@pytest.mark.parametrize(
    ("method", "larger", "smaller"),
    [
        ("half_pixel", [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30], [5, 25]),
        ("corner_aligned", [30 * i / 7 for i in range(8)], [0, 30]),
        ("tf_legacy", [0, 5, 10, 15, 20, 25, 30, 30], [0, 20]),
        # a cell of two pixels sees a tent of four: weights 1, 3, 3, 1, cut at the border
        ("antialias", [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30], [50 / 7, 160 / 7]),
        ("nearest", [0, 0, 10, 10, 20, 20, 30, 30], [0, 30]),
    ],
)
def test_rows_by_hand(method, larger, smaller):
    values = [0, 10, 20, 30]
    assert row(values, 8, method) == pytest.approx(larger)
    assert row(values, 2, method) == pytest.approx(smaller)


def test_tf_legacy_between_samples():
    assert row([0, 10, 20, 30], 3, "tf_legacy") == pytest.approx([0, 40 / 3, 80 / 3])


def test_only_low_pass_methods_see_pixels_between_the_samples():
    peak = [0, 0, 0, 0, 90, 0, 0, 0, 0, 0, 0, 0]
    seen = {method: sum(row(peak, 2, method)) for method in METHODS}
    assert seen["antialias"] > 10 and seen["bicubic"] > 10
    assert seen["half_pixel"] == seen["tf_legacy"] == seen["nearest"] == 0


@pytest.mark.parametrize("size", [(9, 14), (41, 27), (4, 5), (1, 1), (18, 3)])
def test_corner_aligned_and_nearest_equal_scipys_zoom(noise, size):
    factors = (size[0] / 9, size[1] / 14)
    for method, order in (("corner_aligned", 1), ("nearest", 0)):
        found = resize(noise.double(), size, method)
        for image, channel in ((0, 1), (1, 2)):
            expected = zoom(noise[image, channel].double().numpy(), factors, order=order)
            np.testing.assert_allclose(found[image, channel], expected, atol=1e-12)


@pytest.mark.parametrize("size", [(20, 31), (5, 6), (9, 5), (30, 9)])
@pytest.mark.parametrize(
    ("method", "filters"),
    [("antialias", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
def test_antialias_and_bicubic_equal_pillow(size, method, filters):
    # Pillow rounds and cuts off after the rows as well: the range leaves room to overshoot
    pixels = np.random.default_rng(0).integers(60, 200, (9, 14, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], filters), float)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    found = resize(images, size, method)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1.05


def test_bicubic_overshoots_in_maps_but_not_in_images():
    edge = torch.tensor([0.0, 0, 255, 255]).expand(1, 3, 4, 4)
    maps, image = (way(edge, (16, 16), "bicubic") for way in (resize, resize_image))
    assert maps.min() < -5 and maps.max() > 260
    assert image.min() == 0 and image.max() == 255


@pytest.mark.parametrize("method", METHODS)
def test_same_size_is_the_identity_and_batches_are_independent(noise, method):
    assert torch.equal(resize(noise, (9, 14), method), noise)
    whole = resize(noise, (5, 20), method)
    assert whole.shape == (2, 3, 5, 20)
    torch.testing.assert_close(whole[1:, 2:], resize(noise[1:, 2:], (5, 20), method))


@pytest.mark.parametrize("method", ["half_pixel", "corner_aligned", "tf_legacy"])
def test_gradients_flow(noise, method):
    maps = noise.requires_grad_()
    resize(maps, (11, 23), method).sum().backward()
    assert float(maps.grad.sum()) == pytest.approx(2 * 3 * 11 * 23, rel=1e-5)
    assert (maps.grad > 0).all()


def test_unknown_methods_are_refused(noise):
    with pytest.raises(ValueError, match=r"method must be one of half_pixel.*'bilinear'"):
        resize(noise, (3, 3), "bilinear")
    with pytest.raises(ValueError, match=r"method must be .*'half_pixel'"):
        label_pixels(8, 2, "half_pixel")


@pytest.mark.parametrize("method", ["antialias", "bicubic", "bilinear"])
def test_methods_that_resize_no_part_are_refused(noise, method):
    part, wanted = (Part(0, 3, 6), Part(0, 4, 4)), (Part(0, 5, 12), Part(0, 8, 8))
    with pytest.raises(ValueError, match=rf"method must be one of half_pixel.*'{method}'"):
        resize_part(noise[..., :3, :4], part, wanted, method)


SIZES = [((37, 53), (20, 80)), ((37, 53), (61, 31)), ((37, 53), (37, 50)), ((37, 53), (37, 53))]
WANTED = [((0, 0), (9, 12)), ((5, 11), (14, 30)), ((12, 22), (20, 31))]  # of the smallest


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize(("first", "end"), WANTED)
def test_a_part_is_resized_as_it_is_within_the_whole(method, old, new, first, end):
    maps = torch.randint(0, 256, (1, 3, *old), generator=torch.Generator().manual_seed(0)).float()
    wanted = tuple(map(Part, first, end, new))
    source = tuple(part.source(side) for part, side in zip(wanted, old, strict=True))
    assert size_of(source) == old and size_of(wanted) == new
    there = maps[..., source[0].as_slice, source[1].as_slice]
    expected = resize_image(maps, new, method)[..., wanted[0].as_slice, wanted[1].as_slice]
    found = resize_image_part(there, source, wanted, method)
    # Pillow takes the place of the part in single precision: here and there the next level.
    assert abs(found - expected).max() <= (1 if method in ("antialias", "bicubic") else 1e-3)
    assert abs(found - expected).mean() < 0.03
    if method not in ("antialias", "bicubic"):
        expected = resize(maps, new, method)[..., wanted[0].as_slice, wanted[1].as_slice]
        found = resize_part(there, source, wanted, method)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_label_pixels_by_hand():
    assert label_pixels(321, 8, "corner_aligned").tolist() == list(range(0, 321, 8))
    assert label_pixels(8, 3, "corner_aligned").tolist() == [0, 3, 6]
    assert label_pixels(8, 3, "tf_legacy").tolist() == [0, 2, 5]
    assert label_pixels(448, 8, "tf_legacy").tolist() == list(range(0, 448, 8))
    port = label_pixels(321, 8, "tf_legacy").tolist()
    assert port == [int(i * 321 / 41) for i in range(41)] and port[-1] == 313
