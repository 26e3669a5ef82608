"""A picture of a segmentation network's predictions of a few images, refreshed while it trains."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seedbed.formats.overlay import overlay
from seedbed.inference.inputs import image_batch
from seedbed.methods.resampling import resize, resize_image
from seedbed.models.network import Network
from seedbed.runtime.atomic import atomic

PAUSE_SECONDS = 30.0
COST = 0.02  # largest share of a training's time spent on previews
TILE = 192  # pixels
GAP = 4  # pixels


class Preview:
    """A contact sheet of three rows: photos, their training targets and the network's predictions.

    Args:
        path: the PNG to write.
        photos: RGB uint8 (H, W, 3), of any sizes.
        targets: pictures of the targets, of the same sizes.
        size: side of the square in pixels to which photos are warped for the network; None: they
            keep their size.

    """

    def __init__(
        self,
        path: Path,
        photos: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        *,
        size: int | None,
    ) -> None:
        self.path = path
        self.photos = photos
        self.targets = targets
        self.size = size
        self.due = -float("inf")

    def refresh(self, model: Network) -> None:
        """Write the picture unless the last one is too recent for the time that it took."""
        started = time.monotonic()
        if started < self.due:
            return
        self.write(model)
        ended = time.monotonic()
        self.due = ended + max(PAUSE_SECONDS, (ended - started) / COST)

    def write(self, model: Network) -> None:
        """Write the picture; the network's mode and the random states do not change."""
        with _evaluation(model):
            predictions = [overlay(photo, self._classes(model, photo)) for photo in self.photos]
        sheet = contact_sheet([self.photos, self.targets, predictions])
        with atomic(self.path) as temporary:
            Image.fromarray(sheet).save(temporary, "PNG")

    def _classes(self, model: Network, photo: np.ndarray) -> np.ndarray:
        """The most probable class of each pixel, (H, W) uint8."""
        device = next(model.parameters()).device
        size = (self.size, self.size) if self.size else photo.shape[:2]
        inputs = resize_image(image_batch(photo, "antialias", device), size, "antialias").to(device)
        logits = resize(model(model.preprocess(inputs)).float(), photo.shape[:2], "half_pixel")
        return logits[0].argmax(0).to(torch.uint8).cpu().numpy()


@contextmanager
def _evaluation(model: Network) -> Iterator[None]:
    """Evaluate without gradients, from a fixed random state; restore mode and random states."""
    mode = model.training
    device = next(model.parameters()).device
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)  # for dropout that is active in evaluation too
        try:
            model.eval()
            yield
        finally:
            model.train(mode)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Arrange rows of pictures (H, W, 3) uint8 of any sizes in square tiles on a white sheet.

    A tile is as large as the longest side of all pictures, but at most TILE; larger pictures are
    shrunk to fit.
    """
    longest = max(max(picture.shape[:2]) for row in rows for picture in row)
    tile = min(TILE, longest)
    step = tile + GAP
    sheet = Image.new("RGB", (len(rows[0]) * step + GAP, len(rows) * step + GAP), "white")
    for i, row in enumerate(rows):
        for j, pixels in enumerate(row):
            picture = Image.fromarray(pixels)
            picture.thumbnail((tile, tile))
            left, top = ((tile - side) // 2 for side in picture.size)
            sheet.paste(picture, (GAP + j * step + left, GAP + i * step + top))
    return np.asarray(sheet)
