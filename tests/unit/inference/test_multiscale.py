"""Networks over scales and flip."""

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from seedbed.data.index import ImageEntry
from seedbed.inference.multiscale import MultiScale, check_input_sizes, multi_scale
from seedbed.methods.resampling import resize_image
from seedbed.models import build
from seedbed.runtime.errors import UserError
from tests.support.waits import META

torch.set_num_threads(1)

CPU = torch.device("cpu")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)


def options(scales, **changes):
    plain = {"flip": False, "size": None, "resampling": "antialias", "precision": "float32"}
    return MultiScale(scales=scales, **{**plain, **changes})


def show(image, network=lambda x: x, *, scales=(1.0,), **others):
    return multi_scale(network, image, options(scales, **others), CPU)


def test_images_too_small_for_the_network_are_refused():
    network = build("squeezenet1_0_seg", 3)
    entries = [
        ImageEntry("a", "images/a.jpg", 30, 40, (1,), "train", False, ""),
        ImageEntry("b", "images/b.jpg", 40, 25, (1,), "train", False, ""),
    ]
    check_input_sizes(entries, network, options([0.52, 1.0]))
    check_input_sizes(entries, network, options([1.0], size=13))
    with pytest.raises(UserError, match=r"images/b\.jpg.* 12 pixels a side, which needs 13"):
        check_input_sizes(entries, network, options([1.0, 0.48]))
    with pytest.raises(UserError, match=r"images/a\.jpg.* 12 pixels a side"):
        check_input_sizes(entries, network, options([1.0], size=12))


def test_scale_one_shows_the_unprocessed_image(image):
    (output,) = show(image)
    assert output.dtype == torch.float32
    np.testing.assert_array_equal(output.permute(1, 2, 0), image)


@pytest.mark.parametrize("resampling", ["antialias", "bicubic"])
def test_pillow_resizes_what_has_not_been_copied_to_the_device(image, resampling):
    # From `meta` nothing can be read back.
    chosen = options([1.0, 0.5], resampling=resampling, flip=True)
    outputs = multi_scale(lambda images: images, image, chosen, META)
    assert [output.device for output in outputs] == [META] * 4
    assert outputs[-1].shape == (3, 3, 5) and outputs[-1].dtype == torch.float32


def test_outputs_are_in_the_order_of_the_scales(image):
    outputs = show(image, scales=[1.0, 0.5, 2.0])
    assert [tuple(output.shape) for output in outputs] == [(3, 6, 10), (3, 3, 5), (3, 12, 20)]


def test_size_warps_before_scaling(image):
    outputs = show(image, scales=[0.5, 1.5], size=8)
    assert [tuple(output.shape) for output in outputs] == [(3, 4, 4), (3, 12, 12)]


def test_secs_images_are_scipys_zoom_of_the_levels():
    """The images that SEC's foreground network makes its maps from: order 1, not rounded."""
    image = np.random.default_rng(1).integers(0, 256, (30, 44, 3), np.uint8)
    (output,) = show(image, size=41, resampling="corner_aligned")
    expected = zoom(image.astype(np.float32), (41 / 30, 41 / 44, 1), order=1)
    np.testing.assert_allclose(output.permute(1, 2, 0), expected, atol=1e-3)
    assert output[:, -1, -1].tolist() == image[-1, -1].tolist()  # the corners are the image's


def test_size_gives_dsrgs_squares():
    squares = [(241, 241), (321, 321), (401, 401)]
    assert options([0.75, 1.0, 1.25], size=321).input_sizes(5, 7) == squares
    small = np.zeros((5, 7, 3), np.uint8)
    outputs = show(small, scales=[0.75, 1.0, 1.25], size=321)
    assert [output.shape[1:] for output in outputs] == squares


@pytest.mark.parametrize(
    "how", ["antialias", "bicubic", "half_pixel", "corner_aligned", "tf_legacy"]
)
def test_resampling_of_the_images(image, how):
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    outputs = show(image, scales=[0.5, 1.7], resampling=how)
    for output, size in zip(outputs, [(3, 5), (10, 17)], strict=True):
        assert torch.equal(output, resize_image(pixels, size, how)[0])
    assert torch.equal(show(image, scales=[0.5])[0], resize_image(pixels, (3, 5), "antialias")[0])


