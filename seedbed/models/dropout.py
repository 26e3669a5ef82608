"""Dropout whose random numbers can come from a generator of the calling thread."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

_thread = threading.local()


def current_generator() -> Generator | None:
    """The generator that this thread draws from; None is PyTorch's global one."""
    return getattr(_thread, "generator", None)


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Let all dropout of this thread draw from a generator of the CPU.

    Threads that train parts of a batch beside each other thus do not share PyTorch's global
    generator, whose numbers they would get in a different order every time.
    """
    before = current_generator()
    _thread.generator = generator
    try:
        yield
    finally:
        _thread.generator = before


def same_draws_twice() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Two contexts, of which the second draws what the first drew: for gradient checkpointing.

    They are what `torch.utils.checkpoint.checkpoint` takes as `context_fn`. (PyTorch's global
    generators it restores itself.)
    """
    generator = current_generator()
    state = None if generator is None else generator.get_state()

    @contextmanager
    def again() -> Iterator[None]:
        if state is None:
            yield
            return
        repeated = Generator()
        repeated.set_state(state)
        with drawing_from(repeated):
            yield

    @contextmanager
    def first() -> Iterator[None]:
        yield

    return first(), again()


class Dropout(nn.Dropout):
    """Sets values to 0 with probability p; `in_eval` keeps it active in evaluation too."""

    def __init__(self, p: float = 0.5, *, in_eval: bool = False) -> None:
        super().__init__(p)
        self.in_eval = in_eval

    def forward(self, features: Tensor) -> Tensor:
        """Any shape → the same shape."""
        active = self.training or self.in_eval
        if current_generator() is None or not active or self.p == 0:
            return F.dropout(features, self.p, active)
        return features * _scaled_mask(torch.empty_like(features), self.p)


class ChannelDropout(nn.Dropout2d):
    """Sets whole channels of (N, C, h, w) to 0 with probability p, in training."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) → the same shape."""
        if current_generator() is None or not self.training or self.p == 0:
            return F.dropout2d(features, self.p, self.training)
        return features * _scaled_mask(features.new_empty(*features.shape[:2], 1, 1), self.p)


def _scaled_mask(mask: Tensor, p: float) -> Tensor:
    """The tensor filled with 0 (with probability p) and 1 / (1 - p), as PyTorch's dropout does."""
    return mask.bernoulli_(1 - p, generator=current_generator()).div_(1 - p)
