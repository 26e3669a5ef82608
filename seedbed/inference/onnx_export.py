"""Export of a segmentation network to ONNX, preprocessing included."""

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.dropout import Dropout
from seedbed.models.layers import SameMaxPool2d
from seedbed.models.network import Network
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

OPSET = 17
TRACE_SIZE = (97, 128)
TEST_SIZE = (75, 110)  # differs from TRACE_SIZE, so that sizes traced as constants are noticed
TOLERANCE = 1e-3  # of the largest logit; a different order of float32 sums changes far less


def export_onnx(path: Path, model: Network, about: Mapping[str, object]) -> float:
    """Write a network as an ONNX file and verify the file in ONNX Runtime.

    The graph's input is `image`, (1, 3, H, W) float32 RGB in [0, 255] of any size; its output
    `logits`, (1, C, h, w), on the network's grid. Dropout is off in the graph.

    Args:
        path: the file to write.
        model: a segmentation network; not modified.
        about: metadata of the file, values as JSON.

    Returns:
        The largest absolute difference between the logits of the file and of the network.

    Raises:
        UserError: if onnx or onnxruntime is not installed, or ONNX lacks what the network does.
        RuntimeError: if the file and the network disagree; nothing is written then.

    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - fail before the network is traced
    except ImportError as error:
        raise UserError(
            f"an export needs {error.name}: python -m pip install 'seedbed[onnx]'"
        ) from None
    _check_operators(model)
    network = _without_dropout(model)
    with atomic(path) as temporary:
        _trace(_ExportGraph(network), temporary)
        content = onnx.load(temporary)
        metadata = {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}
        onnx.helper.set_model_props(content, metadata)
        onnx.save(content, temporary)
        return _verify(temporary, network)


def _check_operators(model: nn.Module) -> None:
    """UserError for a ViT, whose position embeddings are resampled for each size of an image."""
    if any(name.endswith("pos_embed") for name, _ in model.named_parameters()):
        raise UserError(
            f"ONNX {OPSET} cannot resample this network's position embeddings, so that it cannot be"
            " exported; choose a network without them, such as a ResNet, ConvNeXt or Swin"
        )


@torch.no_grad()
def _verify(path: Path, network: Network) -> float:
    """Largest difference of the file's logits from the network's; RuntimeError if too large."""
    import onnxruntime

    image = _random_image(TEST_SIZE)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    expected = network(network.preprocess(image))
    if logits.shape != expected.shape:
        raise RuntimeError(f"logits are {tuple(logits.shape)}, not {tuple(expected.shape)}")
    difference = (logits - expected).abs().max().item()
    if not difference <= TOLERANCE * expected.abs().max():
        raise RuntimeError(f"logits differ by {difference:.2g} from the network's")
    return difference


def _without_dropout(model: Network) -> Network:
    """A copy on the CPU in evaluation mode, without dropout that stays active there."""
    network = copy.deepcopy(model).cpu().eval()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.in_eval = False
    return network


class _ExportGraph(nn.Module):
    """Preprocessing and network, with TensorFlow's pooling in a form that can be traced."""

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
    """`SameMaxPool2d` of 3x3 whose padding is not traced as a constant."""

    def forward(self, features: Tensor) -> Tensor:
        padded = F.pad(features, (1, 1, 1, 1), value=-float("inf"))
        if self.stride == 2:  # TensorFlow pads even sizes only at the end
            rows, columns = features.shape[2:]
            padded = padded[:, :, 1 - rows % 2 :, 1 - columns % 2 :]
        return super().forward(padded)


def _trace(graph: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        # The tracer's warnings are about constants, which `_verify` checks. The dynamo exporter
        # needs two more packages, is slower, and makes the padding a constant too.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (_random_image(TRACE_SIZE),),
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


def _random_image(size: tuple[int, int]) -> Tensor:
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    return (255 * noise).round()
