"""Training samples: an image, its tags and what else supervises it, under one random view."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry
from seedbed.runtime.errors import UserError
from seedbed.training.sampler import Request
from seedbed.training.supervision import Supervision
from seedbed.training.views import View


class Batch(NamedTuple):
    """The samples of an iteration, N of them (or a single one, without the first dimension).

    Attributes:
        images: (N, 3, S, S) float in [0, 255].
        tags: (N, C) float, 0 or 1, background first.
        index: (N,) int64 positions in the data set.
        mirrored: (N,) bool.
        targets: (N, …), what the samples' supervision gives; None: no supervision beyond the tags.

    """

    images: Tensor
    tags: Tensor
    index: Tensor
    mirrored: Tensor
    targets: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        moved = (x if x is None else x.to(device, non_blocking=True) for x in self)
        return Batch(*moved)

    def split(self, count: int) -> list["Batch"]:
        """The batch in `count` equal parts; ValueError if that does not divide its size."""
        if len(self.images) % count:
            raise ValueError(f"count: {count} does not divide a batch of {len(self.images)} images")
        parts = ([None] * count if x is None else x.chunk(count) for x in self)
        return [Batch(*fields) for fields in zip(*parts, strict=True)]


class Samples(Dataset):
    """Images of a data set under random views, with tags and the targets of a supervision.

    Args:
        entries: of the index.
        data: folder that their paths are relative to.
        view: the distribution of the views.
        num_classes: number of classes, background included.
        seed: of the views.
        supervision: beyond the tags; None: none.

    """

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        data: Path,
        view: View,
        *,
        num_classes: int,
        seed: int,
        supervision: Supervision | None,
    ) -> None:
        self.entries = entries
        self.data = data
        self.view = view
        self.num_classes = num_classes
        self.seed = seed
        self.supervision = supervision

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, request: Request) -> Batch:
        entry = self.entries[request.index]
        rng = np.random.default_rng([self.seed, request.step, request.slot])
        pixels = torch.from_numpy(read_entry(self.data, entry)).permute(2, 0, 1)
        image = self.view.rescale(pixels, rng)
        placement = self.view.place(image, rng)
        tags = torch.zeros(self.num_classes)
        tags[[0, *entry.labels]] = 1
        supervision = self.supervision
        return Batch(
            images=self.view.render(image, placement.theta, rng),
            tags=tags,
            index=torch.tensor(request.index),
            mirrored=torch.tensor(placement.mirrored),
            targets=supervision and supervision.target(entry, placement),
        )


def collate(samples: list[Batch]) -> Batch:
    """Stack samples to a batch."""
    fields = zip(*samples, strict=True)
    return Batch(*(None if field[0] is None else torch.stack(field) for field in fields))


def loader(
    samples: Samples,
    requests: Iterator[list[Request]],
    *,
    workers: int,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield the requested batches in order.

    Args:
        samples: of which the batches consist.
        requests: which samples make up each batch; taken only as far ahead as batches are loaded.
        workers: number of processes that load samples; changes only the speed.
        pin_memory: put the batches into pinned memory, from which a copy to the GPU does not make
            the host wait. Needs CUDA.

    Raises:
        UserError: if an image cannot be read, in a worker too.
        RuntimeError: beginning with "DataLoader worker", if a worker process died.

    """
    try:
        yield from DataLoader(
            samples,
            batch_sampler=requests,  # a few at a time: all would be gigabytes for large data
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
        )
    except UserError as error:
        # DataLoader puts the traceback of the worker before the message.
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
    except (ConnectionError, EOFError) as error:
        # The worker died while it sent a batch, before DataLoader noticed and raised RuntimeError.
        raise RuntimeError(f"DataLoader worker ended while sending a batch: {error}") from error


def read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches while a thread prepares the next one."""
    with ThreadPoolExecutor(1, "reader", torch.set_num_threads, (1,)) as reader:
        upcoming = reader.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = reader.submit(next, batches, None)
            yield batch
