"""Published checkpoints → the parameters of a network, by name and shape."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seedbed.formats.weights.files import read_tensors
from seedbed.models.network import Network
from seedbed.models.weights.names import find_sources, is_counter, required
from seedbed.runtime.errors import UserError

BACKBONE = "features."


@dataclass(frozen=True)
class Report:
    """Names of tensors: placed in the network and missing from it, ours; left over in the file.

    Batch norm's counters are never missed: they say nothing where statistics are frozen.
    """

    placed: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]


def load(model: Network, path: str | Path, *, new_head: bool = False) -> Report:
    """Fill `model` in place with what `path` (see `read_tensors`) holds under a known name.

    Known are our own names and the published ones of `models.weights.names`. Half precision is
    widened to that of the network. `new_head`: the parts after the backbone that learn faster stay
    as they are, whatever the file holds for them, even for another number of classes.

    Raises:
        UserError: for an unreadable file, one that fits nothing or lacks a part of the backbone,
            and a wrong shape, that of a head for other classes included. Nothing is placed then.

    """
    tensors = read_tensors(path)
    state = model.state_dict()
    wanted = [name for name in state if not (new_head and _in_head(name, model))]
    sources = find_sources(wanted, tensors)
    _check_backbone(sources, state, path)
    placed = {}
    for name, source in sources.items():
        placed[name] = _shaped(source.convert(tensors[source.name]), state[name].shape)
        if placed[name].shape != state[name].shape:
            remedy = "or set new_head" if _in_head(name, model) else "with as many classes"
            raise UserError(
                f"weights {path}: {source.name} has shape {tuple(placed[name].shape)}, the"
                f" network's {name} {tuple(state[name].shape)}; choose the network they were made"
                f" for, {remedy}"
            )
    model.load_state_dict(placed, strict=False)
    used = {sources[name].name for name in placed}
    return Report(
        placed=tuple(placed),
        missing=tuple(name for name in state if name not in placed and not is_counter(name)),
        left_over=tuple(name for name in tensors if name not in used),
    )


def _shaped(values: Tensor, shape: torch.Size) -> Tensor:
    """A matrix where a 1x1 convolution is wanted becomes one; all else stays as it is."""
    return values[..., None, None] if (*values.shape, 1, 1) == shape else values


def _in_head(name: str, model: Network) -> bool:
    """Whether a parameter belongs to what is new beside the backbone, the classes among it."""
    return name.startswith(model.new_parts) and not name.startswith(BACKBONE)


def _check_backbone(found: Collection[str], state: Collection[str], path: str | Path) -> None:
    # The counters are placed too, but alone they say nothing about the network.
    if not any(name.startswith(BACKBONE) and not is_counter(name) for name in found):
        raise UserError(
            f"weights {path} hold no tensor of this network's backbone; name its own weights"
        )
    absent = [name for name in required(state) if name not in found]
    if absent:
        raise UserError(
            f"weights {path} lack {absent[0]} and all told {len(absent)} tensors of this"
            " network's backbone; choose the network they were made for"
        )
