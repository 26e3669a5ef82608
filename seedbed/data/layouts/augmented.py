"""The augmented train list of VOC 2012, which neither VOC nor SBD ships.

Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011 (SBD) labels 11 355 images
of VOC 2011. The list that is known as train_aug has the 10 582 of VOC's train and SBD's train and
val that are not in VOC's val.
"""

from collections.abc import Callable
from pathlib import Path

from seedbed.data.lists import read_list
from seedbed.runtime.errors import UserError

NAME = "train_aug"
IMAGES = 10582
# The lists that it is made of, by what they are called here, and their published lengths.
PUBLISHED = {"VOC's train": 1464, "VOC's val": 1449, "SBD's train": 8498, "SBD's val": 2857}


def is_made(lists: Path, name: str) -> bool:
    """Whether a list of a devkit is made from others, as it is not in the folder `lists`."""
    return name == NAME and not (lists / f"{name}.txt").exists()


def source_lists(lists: Path, sbd: Path) -> dict[str, Path]:
    """The lists that train_aug is made of: VOC's in the folder `lists`, SBD's in `sbd`."""
    return {
        "VOC's train": lists / "train.txt",
        "VOC's val": lists / "val.txt",
        "SBD's train": sbd / "train.txt",
        "SBD's val": sbd / "val.txt",
    }


def read_or_make(path: Path, sbd: Path | None, on_note: Callable[[str], None]) -> list[str]:
    """The ids of a list; train_aug is made if it is not there but SBD is, and `on_note` told so."""
    if sbd is None or not is_made(path.parent, path.stem):
        return read_list(path)
    ids, note = make_list(path.parent, sbd)
    on_note(note)
    return ids


def make_list(lists: Path, sbd: Path) -> tuple[list[str], str]:
    """Make train_aug.

    Args:
        lists: the folder ImageSets/Segmentation of the devkit.
        sbd: SBD's folder `benchmark_RELEASE/dataset`.

    Returns:
        The sorted ids, and a note in one line that says what they were made of; with other numbers
        of images than the published ones it says so.

    Raises:
        UserError: if a list is missing or broken, or no image is left.

    """
    ids = {name: read_list(path) for name, path in source_lists(lists, sbd).items()}
    held_out = set(ids.pop("VOC's val"))
    made = sorted(set().union(*ids.values()) - held_out)
    if not made:
        val = lists / "val.txt"
        raise UserError(f"every image of VOC's train and SBD's lists is in {val}: correct it")
    note = f"{NAME}: {len(made)} images of VOC's train and SBD's train and val, without VOC's val"
    counts = {name: len(one) for name, one in ids.items()}
    counts |= {"VOC's val": len(held_out), NAME: len(made)}
    other = [
        f"{name} has {counts[name]}, not {number}"
        for name, number in {**PUBLISHED, NAME: IMAGES}.items()
        if counts[name] != number
    ]
    return made, note + (f"; unlike the published lists {', '.join(other)}" if other else "")
