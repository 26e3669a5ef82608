"""Segmentation of one image by a trained network, with or without a CRF."""

from collections.abc import Collection, Mapping

import numpy as np
import torch

from seedbed.inference.probabilities import PredictionOptions, class_probabilities
from seedbed.inference.refine import argmax_classes, crf_labels, restrict_to_labels
from seedbed.models.network import Network


def segment(
    model: Network,
    image: np.ndarray,
    image_id: str,
    options: PredictionOptions,
    *,
    labels: Collection[int] | None,
    crf: Mapping[str, float] | None,
    device: torch.device,
) -> np.ndarray:
    """Mask of one image: `class_probabilities`, restriction to the labels, CRF, arg max.

    Args:
        model: in evaluation mode, on `device`.
        image: RGB uint8 (H, W, 3).
        image_id: see `PredictionOptions.seed`.
        options: how the image is shown to the network and its outputs are fused.
        labels: class ids to which the mask is restricted, besides background; None: all classes.
        crf: parameters of `seedbed.crf.dense_crf`; None: no CRF.
        device: the model's device.

    Returns:
        Class ids, (H, W) uint8.

    """
    keep = labels or ()
    stored, classes = class_probabilities(model, image, image_id, options, keep=keep, device=device)
    probabilities = stored.astype(np.float32)
    if labels is not None:
        probabilities, classes = restrict_to_labels(probabilities, classes, labels)
    if crf is not None:
        return crf_labels(image, probabilities, classes, crf)[0]
    return argmax_classes(probabilities, classes)
