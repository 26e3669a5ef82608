"""Saliency by U²-Net, on synthetic networks with its input and output."""

import sys

import numpy as np
import pytest

from seedbed.inference.learned_saliency import LearnedSaliency
from seedbed.runtime.errors import UserError
from tests.support.saliency_model import IMAGE, saliency_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def photo(height, width, highest=200):
    return np.random.default_rng(0).integers(0, highest + 1, (height, width, 3), np.uint8)


def test_the_input_is_rgb_over_its_maximum_less_the_mean_over_std(tmp_path):
    """Of an image of the network's size, on which nothing is resized."""
    weights = (0.5, -0.2, 0.1)
    image = photo(320, 320)
    found = LearnedSaliency(saliency_model(tmp_path / "a.onnx", weights))(image)
    x = (image / image.max() - MEAN) / STD
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(x @ weights))), atol=1e-5)
    assert found.dtype == np.float32 and image.max() == 200


def test_maps_have_the_images_own_size_and_place(tmp_path):
    image = np.zeros((90, 150, 3), np.uint8)
    image[20:50, 100:140] = 255
    found = LearnedSaliency(saliency_model(tmp_path / "a.onnx", (3, 3, 3)))(image)
    assert found.shape == (90, 150) and found.min() >= 0 and found.max() <= 1
    assert found[24:46, 104:136].min() > 0.99
    found[18:52, 98:142] = 0
    assert found.max() < 0.05


def test_an_empty_map_is_not_stretched(tmp_path):
    net = LearnedSaliency(saliency_model(tmp_path / "a.onnx", (0, 0, 0), bias=-5))
    np.testing.assert_allclose(net(photo(40, 60)), 1 / (1 + np.exp(5)), rtol=1e-4)


def test_a_black_image_has_a_map(tmp_path):
    net = LearnedSaliency(saliency_model(tmp_path / "a.onnx", (1, 1, 1)))
    expected = 1 / (1 + np.exp((MEAN / STD).sum()))
    np.testing.assert_allclose(net(np.zeros((5, 7, 3), np.uint8)), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), (1, 3, None, None)])
def test_sizes_may_be_open(tmp_path, shape):
    path = saliency_model(tmp_path / "a.onnx", (1, 1, 1), shape=shape)
    assert LearnedSaliency(path)(photo(5, 7)).shape == (5, 7)


@pytest.mark.parametrize("shape", [(1, 3, 1024, 1024), (1, 1, 320, 320), (1, 3, 320)])
def test_networks_with_another_input_are_refused(tmp_path, shape):
    path = saliency_model(tmp_path / "a.onnx", (1,) * 3, shape=shape, node="Identity")
    with pytest.raises(UserError, match=r"a\.onnx: takes .*not U²-Net's input.*saliency\.maps"):
        LearnedSaliency(path)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"node": "Identity"}, r"\(1, 3, 320, 320\)"),  # no map
        ({"activation": "Identity"}, r"\(1, 1, 320, 320\) in \[-\d"),  # logits
        ({"bias": np.nan}, "nan"),
    ],
)
def test_outputs_that_are_no_maps_are_refused(tmp_path, options, seen):
    net = LearnedSaliency(saliency_model(tmp_path / "a.onnx", (9, 9, 9), **options))
    with pytest.raises(UserError, match=rf"first output is no saliency map.*{seen}"):
        net(photo(5, 7))


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"<html>quota</html>")
    with pytest.raises(UserError, match=r"a\.onnx: is no ONNX model") as caught:
        LearnedSaliency(tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"b\.onnx: does not exist"):
        LearnedSaliency(tmp_path / "b.onnx")


def test_a_missing_package_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs onnxruntime.*'seedbed\[onnx\]'"):
        LearnedSaliency(tmp_path / "a.onnx")


def test_the_second_output_is_not_used(tmp_path):
    import onnx

    path = saliency_model(tmp_path / "a.onnx", (0, 0, 0))
    assert [output.name for output in onnx.load(path).graph.output] == ["d0", IMAGE]
    assert np.ptp(LearnedSaliency(path)(photo(5, 7))) == 0
