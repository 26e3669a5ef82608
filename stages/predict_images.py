"""Masks of new images by a trained network: its weights are all that is needed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from seedbed.data.images import read_image
from seedbed.data.photos import photos_in, tags_of
from seedbed.formats.masks import write_mask
from seedbed.formats.overlay import write_overlay
from seedbed.inference.multiscale import probable_classes
from seedbed.inference.onnx_export import export_onnx
from seedbed.inference.refine import crf_labels, only_tagged
from seedbed.models import Network
from seedbed.models.weights import load_network
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map
from stages.command import Device, Workers, run_stage
from stages.settings import SEGMENTATION, PredictImagesSettings


def predict_images(
    *,
    weights: Annotated[Path, "a round's weights.pt"],
    settings: PredictImagesSettings,
    device: Device,
    workers: Workers,
    images: Annotated[Path | None, "folder of images; with --out"] = None,
    out: Annotated[Path | None, "folder to write masks to, NAME.png"] = None,
    labels: Annotated[Path | None, "CSV image,labels: an image keeps its labels alone"] = None,
    ids: Annotated[str, "of the masks: class, or source, the data set's own"] = "class",
    crf: Annotated[bool, "refine the masks by a dense CRF"] = False,
    overlay: Annotated[bool, "paint OUT/overlays/NAME.jpg as well"] = False,
    onnx: Annotated[Path | None, "to write: the network alone, as ONNX"] = None,
) -> None:
    """Write the masks of a folder of images, or the network as ONNX, or both."""
    if (images is None) != (out is None) or (images is None and onnx is None):
        raise UserError("give --images with --out, or --onnx, or all three")
    model, about = load_network(weights)
    if not about["name"].endswith(SEGMENTATION):
        raise UserError(f"{weights} is {about['name']}, no segmentation network: name a round's")
    if onnx is not None:
        difference = export_onnx(onnx, model, about)
        print(f"{onnx}: its logits differ by at most {difference:.2g} from the network's")
    if images is None or out is None:
        return
    if images.resolve() == out.resolve():
        raise UserError(f"--out is {images} itself: name another folder, or one inside it")
    photos = photos_in(images)
    place = pick_device(device)
    predict = Prediction(
        model.to(place),
        place,
        settings,
        numbers_of(about, ids, weights),
        tags_of(labels, photos, about["classes"]) if labels else {},
        out,
        crf=crf,
        overlay=overlay,
    )
    write_masks(predict, photos, workers)
    print(f"{len(photos)} masks in {out}: {', '.join(legend(about, predict.numbers))}")


@dataclass(frozen=True)
class Prediction:
    """How masks are made and where they go; `numbers` (C,) stand for the classes in them."""

    model: Network
    device: torch.device
    settings: PredictImagesSettings
    numbers: np.ndarray
    tags: dict[str, tuple[int, ...]]
    out: Path
    crf: bool
    overlay: bool

    def __call__(self, photo: tuple[str, Path], image: np.ndarray | str) -> str | None:
        """Write the files of one image, given by name and path; or say why there is no mask.

        `image` is its pixels (H, W, 3) uint8, or says why there are none.
        """
        if isinstance(image, str):
            return image
        name, path = photo
        try:
            mask = self.numbers[self.classes(image, name)]
        except (RuntimeError, MemoryError) as error:  # too large, or no cell left of few pixels
            reason = str(error).partition("\n")[0]
            return f"image {path} does not go through the network: {reason}; resize it"
        write_mask(self.out / f"{name}.png", mask)
        if self.overlay:
            write_overlay(self.out / "overlays" / f"{name}.jpg", image, mask)
        return None

    def classes(self, image: np.ndarray, name: str) -> np.ndarray:
        """Class ids (H, W) uint8 of an image (H, W, 3) uint8, as a round gives them."""
        found, classes = probable_classes(
            self.model,
            image,
            name,
            keep=self.tags.get(name, ()),
            device=self.device,
            **self.settings.model_dump(exclude={"crf"}),
        )
        probabilities = found.astype(np.float32)
        if name in self.tags:
            probabilities, classes = only_tagged(probabilities, classes, self.tags[name])
        if self.crf:
            params = self.settings.crf.model_dump()
            return crf_labels(image, probabilities, classes, params)[0]
        return np.asarray(classes, np.uint8)[probabilities.argmax(0)]


def pixels(photo: tuple[str, Path]) -> np.ndarray | str:
    """The pixels (H, W, 3) uint8 of one image, given by name and path; or why there are none."""
    try:
        return read_image(photo[1])
    except UserError as error:
        return str(error)


def write_masks(predict: Prediction, photos: dict[str, Path], workers: int) -> None:
    """Write the masks of all images that have one; UserError after the last if any has not."""
    results = device_map(pixels, predict, photos.items(), predict.device, workers)
    if complaints := [complaint for complaint in results if complaint]:
        print(*complaints, sep="\n", file=sys.stderr)
        raise UserError(f"{len(complaints)} of {len(photos)} images have no mask: see above")


def numbers_of(about: dict[str, Any], ids: str, weights: Path) -> np.ndarray:
    """What stands for each class in the masks, (C,) uint8."""
    if ids not in ("class", "source"):
        raise UserError(f"--ids {ids}: choose class or source")
    if ids == "class":
        return np.arange(about["num_classes"], dtype=np.uint8)
    if about["source_ids"] is None:
        raise UserError(f"{weights} does not know source ids: train it anew, or use --ids class")
    return np.array(about["source_ids"], dtype=np.uint8)


def legend(about: dict[str, Any], numbers: np.ndarray) -> list[str]:
    """Numbers and class names."""
    return [f"{number} {name}" for number, name in zip(numbers, about["classes"], strict=True)]


if __name__ == "__main__":
    run_stage(predict_images)
