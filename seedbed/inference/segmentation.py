"""Segmentation of images by a trained network, with or without a CRF, whole or in tiles."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from seedbed.crf import crf_posterior
from seedbed.data.images import Decoded
from seedbed.data.rasters import Raster
from seedbed.inference.probabilities import (
    PredictionOptions,
    class_log_probabilities,
    found_classes,
)
from seedbed.inference.refine import argmax_classes, restrict_to_labels
from seedbed.inference.regions import RegionViews
from seedbed.inference.tiles import RowBlender, Tiling
from seedbed.methods.regions import Part, Region
from seedbed.models.network import Network


@dataclass(frozen=True, kw_only=True)
class SegmentationPipeline:
    """A network, the images that it is given, and what follows.

    Attributes:
        model: in evaluation mode, on `device`.
        num_classes: number of its classes, background included.
        options: scales, flip and resampling of the images, and how the outputs are fused.
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
        """Scores of the classes in an image: their probabilities, or the posteriors of the CRF.

        Args:
            image: RGB uint8 (H, W, 3).
            image_id: see `PredictionOptions.seed`.
            labels: class ids to which the image is restricted, besides background; None: all.

        Returns:
            (C', H, W) float32 and the class ids of the C' channels.

        """
        found = class_log_probabilities(
            self.model, image, image_id, self.options, keep=labels or (), device=self.device
        )
        return self._refined(image, *found, labels)

    def _refined(
        self,
        image: np.ndarray,
        log_probabilities: np.ndarray,
        classes: Sequence[int],
        labels: Collection[int] | None,
    ) -> tuple[np.ndarray, Sequence[int]]:
        if labels is None:
            scores = np.exp(log_probabilities.astype(np.float32))
        else:
            scores, classes = restrict_to_labels(log_probabilities, classes, labels)
        if self.crf is not None:
            scores = crf_posterior(image, scores, self.crf)
        return scores, classes

    def mask(self, image: np.ndarray, image_id: str, labels: Collection[int] | None) -> np.ndarray:
        """The class ids (H, W) uint8 with the highest of the `scores`."""
        return argmax_classes(*self.scores(image, image_id, labels))

    def mask_rows(
        self, image: Raster, image_id: str, labels: Collection[int] | None, tiling: Tiling
    ) -> Iterator[tuple[Decoded, np.ndarray]]:
        """Predict a large image tile by tile, from top to bottom, blending the tiles' scores.

        Logits equal those of the whole image up to the network's context (see `RegionViews`); the
        CRF sees each tile alone. Memory: one row of tiles' pixels, one tile's activations, and what
        `RowBlender` holds.

        Yields:
            Rows of the image (h, W) and their class ids, (h, W) uint8.

        """
        height, width = image.size
        columns, blender = tiling.spans(width), RowBlender(self.num_classes, width)
        views = RegionViews.of(self.model, self.options, image.size, self.device)
        for row in tiling.spans(height):
            rows = Part(row.start, row.stop, height)
            above = views.rows(rows)
            pixels = image.rows(above.first, above.end)
            scores = partial(
                self._tile_scores, views, pixels.pixels, above, image_id=image_id, labels=labels
            )
            tiles = (
                (column, scores((rows, Part(column.start, column.stop, width))))
                for column in columns
            )
            mask = blender.labels(row, tiles)
            finished = slice(row.rise[0] - above.first, row.fall[0] - above.first)
            yield replace(pixels, pixels=pixels.pixels[finished]), mask

    def _tile_scores(
        self,
        views: RegionViews,
        pixels: np.ndarray,
        above: Part,
        tile: Region,
        image_id: str,
        labels: Collection[int] | None,
    ) -> np.ndarray:
        """Scores (C, h, w) of all classes in a tile; 0 for those that `scores` leaves out."""
        name = f"{image_id} {tile[0].first} {tile[1].first}"
        found = found_classes(views.log_probabilities(pixels, above, tile, name), labels or ())
        image = np.ascontiguousarray(pixels[tile[0].within(above), tile[1].as_slice])
        scores, classes = self._refined(image, *found, labels)
        by_class = np.zeros((self.num_classes, *image.shape[:2]), np.float32)
        by_class[np.asarray(classes)] = scores
        return by_class
