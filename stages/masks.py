"""The final masks of a split, as one file and as pictures."""

from pathlib import Path
from typing import Annotated

from seedbed.artefacts import Maps, export_masks, write_maps
from seedbed.data.index import Index
from stages.command import run_stage


def masks(
    *,
    index: Annotated[Path, "dataset/index.json"],
    refined: Annotated[list[Path], "the last round's masks of the split"],
    split: Annotated[str, "train, val or test"],
    output: Annotated[Path, "to write: masks (H, W) uint8"],
    folder: Annotated[Path, "to write: the same as PNGs"],
) -> None:
    """Gather the labels of all shards in the order of the list."""
    found = Maps(refined)
    with write_maps(output, split=split) as maps:
        for entry in Index.load(index).split(split):
            maps.put(entry.id, found[entry.id][0])
    export_masks(output, folder)


def main() -> None:
    """Run from the command line."""
    run_stage(masks)


if __name__ == "__main__":
    main()
