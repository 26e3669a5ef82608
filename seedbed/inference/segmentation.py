"""Segmentation of images by a trained network, with or without a CRF, whole or in tiles."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from seedbed.data.images import Decoded
from seedbed.data.rasters import Raster
from seedbed.inference.probabilities import PredictionOptions, class_probabilities
from seedbed.inference.refine import argmax_classes, crf_posterior, restrict_to_labels
from seedbed.inference.tiles import RowBlender, Span, Tiling
from seedbed.models.network import Network


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """A network, how images are shown to it, and what follows.

    Attributes:
        model: in evaluation mode, on `device`.
        num_classes: number of its classes, background included.
        options: how an image is shown to the network and its outputs are fused.
        crf: parameters of `seedbed.crf.dense_crf`; None: no CRF.
        device: the model's device.

    """

    model: Network
    num_classes: int
    options: PredictionOptions
    crf: Mapping[str, float] | None
    device: torch.device

    def scores(
        self, image: np.ndarray, image_id: str, labels: Collection[int] | None
    ) -> tuple[np.ndarray, Sequence[int]]:
        """Scores of the classes in an image: `class_probabilities`, restricted, or their CRF's.

        Args:
            image: RGB uint8 (H, W, 3).
            image_id: see `PredictionOptions.seed`.
            labels: class ids to which the image is restricted, besides background; None: all.

        Returns:
            (C', H, W) float32 and the class ids of the C' channels.

        """
        stored, classes = class_probabilities(
            self.model, image, image_id, self.options, keep=labels or (), device=self.device
        )
        scores = stored.astype(np.float32)
        if labels is not None:
            scores, classes = restrict_to_labels(scores, classes, labels)
        if self.crf is not None:
            scores = crf_posterior(image, scores, self.crf)
        return scores, classes

    def mask(self, image: np.ndarray, image_id: str, labels: Collection[int] | None) -> np.ndarray:
        """The class ids (H, W) uint8 with the highest of the `scores`."""
        return argmax_classes(*self.scores(image, image_id, labels))

    def mask_rows(
        self, image: Raster, image_id: str, labels: Collection[int] | None, tiling: Tiling
    ) -> Iterator[tuple[Decoded, np.ndarray]]:
        """The mask of a large image from top to bottom, from the blended `scores` of its tiles.

        A tile is treated as an image, with its CRF and its draws of dropout, so that its scores
        take as much memory as those of an image of its size; see `RowBlender` for the rest.

        Yields:
            Rows of the image (h, W) and their class ids, (h, W) uint8.

        """
        height, width = image.size
        columns, blender = tiling.spans(width), RowBlender(self.num_classes, width)
        for row in tiling.spans(height):
            pixels = image.rows(row.start, row.stop)
            tiles = (
                (column, self._tile_scores(pixels.pixels, row, column, image_id, labels))
                for column in columns
            )
            mask = blender.labels(row, tiles)
            finished = slice(row.rise[0] - row.start, row.fall[0] - row.start)
            yield replace(pixels, pixels=pixels.pixels[finished]), mask

    def _tile_scores(
        self,
        pixels: np.ndarray,
        row: Span,
        column: Span,
        image_id: str,
        labels: Collection[int] | None,
    ) -> np.ndarray:
        """Scores (C, h, w) of all classes in a tile; 0 for those that `scores` leaves out."""
        tile = np.ascontiguousarray(pixels[:, column.start : column.stop])
        scores, classes = self.scores(tile, f"{image_id} {row.start} {column.start}", labels)
        by_class = np.zeros((self.num_classes, *tile.shape[:2]), np.float32)
        by_class[np.asarray(classes)] = scores
        return by_class
