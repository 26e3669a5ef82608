"""The rows of `python -m benchmarks.gpu` on small sizes: what has a goal reaches it."""

import pytest
import torch

from benchmarks.gpu.rows import Setup
from benchmarks.gpu.table import rows_of
from benchmarks.gpu.worker import restore


@pytest.mark.parametrize("row", rows_of(), ids=lambda row: row.name)
def test_the_goal_is_reached(row):
    setup = Setup(torch.device("cuda"), small=True, precision="bfloat16")
    restore(setup)
    outcome = row.work(setup)
    restore(setup)
    assert outcome.ok is not False, outcome.text
