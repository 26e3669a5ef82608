"""A round's predictions of a split, over scales and flip."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import shard_of, write_maps
from seedbed.inference.multiscale import check_sides, probable_classes
from seedbed.models import Network
from seedbed.models.weights import network_on
from seedbed.runtime.devices import pick_device
from seedbed.runtime.pools import device_map
from stages.command import Data, Device, Workers, run_stage
from stages.settings import PredictSettings


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
    model = network_on(weights, place)  # before the fork: its workers share it
    check_sides(entries, model, settings.size, settings.scales)
    work = partial(probabilities, model=model, settings=settings, device=place)
    results = device_map(lambda entry: read_image(data / entry.path), work, entries, place, workers)
    about = {"round": round, "split": split, "settings": settings.model_dump_json()}
    with write_maps(output, **about) as maps:
        for entry, (found, classes) in zip(entries, results, strict=True):
            maps.put(entry.id, found, classes=classes)


def probabilities(
    entry: ImageEntry,
    image: np.ndarray,
    *,
    model: Network,
    settings: PredictSettings,
    device: torch.device,
) -> tuple[np.ndarray, list[int]]:
    """Probabilities (C', H, W) float16 and class ids: background, tags (train), the probable."""
    return probable_classes(
        model,
        image,
        entry.id,
        keep=entry.labels if entry.split == "train" else (),
        device=device,
        **settings.model_dump(),
    )


if __name__ == "__main__":
    run_stage(predict)
