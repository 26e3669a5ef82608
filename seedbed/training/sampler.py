"""Which images make up the batches of a training."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from seedbed.methods.group_wsss.partners import GroupIndex


class Request(NamedTuple):
    """A sample to be loaded: the image at position `index`, in place `slot` of the batch `step`.

    Its random view depends on the training's seed, the step and the slot alone.
    """

    step: int
    slot: int
    index: int


def batch_requests(
    count: int, batch: int, start: int, stop: int, seed: int
) -> Iterator[list[Request]]:
    """Yield the requests of the batches start..stop-1; each epoch is a permutation of all images.

    A pure function of its arguments, so that a training continues with the batches that it would
    have had without interruption.
    """
    for step in range(start, stop):
        numbers = range(step * batch, (step + 1) * batch)
        yield [
            Request(step, slot, int(_permutation(count, number // count, seed)[number % count]))
            for slot, number in enumerate(numbers)
        ]


def group_requests(
    groups: GroupIndex, size: int, requests: Iterator[list[Request]], seed: int
) -> Iterator[list[Request]]:
    """Yield each batch with every requested image followed by its `size` - 1 partners."""
    for batch in requests:
        members: list[Request] = []
        for step, slot, index in batch:
            rng = np.random.default_rng([seed, step, slot, 1])
            group = groups.group(index, size, rng)
            members += [Request(step, slot * size + i, g) for i, g in enumerate(group)]
        yield members


@functools.lru_cache(maxsize=2)
def _permutation(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)
