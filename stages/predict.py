"""A round's predictions of a split, over scales and flip."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.artefacts import shard_of, write_maps
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.device import ordered_map, pick_device
from seedbed.inference import fuse_logits, multi_scale, scaled_sizes
from seedbed.weights import network_on
from stages.command import Data, Device, Workers, run_stage
from stages.settings import PredictSettings

LEAST = 0.05  # a class that is nowhere as probable is not stored


def predict(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "the round's weights.pt"],
    round: Annotated[int, "number of the round, for the artefact's attributes"],
    split: Annotated[str, "train, val or test"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: probabilities (C', H, W) float16"],
    settings: PredictSettings,
    data: Data,
    device: Device,
    workers: Workers,
) -> None:
    """Write the probabilities of each image's probable classes."""
    entries = shard_of(Index.load(index).split(split), shard)
    place = pick_device(device)
    work = partial(probabilities, weights=weights, data=data, settings=settings, device=place)
    results = ordered_map(work, entries, workers if place.type == "cpu" else 1)
    about = {"round": round, "split": split, "settings": settings.model_dump_json()}
    with write_maps(output, **about) as maps:
        for entry, (found, classes) in zip(entries, results, strict=True):
            maps.put(entry.id, found, classes=classes)


@torch.no_grad()
def probabilities(
    entry: ImageEntry,
    *,
    weights: Path,
    data: Path,
    settings: PredictSettings,
    device: torch.device,
) -> tuple[np.ndarray, list[int]]:
    """Probabilities (C', H, W) float16 and class ids: background, tags (train), the probable."""
    model = network_on(weights, device)
    size = (entry.height, entry.width)
    warped = (settings.size, settings.size) if settings.size else size
    torch.manual_seed(seed_of(entry.id, settings.seed))
    outputs = multi_scale(
        lambda images: model(model.preprocess(images)),
        read_image(data / entry.path),
        scales=settings.scales,
        flip=settings.flip,
        size=settings.size,
        device=device,
        resampling=settings.resampling,
    )
    probs = fuse_logits(
        outputs,
        size,
        settings.fuse,
        map_resampling=settings.map_resampling,
        fuse_on=settings.fuse_on,
        scaled=scaled_sizes(warped, settings.scales, flip=settings.flip),
    )
    stored = probs.amax((1, 2)) >= LEAST
    stored[[0, *(entry.labels if entry.split == "train" else ())]] = True
    return probs[stored].half().cpu().numpy(), stored.nonzero()[:, 0].tolist()


def seed_of(image_id: str, seed: int) -> int:
    """What a dropout that stays on draws from: the image alone, whoever works on it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:8])


def main() -> None:
    """Run from the command line."""
    run_stage(predict)


if __name__ == "__main__":
    main()
