"""Class probabilities of a round's network for the images of a split."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import shard_of
from seedbed.formats.maps import LOG_PROBABILITIES, write_maps
from seedbed.inference.multiscale import check_input_sizes
from seedbed.inference.precision import warn_slow_bfloat16
from seedbed.inference.probabilities import PredictionOptions, class_log_probabilities
from seedbed.models.network import Network
from seedbed.models.weights import load_network_cached
from seedbed.runtime.devices import pick_device
from seedbed.runtime.pools import device_map
from stages.command import Data, Device, Split, Workers, run_stage
from stages.settings import PredictSettings


def predict(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "the round's weights.pt"],
    round: Annotated[int, "number of the round, for the artefact's attributes"],
    split: Split,
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: log-probabilities (C', H, W) float16"],
    settings: PredictSettings,
    data: Data,
    device: Device,
    workers: Workers,
) -> None:
    """Write the logarithms of the probabilities of the classes that are found in each image."""
    entries = shard_of(Index.load(index).split(split), shard)
    place = pick_device(device)
    # Loaded before the workers fork, so that they share it.
    model = load_network_cached(weights, place, "seg")
    warn_slow_bfloat16(place, settings.precision)
    options = PredictionOptions(**settings.model_dump())
    check_input_sizes(entries, model, options)
    work = partial(log_probabilities, model=model, options=options, device=place)
    results = device_map(lambda entry: read_entry(data, entry), work, entries, place, workers)
    about = {"round": round, "split": split, "settings": settings.model_dump_json()}
    with write_maps(output, values=LOG_PROBABILITIES, **about) as maps:
        for entry, (stored, classes) in zip(entries, results, strict=True):
            maps.put(entry.id, stored, classes=classes)


def log_probabilities(
    entry: ImageEntry,
    image: np.ndarray,
    *,
    model: Network,
    options: PredictionOptions,
    device: torch.device,
) -> tuple[np.ndarray, list[int]]:
    """Logarithms (C', H, W) float16 and class ids; a train image keeps all its own classes."""
    keep = entry.labels if entry.split == "train" else ()
    return class_log_probabilities(model, image, entry.id, options, keep=keep, device=device)


if __name__ == "__main__":
    run_stage(predict)
