import json
import sys

import numpy as np
import pytest
import torch

from seedbed.inference import onnx_export
from seedbed.inference.onnx_export import export_onnx
from seedbed.models import build
from seedbed.models.dropout import Dropout
from seedbed.models.layers import SameMaxPool2d
from seedbed.runtime.errors import UserError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch.set_num_threads(1)

ABOUT = {"name": "tiny_seg", "classes": ["background", "kočka"], "source_ids": None}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("tiny_seg", 3).eval()


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.astype(np.float32)})[0]


def levels(*size):
    return np.random.default_rng(1).integers(0, 256, (1, 3, *size), np.uint8)


@torch.no_grad()
def logits(model, image):
    return model(model.preprocess(torch.from_numpy(image))).numpy()


@pytest.mark.parametrize("size", [(97, 128), (64, 48), (33, 150)])
def test_the_file_takes_levels_of_any_size(model, tmp_path, size):
    assert export_onnx(tmp_path / "net.onnx", model, ABOUT) < 1e-4
    image = levels(*size)
    found, expected = run(tmp_path / "net.onnx", image), logits(model, image)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 0.05, "something to tell apart"


def test_the_file_says_what_it_is(model, tmp_path):
    export_onnx(tmp_path / "net.onnx", model, ABOUT)
    content = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(content)
    metadata = {entry.key: json.loads(entry.value) for entry in content.metadata_props}
    assert metadata == ABOUT
    (image,), (output,) = content.graph.input, content.graph.output
    axes = [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert (image.name, output.name, axes) == ("image", "logits", [1, 3, "height", "width"])
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_the_same_network_gives_the_same_bytes(model, tmp_path):
    export_onnx(tmp_path / "a.onnx", model, ABOUT)
    export_onnx(tmp_path / "b.onnx", model, ABOUT)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_channels_are_turned_and_dropout_and_padding_leave_their_traces(tmp_path):
    torch.manual_seed(0)
    options = {"padding": "tf", "dropout_in_eval": True}
    model = build("vgg16_largefov", 3, **options).eval()
    difference = export_onnx(tmp_path / "net.onnx", model, ABOUT)
    image = levels(40, 51)
    assert model.head.dropout.in_eval, "the network itself stays as it is"
    assert any(isinstance(layer, SameMaxPool2d) for layer in model.modules())
    noisy = logits(model, image)
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.in_eval = False
    expected, found = logits(model, image), run(tmp_path / "net.onnx", image)
    assert difference < 1e-3 and found.shape == expected.shape == (1, 3, 5, 7)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert abs(noisy - expected).max() > 0.1


class Constant(torch.nn.Module):
    """Takes an image's height for a number that never changes, as a trace does."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def preprocess(self, images):
        return images

    def forward(self, images):
        return self.make(images, int(images.shape[2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda images, height: images * height, "logits differ by"),
        (lambda images, height: images[..., :1].expand(-1, -1, -1, height), "logits are"),
    ],
)
def test_a_file_that_disagrees_is_not_written(tmp_path, make, message):
    with pytest.raises(RuntimeError, match=message):
        export_onnx(tmp_path / "net.onnx", Constant(make), ABOUT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_said_in_one_line(model, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs {package}.*seedbed\[onnx\]"):
        onnx_export.export_onnx(tmp_path / "net.onnx", model, ABOUT)
    assert not list(tmp_path.iterdir())