def test_no_scale_is_smaller_than_a_pixel(image):
    assert show(image, scales=[0.01])[0].shape == (3, 1, 1)


def test_flip_is_undone(image):
    plain, mirrored = show(image, flip=True)
    assert torch.equal(plain, mirrored)


def test_flip_shows_the_mirrored_image(image):
    def pair(images):  # marks the left half of what it is shown
        assert torch.equal(images[1], images[0].flip(-1))
        marks = torch.zeros(len(images), 1, 6, 10)
        marks[..., :5] = 1
        return marks

    plain, mirrored = show(image, pair, flip=True)
    assert plain[0, 0].tolist() == [1.0] * 5 + [0.0] * 5
    assert mirrored[0, 0].tolist() == [0.0] * 5 + [1.0] * 5


@pytest.mark.parametrize("flip", [True, False])
def test_each_scale_is_one_channels_last_batch(image, flip):
    model, seen = build("tiny_seg", 3).eval(), []

    def network(images):
        ready = model.preprocess(images)
        assert ready.is_contiguous(memory_format=torch.channels_last)
        seen.append(tuple(ready.shape))
        return ready

    show(image, network, flip=flip, scales=[1.0, 0.5])
    assert seen == [(1 + flip, 3, 6, 10), (1 + flip, 3, 3, 5)]


@pytest.mark.parametrize("name", ["tiny_seg", "squeezenet1_0_seg", "vgg16_largefov"])
def test_memory_layout_and_batching_change_only_rounding(name):
    torch.manual_seed(0)
    model = build(name, 3).eval()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)

    @torch.no_grad()
    def outputs(image=pixels, layout=torch.channels_last, flip=True):
        model.to(memory_format=layout)

        def network(images):
            return model(model.preprocess(images).contiguous(memory_format=layout))

        return show(image, network, scales=[1.0, 0.5], flip=flip)

    found = outputs()
    one_by_one = [
        side
        for plain, mirrored in zip(
            outputs(flip=False), outputs(pixels[:, ::-1].copy(), flip=False), strict=True
        )
        for side in (plain, mirrored.flip(-1))
    ]
    largest = max(float(output.abs().max()) for output in found)
    for others in (outputs(layout=torch.contiguous_format), one_by_one):
        for output, other in zip(found, others, strict=True):
            torch.testing.assert_close(output, other, rtol=1e-5, atol=1e-5 * largest)


def test_only_the_network_runs_in_mixed_precision(image):
    torch.manual_seed(0)
    layer, inside = torch.nn.Conv2d(3, 2, 1), []

    @torch.no_grad()
    def network(images):
        assert images.dtype == torch.float32
        inside.append(layer(images).dtype)
        return layer(images)

    outputs = show(image, network, flip=True, precision="bfloat16")
    assert inside == [torch.bfloat16] and {output.dtype for output in outputs} == {torch.float32}
    for rough, exact in zip(outputs, show(image, network, flip=True), strict=True):
        torch.testing.assert_close(rough, exact, rtol=0.02, atol=2)


def test_flip_doubles_the_outputs_of_each_scale(image):
    outputs = show(image, scales=[1.0, 0.5], flip=True)
    assert [output.shape[1] for output in outputs] == [6, 6, 3, 3]


def test_sizes_are_rounded_but_truncated_by_tensorflow():
    scales = [0.75, 0.5]
    assert options(scales).input_sizes(375, 333) == [(281, 250), (188, 166)]
    truncated = options(scales, resampling="tf_legacy").input_sizes(375, 333)
    assert truncated == [(281, 249), (187, 166)]


@pytest.mark.parametrize(
    ("how", "sizes"),
    [
        ("corner_aligned", [(251, 248), (418, 413)]),  # DSRG's final test: halves up
        ("bicubic", [(250, 248), (418, 412)]),  # PSA: halves to the even
        ("half_pixel", [(250, 248), (418, 412)]),  # OpenCV
        ("tf_legacy", [(250, 247), (417, 412)]),
    ],
)
def test_halves_of_pixels_are_rounded_as_the_originals_do(how, sizes):
    assert options([0.75, 1.25], resampling=how).input_sizes(334, 330) == sizes
