"""Make the data set of recipes/voc-animals.yaml from VOC 2012 and SBD as they are published.

Six animal classes at 256 pixels on the longer side, with the images of recipes/voc-animals/*.txt.
No rule runs this: it is called once, by hand.
"""

from pathlib import Path
from typing import Annotated

from seedbed.data.layouts.devkit import Devkit
from seedbed.data.lists import read_list
from seedbed.data.voc_subset import find_originals, write_subset
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError
from stages.command import Data, Workers, run_stage

CLASSES = ["cat", "cow", "dog", "horse", "person", "sheep"]
LISTS = Path(__file__).parents[1] / "recipes" / "voc-animals"


def voc_subset(
    *,
    data: Data,
    workers: Workers = 1,
    devkit: Annotated[Path, "VOC's folder, in --data"] = Path("VOCdevkit/VOC2012"),
    sbd: Annotated[Path, "SBD's folder, in --data"] = Path("benchmark_RELEASE/dataset"),
    output: Annotated[Path, "to write, in --data: the subset's devkit"] = Path(
        "voc-animals/VOCdevkit/VOC2012"
    ),
    lists: Annotated[Path, "folder of train_aug.txt and val.txt, the images"] = LISTS,
    classes: Annotated[list[str], "classes that are kept"] = CLASSES,
    side: Annotated[int, "longer side of the images, in pixels"] = 256,
) -> None:
    """Write the subset's devkit; nothing is written if a file is missing or damaged."""
    if side < 1:
        raise UserError(f"--side {side} is not positive: give a number of pixels")
    target = data / output
    if target.exists():
        raise UserError(f"{target} is there already: remove it, or name another --output")
    originals = find_originals(
        Devkit(data / devkit, data / sbd),
        {"train": read_list(lists / "train_aug.txt"), "val": read_list(lists / "val.txt")},
    )
    with atomic_folder(target) as folder:
        others = write_subset(folder, originals, classes, side, workers)
    print(f"{target}: {len(originals)} images; {others} of them show classes that are left out")


if __name__ == "__main__":
    run_stage(voc_subset)
