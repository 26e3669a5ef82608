import shutil
from collections.abc import Callable

import pytest
import torch

from seedbed.training.samples import Batch


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Batches for trainings without files: two classes and background unless told otherwise."""

    def make(images, tags=None, **fields) -> Batch:
        count = len(images)
        return Batch(
            images=images,
            tags=torch.ones(count, 3) if tags is None else torch.tensor(tags).float(),
            index=torch.tensor(fields.pop("index", range(count))),
            mirrored=torch.tensor(fields.pop("mirrored", [False] * count)),
            targets=fields.pop("targets", None),
        )

    return make


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A gigabyte of synthetic weights is not kept, unlike other temporary files."""
    if not hasattr(session.config, "workerinput"):
        factory = session.config._tmp_path_factory
        shutil.rmtree(factory.getbasetemp() / "published", ignore_errors=True)
