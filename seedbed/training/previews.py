"""What a segmentation network says of a few images, in one picture made while it trains."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seedbed.formats.overlay import overlay
from seedbed.methods.resampling import resize
from seedbed.models.network import Network
from seedbed.runtime.atomic import atomic

PAUSE_SECONDS = 30.0
COST = 0.02  # the share of a training's time that its previews may take
TILE = 192
GAP = 4


class Preview:
    """A contact sheet: photos, what is to be learnt of them, and below what the network says.

    path: the PNG. photos and targets: (H, W, 3) uint8, the targets as pictures. size: the square
    that the network sees a photo warped to; None: as it is.
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
        """Write the picture if the last one is old enough, and enough for what it cost."""
        begun = time.monotonic()
        if begun < self.due:
            return
        self.write(model)
        ended = time.monotonic()
        self.due = ended + max(PAUSE_SECONDS, (ended - begun) / COST)

    def write(self, model: Network) -> None:
        """Write the picture. The network's mode and all random states stay what they are."""
        with _undisturbed(model):
            found = [overlay(photo, self._classes(model, photo)) for photo in self.photos]
        sheet = contact_sheet([self.photos, self.targets, found])
        with atomic(self.path) as temporary:
            Image.fromarray(sheet).save(temporary, "PNG")

    def _classes(self, model: Network, photo: np.ndarray) -> np.ndarray:
        """The most probable class of each pixel, (H, W) uint8."""
        device = next(model.parameters()).device
        pixels = torch.from_numpy(photo).to(device).permute(2, 0, 1)[None].float()
        seen = resize(pixels, (self.size, self.size), "antialias") if self.size else pixels
        logits = resize(model(model.preprocess(seen)).float(), photo.shape[:2], "half_pixel")
        return logits[0].argmax(0).to(torch.uint8).cpu().numpy()


@contextmanager
def _undisturbed(model: Network) -> Iterator[None]:
    """Evaluation without gradients and with the same chance every time; then all as it was."""
    mode = model.training
    device = next(model.parameters()).device
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)  # of a dropout that stays on
        try:
            model.eval()
            yield
        finally:
            model.train(mode)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures (H, W, 3) uint8 of any sizes as rows of one on white, shrunk to fit square tiles.

    The tiles are as large as the longest side of all, 192 pixels at most.
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
