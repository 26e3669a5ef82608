"""Masks of new images by a trained network; only its weights are needed."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from seedbed.data.images import read_image
from seedbed.data.photos import photos_in, tags_of
from seedbed.formats.masks import write_mask
from seedbed.formats.overlay import write_overlay
from seedbed.inference.onnx_export import export_onnx
from seedbed.inference.probabilities import PredictionOptions
from seedbed.inference.segmentation import segment
from seedbed.models.network import Network
from seedbed.models.registry import NETWORKS
from seedbed.models.weights import load_network
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map
from stages.command import Device, Workers, run_stage
from stages.settings import PredictImagesSettings


def predict_images(
    *,
    weights: Annotated[Path, "a round's weights.pt"],
    settings: PredictImagesSettings,
    device: Device,
    workers: Workers,
    images: Annotated[Path | None, "folder of images; with --out"] = None,
    out: Annotated[Path | None, "folder to write masks to, NAME.png"] = None,
    labels: Annotated[Path | None, "CSV image,labels: restrict each mask to these labels"] = None,
    ids: Annotated[str, "of the masks: class, or source, the data set's own"] = "class",
    crf: Annotated[bool, "refine the masks by a dense CRF"] = False,
    overlay: Annotated[bool, "write OUT/overlays/NAME.jpg as well"] = False,
    onnx: Annotated[Path | None, "to write: the network alone, as ONNX"] = None,
) -> None:
    """Write the masks of a folder of images, or the network as ONNX, or both."""
    if (images is None) != (out is None) or (images is None and onnx is None):
        raise UserError("give --images with --out, or --onnx, or all three")
    model, about = load_network(weights)
    if NETWORKS[about["name"]].kind != "seg":
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
    predictor = Predictor(
        model.to(place),
        place,
        PredictionOptions(**settings.model_dump(exclude={"crf"})),
        crf=settings.crf.model_dump() if crf else None,
        labels=tags_of(labels, photos, about["classes"]) if labels else {},
        mask_values=mask_values(about, ids, weights),
        out=out,
        overlay=overlay,
    )
    write_masks(predictor, photos, workers)
    legend = map("{} {}".format, predictor.mask_values, about["classes"])
    print(f"{len(photos)} masks in {out}: {', '.join(legend)}")


@dataclass(frozen=True)
class Predictor:
    """Predicts the masks of photos, given as (name, path), and writes them.

    Attributes:
        model: in evaluation mode, on `device`.
        device: the model's device.
        options: scales, flip and fusion.
        crf: parameters of the dense CRF; None: no CRF.
        labels: class ids by name of the photo, to which its mask is restricted.
        mask_values: (C,) uint8, the value of each class in the written masks.
        out: folder of the masks.
        overlay: whether overlays are written as well.

    """

    model: Network
    device: torch.device
    options: PredictionOptions
    crf: Mapping[str, float] | None
    labels: Mapping[str, Sequence[int]]
    mask_values: np.ndarray
    out: Path
    overlay: bool

    def __call__(self, photo: tuple[str, Path], image: np.ndarray | str) -> str | None:
        """Write the files of one photo, (H, W, 3) uint8; return an error message or None.

        An error message in place of `image` is returned as it is.
        """
        if isinstance(image, str):
            return image
        name, path = photo
        labels = self.labels.get(name)
        try:
            classes = segment(
                self.model,
                image,
                name,
                self.options,
                labels=labels,
                crf=self.crf,
                device=self.device,
            )
        except (RuntimeError, MemoryError) as error:  # too large, or too small for the network
            reason = str(error).partition("\n")[0]
            return f"image {path} does not go through the network: {reason}; resize it"
        mask = self.mask_values[classes]
        write_mask(self.out / f"{name}.png", mask)
        if self.overlay:
            write_overlay(self.out / "overlays" / f"{name}.jpg", image, mask)
        return None


def read_photo(photo: tuple[str, Path]) -> np.ndarray | str:
    """Pixels (H, W, 3) uint8 of a photo, or an error message."""
    try:
        return read_image(photo[1])
    except UserError as error:
        return str(error)


def write_masks(predictor: Predictor, photos: Mapping[str, Path], workers: int) -> None:
    """Write the masks of all photos; raise UserError at the end if some could not be made."""
    results = device_map(read_photo, predictor, photos.items(), predictor.device, workers)
    if messages := [message for message in results if message]:
        print(*messages, sep="\n", file=sys.stderr)
        raise UserError(f"{len(messages)} of {len(photos)} images have no mask: see above")


def mask_values(about: Mapping[str, Any], ids: str, weights: Path) -> np.ndarray:
    """Value of each class in the masks, (C,) uint8: its class id or the data set's own id."""
    if ids not in ("class", "source"):
        raise UserError(f"--ids {ids}: choose class or source")
    if ids == "class":
        return np.arange(about["num_classes"], dtype=np.uint8)
    if about["source_ids"] is None:
        raise UserError(f"{weights} does not know source ids: train it anew, or use --ids class")
    return np.array(about["source_ids"], dtype=np.uint8)


if __name__ == "__main__":
    run_stage(predict_images)
