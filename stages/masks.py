"""Collect the final masks of a split in one file and as PNGs."""

from pathlib import Path
from typing import Annotated

from seedbed.data.given_masks import export_source_masks, mask_folder, read_given_mask
from seedbed.data.index import Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import run_stage


def masks(
    *,
    index: Annotated[Path, "dataset/index.json"],
    split: Annotated[str, "train, val or test"],
    output: Annotated[Path, "to write: masks (H, W) uint8"],
    folder: Annotated[Path, "to write: the masks as PNGs, in the data set's own ids"],
    refined: Annotated[list[Path], "the last round's masks of the split"] = (),
    given: Annotated[Path | None, "folder of PNGs of the split to use instead"] = None,
) -> None:
    """Collect the masks of all shards, or of a folder, in the order of the list."""
    if bool(refined) == bool(given):
        raise UserError("give the masks either as --refined or as --given")
    dataset, shards = Index.load(index), Maps(refined)
    given_masks = mask_folder(given, dataset.split(split)) if given else None
    with write_maps(output, split=split) as maps:
        for entry in progress(dataset.split(split)):
            if given_masks:
                maps.put(entry.id, read_given_mask(given_masks, entry, dataset.table))
            else:
                maps.put(entry.id, shards[entry.id][0])
    export_source_masks(output, folder, dataset.table)


if __name__ == "__main__":
    run_stage(masks)
