"""Masks of new images by a trained network; only its weights are needed."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from seedbed.data.images import Decoded, decode_image, is_dark
from seedbed.data.photos import photos_in, tags_of
from seedbed.data.rasters import Raster, open_raster
from seedbed.data.text import count_with_examples
from seedbed.formats.mask_rows import mask_rows
from seedbed.formats.masks import write_mask
from seedbed.formats.overlay import OverlayRows, write_overlay
from seedbed.formats.pictures import TooManyPixelsError
from seedbed.inference.onnx_export import export_onnx
from seedbed.inference.precision import warn_slow_bfloat16
from seedbed.inference.probabilities import PredictionOptions
from seedbed.inference.segmentation import SegmentationPipeline
from seedbed.inference.tiles import ALIGNMENT, Tiling
from seedbed.models.network import Network
from seedbed.models.registry import Option, network_info
from seedbed.models.weights import load_network
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map
from stages.command import Device, Workers, run_stage
from stages.settings import PredictImagesSettings

MIN_TILE = 64
Ids = Literal["class", "source"]


def predict_images(
    *,
    weights: Annotated[Path, "a round's weights.pt"],
    settings: PredictImagesSettings,
    device: Device,
    workers: Workers,
    images: Annotated[Path | None, "folder of images; with --out"] = None,
    out: Annotated[Path | None, "folder to write masks to, NAME.png"] = None,
    labels: Annotated[Path | None, "CSV image,labels: restrict each mask to these labels"] = None,
    ids: Annotated[Ids, "of the masks: class, or source, the data set's own"] = "class",
    crf: Annotated[bool, "refine the masks by a dense CRF"] = False,
    overlay: Annotated[bool, "write OUT/overlays/NAME.jpg as well"] = False,
    bits: Annotated[int | None, "significant bits of images in 16-bit files, as 12"] = None,
    tile: Annotated[int | None, "cut larger images in tiles of this side, as 1024"] = None,
    overlap: Annotated[int, "of neighbouring tiles, in pixels; with --tile"] = 128,
    onnx: Annotated[Path | None, "to write: the network alone, as ONNX"] = None,
) -> None:
    """Write the masks of a folder of images, or the network as ONNX, or both."""
    check_options(images, out, onnx, bits)
    model, about = load_network(weights)
    if network_info(about["name"]).kind != "seg":
        raise UserError(f"{weights} is {about['name']}, no segmentation network: name a round's")
    if onnx is not None:
        difference = export_onnx(onnx, model, about)
        print(f"{onnx}: its logits differ by at most {difference:.2g} from the network's")
    if images is None or out is None:
        return
    tiling = check_tiling(tile, overlap, settings, model, about["options"])
    photos = photos_in(images, skip=out)
    print(*photos.notes, sep="\n", end="\n" if photos.notes else "")
    place = pick_device(device)
    warn_slow_bfloat16(place, settings.precision)
    predictor = Predictor(
        SegmentationPipeline(
            model=model.to(place),
            num_classes=about["num_classes"],
            options=PredictionOptions(**settings.model_dump(exclude={"crf"})),
            crf=settings.crf.model_dump() if crf else None,
            device=place,
        ),
        bits=bits,
        tiling=tiling,
        labels=tags_of(labels, photos, about["classes"]) if labels else {},
        mask_values=mask_values(about, ids, weights),
        out=out,
        overlay=overlay,
    )
    legend = map("{} {}".format, predictor.mask_values, about["classes"])
    left = [*photos.left.values(), *write_masks(predictor, photos.paths, workers)]
    tell_result(len(photos.paths) + len(photos.left), left, f"masks in {out}: {', '.join(legend)}")


def tell_result(total: int, left: Sequence[str], made: str) -> None:
    """Say how many of the images have a mask, and why the others have none."""
    print(f"{total - len(left)} {made}")
    if left:
        print(*left, sep="\n", file=sys.stderr)
        raise UserError(f"{len(left)} of {total} images have no mask: see above")


def check_options(
    images: Path | None, out: Path | None, onnx: Path | None, bits: int | None
) -> None:
    """Raise UserError for options that are out of range or do not fit together."""
    if (images is None) != (out is None) or (images is None and onnx is None):
        raise UserError("give --images with --out, or --onnx, or all three")
    if images and out and images.resolve() == out.resolve():
        raise UserError(f"--out is {images} itself: name another folder, or one inside it")
    if bits is not None and not 8 <= bits <= 16:
        raise UserError(f"--bits {bits}: give 8 to 16")


class Outcome(NamedTuple):
    """What became of a photo: an error message, and whether it is nearly black."""

    error: str | None = None
    dark: bool = False


@dataclass(frozen=True)
class Predictor:
    """Predicts the masks of photos, given as (name, path), and writes them.

    Attributes:
        segmenter: the network and what follows it.
        bits: see `read_image`.
        tiling: how images are cut that are larger than a tile; None: they are shown whole.
        labels: class ids by name of the photo, to which its mask is restricted.
        mask_values: (C,) uint8, the value of each class in the written masks.
        out: folder of the masks.
        overlay: whether overlays are written as well.

    """

    segmenter: SegmentationPipeline
    bits: int | None
    tiling: Tiling | None
    labels: Mapping[str, Sequence[int]]
    mask_values: np.ndarray
    out: Path
    overlay: bool

    def read(self, photo: tuple[str, Path]) -> Decoded | str | None:
        """A photo, or an error message; None in tiles: a large image stays where it is read."""
        try:
            return None if self.tiling else decode_image(photo[1], bits=self.bits)
        except UserError as error:
            too_large = isinstance(error.__cause__, TooManyPixelsError)
            return f"{error}, or cut it in tiles by --tile 1024" if too_large else str(error)

    def __call__(self, photo: tuple[str, Path], decoded: Decoded | str | None) -> Outcome:
        """Write the files of one photo; an error message in its place is returned as it is."""
        if isinstance(decoded, str):
            return Outcome(error=decoded)
        name, path = photo
        try:
            if decoded is not None:
                return self._write_whole(name, decoded)
            image = open_raster(path, bits=self.bits)
            if max(image.size) > self.tiling.side:
                return self._write_in_tiles(name, image)
            return self._write_whole(name, image.rows(0, image.size[0]))
        except UserError as error:
            return Outcome(str(error))
        except (RuntimeError, MemoryError) as error:  # too large, or too small for the network
            reason = str(error).partition("\n")[0]
            return Outcome(f"image {path} does not go through the network: {reason}; resize it")

    def _write_whole(self, name: str, image: Decoded) -> Outcome:
        mask = self.mask_values[self.segmenter.mask(image.pixels, name, self.labels.get(name))]
        write_mask(self._mask(name), mask)
        if self.overlay:
            write_overlay(self._overlay(name), image.pixels, mask)
        return Outcome(dark=is_dark(image))

    def _write_in_tiles(self, name: str, image: Raster) -> Outcome:
        parts = self.segmenter.mask_rows(image, name, self.labels.get(name), self.tiling)
        picture, dark = OverlayRows(image.size), True
        with mask_rows(self._mask(name), image.size) as file:
            for rows, classes in parts:
                mask = self.mask_values[classes]
                file.write(mask)
                dark = dark and is_dark(rows)
                if self.overlay:
                    picture.add(rows.pixels, mask)
        if self.overlay:
            picture.write(self._overlay(name))
        return Outcome(dark=dark)

    def _mask(self, name: str) -> Path:
        return self.out / f"{name}.png"

    def _overlay(self, name: str) -> Path:
        return self.out / "overlays" / f"{name}.jpg"


def write_masks(predictor: Predictor, photos: Mapping[str, Path], workers: int) -> list[str]:
    """Write the masks of all photos; return a message for each that could not be made."""
    device = predictor.segmenter.device
    results = list(device_map(predictor.read, predictor, photos.items(), device, workers))
    dark = [name for name, result in zip(photos, results, strict=True) if result.dark]
    what = "images of 16 bits a channel are read nearly black: give --bits if they have fewer"
    for line in count_with_examples(what, dark):
        print(f"note: {line}")
    return [result.error for result in results if result.error]


def check_tiling(
    tile: int | None,
    overlap: int,
    settings: PredictImagesSettings,
    model: Network,
    options: Mapping[str, Option],
) -> Tiling | None:
    """How large images are cut.

    Raises:
        UserError: if the numbers do not fit together, or the cells of a tile would lie elsewhere
            than those of the whole image with this network.

    """
    if tile is None:
        return None
    if tile < MIN_TILE or not 0 <= overlap <= tile // 2:
        raise UserError(
            f"--tile {tile} --overlap {overlap}: give tiles of {MIN_TILE} pixels or more, and an "
            "overlap of at most half of that"
        )
    if settings.size is not None:
        raise UserError(
            f"--tile: size is {settings.size} in --params, and would change the scale of each tile:"
            " set it to null"
        )
    if ALIGNMENT % model.feature_stride or options.get("padding") == "tf":
        raise UserError(
            f"--tile: the network's cells, of stride {model.feature_stride} and padding"
            f" {options.get('padding', 'caffe')}, would lie elsewhere in a tile than in the whole"
            " image: leave out --tile"
        )
    return Tiling(tile, overlap)


def mask_values(about: Mapping[str, Any], ids: Ids, weights: Path) -> np.ndarray:
    """Value of each class in the masks, (C,) uint8: its class id or the data set's own id."""
    if ids == "class":
        return np.arange(about["num_classes"], dtype=np.uint8)
    if about["source_ids"] is None:
        raise UserError(f"{weights} does not know source ids: train it anew, or use --ids class")
    return np.array(about["source_ids"], dtype=np.uint8)


if __name__ == "__main__":
    run_stage(predict_images)
