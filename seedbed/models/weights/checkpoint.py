"""A trained network in one file: how to build it, its weights and its class names."""

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seedbed.formats.weights.files import read_file
from seedbed.models.network import Network
from seedbed.models.registry import Option, build
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

MOST_CLASSES = 256  # masks have 8 bits
META = ("name", "num_classes", "options", "classes")


def save_network(
    path: str | Path,
    model: nn.Module,
    name: str,
    num_classes: int,
    options: Mapping[str, Option],
    classes: Sequence[str],
    source_ids: Sequence[int] | None = None,
) -> None:
    """Write a `model` made by `build(name, num_classes, **options)`; the same gives the same bytes.

    `options` values are plain (numbers, strings, booleans); `classes` are class names,
    `source_ids` the ids that the data set's own masks give them, background's 0 first.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    # Through memory, because torch writes the file's own name into the archive.
    buffer = io.BytesIO()
    torch.save(
        {
            "name": name,
            "num_classes": num_classes,
            "options": dict(options),
            "classes": list(classes),
            "source_ids": None if source_ids is None else [int(number) for number in source_ids],
            "state_dict": state,
        },
        buffer,
    )
    with atomic(path) as temporary:
        Path(temporary).write_bytes(buffer.getvalue())


def load_network(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """What `save_network` wrote: the network in evaluation mode, and {name, num_classes, …}.

    `source_ids` is None where the file does not say them. Raises UserError for any other file.
    """
    content = read_file(path)
    if not isinstance(content, dict) or not {*META, "state_dict"} <= content.keys():
        raise UserError(f"{path} is not a network saved by this program; make it again")
    meta = {key: content[key] for key in META} | {"source_ids": content.get("source_ids")}
    if not isinstance(meta["num_classes"], int) or not 1 <= meta["num_classes"] <= MOST_CLASSES:
        raise UserError(f"{path} has no number of classes within {MOST_CLASSES}; make it again")
    try:
        model = build(meta["name"], meta["num_classes"], **meta["options"])
        model.load_state_dict(content["state_dict"])
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path} does not fit this version of {meta['name']}; make it again"
        ) from error
    return model.eval(), meta


@functools.cache
def network_on(path: Path, device: torch.device) -> Network:
    """The network of a file in evaluation mode on a device, read once a process."""
    return load_network(path)[0].to(device)
