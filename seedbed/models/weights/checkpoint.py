"""Our own checkpoints: a network's name and options, its weights and its class names."""

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seedbed.formats.weights.files import read_file
from seedbed.models.network import Network
from seedbed.models.registry import Kind, Option, build, network_info
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

MAX_CLASSES = 256  # masks have 8 bits
META = ("name", "num_classes", "options", "classes")


def save_network(
    path: str | Path,
    model: nn.Module,
    name: str,
    num_classes: int,
    options: Mapping[str, Option],
    classes: Sequence[str],
    source_ids: Sequence[int] | None = None,
    precision: str | None = None,
) -> None:
    """Write a network that `build(name, num_classes, **options)` made.

    The same network always gives the same bytes.

    Args:
        path: the file to write.
        model: the network.
        name: the name that it was built by.
        num_classes: its number of classes.
        options: its options.
        classes: names of its classes.
        source_ids: ids of its classes in the data set's own masks, starting with background's 0.
        precision: in which it was trained, for the record; None: not known.

    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    # Written to memory first: torch.save puts the file's name into the archive.
    buffer = io.BytesIO()
    torch.save(
        {
            "name": name,
            "num_classes": num_classes,
            "options": dict(options),
            "classes": list(classes),
            "source_ids": None if source_ids is None else [int(number) for number in source_ids],
            "precision": precision,
            "state_dict": state,
        },
        buffer,
    )
    with atomic(path) as temporary:
        Path(temporary).write_bytes(buffer.getvalue())


def load_network(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Read what `save_network` wrote.

    Returns:
        The network in evaluation mode, and a dict of name, num_classes, options, classes and
        source_ids (None if the file does not have them).

    Raises:
        UserError: if the file was not written by `save_network`.

    """
    content = read_file(path)
    if (meta := _description(content)) is None:
        raise UserError(f"{path} is not a network saved by this program; make it again")
    if not isinstance(meta["num_classes"], int) or not 1 <= meta["num_classes"] <= MAX_CLASSES:
        raise UserError(f"{path} has no number of classes within {MAX_CLASSES}; make it again")
    try:
        model = build(meta["name"], meta["num_classes"], **meta["options"])
        model.load_state_dict(content["state_dict"])
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path} does not fit this version of {meta['name']}; make it again"
        ) from error
    return model.eval(), meta


def read_description(path: str | Path) -> dict[str, Any] | None:
    """What `save_network` wrote beside the weights, see `load_network`; None for other files."""
    try:
        return _description(read_file(path))
    except UserError:  # of another format, or damaged: `load_weights` tells
        return None


def _description(content: object) -> dict[str, Any] | None:
    if not isinstance(content, dict) or not {*META, "state_dict"} <= content.keys():
        return None
    return {key: content[key] for key in META} | {"source_ids": content.get("source_ids")}


@functools.cache
def load_network_cached(path: Path, device: torch.device, kind: Kind) -> Network:
    """The network of a file in evaluation mode on a device; each process reads a file once.

    Raises:
        UserError: if the file was not written by `save_network`, or its network is of another
            kind than `kind` (see `NetworkInfo`).

    """
    network, about = load_network(path)
    found = network_info(about["name"]).kind
    if found != kind:
        raise UserError(f"{path} is {about['name']}, of kind {found}: name weights of kind {kind}")
    return network.to(device)
