"""A segmentation network as an ONNX file that wants nothing but an image's RGB levels."""

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.heads.deeplab import Dropout
from seedbed.models.layers import SameMaxPool2d
from seedbed.models.network import Network
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

OPSET = 17
TRACED, CHECKED = (97, 128), (75, 110)  # another size: what the trace took for constant shows
TOLERANCE = 1e-3  # of the largest logit: float32 sums in another order differ by far less


def export_onnx(path: Path, model: Network, about: Mapping[str, object]) -> float:
    """Write a network and try the file in ONNX Runtime, on images of a size of their own.

    The graph takes `image` (1, 3, H, W), float32 RGB levels in [0, 255] of any H and W, and gives
    `logits` (1, C, h, w) on the network's grid. A dropout that stays on is off in the graph.

    Args:
        path: the file.
        model: a segmentation network; stays as it is.
        about: goes into the file's metadata, values as JSON.

    Returns:
        The largest difference between a logit of the file and of the network.

    Raises:
        UserError: if onnx or onnxruntime are not installed.
        RuntimeError: if the file and the network disagree; nothing is written then.

    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"an export needs {error.name}: python -m pip install 'seedbed[onnx]'"
        ) from None
    network = _without_dropout(model)
    with atomic(path) as temporary:
        _trace(_Graph(network), temporary)
        content = onnx.load(temporary)
        described = {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}
        onnx.helper.set_model_props(content, described)
        onnx.save(content, temporary)
        image = _test_image(CHECKED)
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
        with torch.no_grad():
            expected = network(network.preprocess(image))
        if found.shape != expected.shape:
            raise RuntimeError(f"logits are {tuple(found.shape)}, not {tuple(expected.shape)}")
        difference = (found - expected).abs().max().item()
        if not difference <= TOLERANCE * expected.abs().max():
            raise RuntimeError(f"logits differ by {difference:.2g} from the network's")
    return difference


def _without_dropout(model: Network) -> Network:
    """A copy on the CPU in which no dropout stays on."""
    network = copy.deepcopy(model).cpu().eval()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.in_eval = False
    return network


class _Graph(nn.Module):
    """What is written: a network after its preprocessing, its pools as a trace can follow them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.model = copy.deepcopy(network)
        for parent in list(self.model.modules()):
            for name, module in parent.named_children():
                if isinstance(module, SameMaxPool2d):
                    setattr(parent, name, _TracedSamePool(module.kernel_size, module.stride))

    def forward(self, image: Tensor) -> Tensor:
        return self.model(self.model.preprocess(image))


class _TracedSamePool(nn.MaxPool2d):
    """`SameMaxPool2d` of 3x3 whose padding a trace does not take for constant."""

    def forward(self, features: Tensor) -> Tensor:
        padded = F.pad(features, (1, 1, 1, 1), value=-float("inf"))
        if self.stride == 2:  # TensorFlow pads an even size at its end alone
            rows, columns = features.shape[2:]
            padded = padded[:, :, 1 - rows % 2 :, 1 - columns % 2 :]
        return super().forward(padded)


def _trace(graph: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        # What it warns of is checked. The newer exporter wants two packages more, takes longer, and
        # takes the padding for constant as well.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (_test_image(TRACED),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={
                "image": {2: "height", 3: "width"},
                "logits": {2: "rows", 3: "columns"},
            },
        )


def _test_image(size: tuple[int, int]) -> Tensor:
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    return (255 * noise).round()
