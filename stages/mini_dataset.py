"""Write the synthetic data set of the default run: a VOC devkit and an SBD release."""

from pathlib import Path
from typing import Annotated

from seedbed.data.mini.dataset import write_mini
from stages.command import run_stage
from stages.settings import MiniSettings


def mini_dataset(
    *,
    root: Annotated[Path, "to write: the folder"],
    seed: Annotated[int, "seed of the scenes"],
    settings: MiniSettings,
) -> None:
    """Write the data set of a seed."""
    write_mini(root, seed=seed, train=settings.train, val=settings.val, size=settings.size)


if __name__ == "__main__":
    run_stage(mini_dataset)
