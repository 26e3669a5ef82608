"""Saliency maps by U²-Net (Qin et al., Pattern Recognition 2020), read from an ONNX file."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seedbed.runtime.errors import UserError

if TYPE_CHECKING:
    import onnxruntime

SIDE = 320  # of the network's input, which the authors resize every image to
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MIN_LEVEL = 1e-6  # keeps a black image from a division by 0
TOLERANCE = 1e-3  # by which rounding may leave [0, 1]


class LearnedSaliency:
    """U²-Net as rembg's u2net.onnx, or another network with its input and output.

    The input is (1, 3, 320, 320) float32: RGB divided by the image's own maximum, then normalised
    by ImageNet's mean and standard deviation. The first output is the map, (1, 1, 320, 320) in
    [0, 1]. The authors' and rembg's programs stretch each map to [0, 1], which turns an empty map
    into noise; here it stays as the network gives it.

    Args:
        path: the ONNX file. It runs on the CPU, in one thread, so that a result does not depend on
            the number of threads.

    Raises:
        UserError: if onnxruntime is not installed, or the file is no ONNX model or one that takes
            other images.

    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.session = _open(path)
        inputs = [(item.type, *map(_fixed, item.shape)) for item in self.session.get_inputs()]
        if not (len(inputs) == 1 and _fits(inputs[0])):
            raise UserError(
                f"{path}: takes {inputs}, not U²-Net's input ('tensor(float)', 1, 3, {SIDE},"
                f" {SIDE}); compute its maps elsewhere and name their folder in saliency.maps"
            )
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Saliency of an image, RGB uint8 (H, W, 3): (H, W) float32 in [0, 1], not stretched.

        Raises:
            UserError: if the network's first output is not a map of probabilities.

        """
        x = _resize(Image.fromarray(image), (SIDE, SIDE)).astype(np.float32)
        x = (x / max(x.max(), MIN_LEVEL) - MEAN) / STD
        batch = x.transpose(2, 0, 1)[None].astype(np.float32)
        (found,) = self.session.run([self.output], {self.input: batch})
        self._check(found)
        height, width = image.shape[:2]
        values = Image.fromarray(found[0, 0].clip(0, 1).astype(np.float32))
        return _resize(values, (width, height)).clip(0, 1)

    def _check(self, found: np.ndarray) -> None:
        within = np.all((found >= -TOLERANCE) & (found <= 1 + TOLERANCE))  # False if one is NaN
        if found.shape != (1, 1, SIDE, SIDE) or not within:
            raise UserError(
                f"{self.path}: its first output is no saliency map in [0, 1] of shape (1, 1,"
                f" {SIDE}, {SIDE}) but {found.shape} in [{found.min():.3g}, {found.max():.3g}];"
                " give U²-Net's model"
            )


def _fixed(size: int | str | None) -> int | None:
    """A size that an ONNX file declares; None where it leaves it open, perhaps by a name."""
    return size if isinstance(size, int) else None


def _fits(declared: tuple[str | int | None, ...]) -> bool:
    """Whether a declared type and shape take U²-Net's input."""
    wanted = ("tensor(float)", 1, 3, SIDE, SIDE)
    return len(declared) == len(wanted) and all(
        found in (None, value) for found, value in zip(declared, wanted, strict=True)
    )


@functools.cache
def learned_saliency(path: Path) -> LearnedSaliency:
    """The network of a file; each process opens a file once."""
    return LearnedSaliency(path)


def _open(path: str | Path) -> "onnxruntime.InferenceSession":
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "a learned saliency model needs onnxruntime: python -m pip install 'seedbed[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not Path(path).is_file():
        raise UserError(f"{path}: does not exist; put the model there, or change saliency.model")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each kind of bad file
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no ONNX model that onnxruntime reads; {reason}") from error


def _resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An image at another size (width, height), by Lanczos' filter as in rembg."""
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))
