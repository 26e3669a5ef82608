"""Collect the final masks of a split in one file and as PNGs."""

from pathlib import Path
from typing import Annotated

from seedbed.data.given_masks import export_source_masks, read_given_masks
from seedbed.data.index import Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Split, run_stage


def masks(
    *,
    index: Annotated[Path, "dataset/index.json"],
    split: Split,
    output: Annotated[Path, "to write: masks (H, W) uint8"],
    folder: Annotated[Path, "to write: the masks as PNGs, in the data set's own ids"],
    refined: Annotated[list[Path], "the last round's masks of the split"] = (),
    given: Annotated[Path | None, "folder of PNGs of the split to use instead"] = None,
) -> None:
    """Collect the masks of all shards, or of a folder, in the order of the list."""
    if bool(refined) == bool(given):
        raise UserError("give the masks either as --refined or as --given")
    dataset, shards = Index.load(index), Maps(refined)
    entries = dataset.split(split)
    if given:
        made = read_given_masks(given, entries, dataset, workers=1)
    else:
        made = (shards[entry.id][0] for entry in progress(entries))
    with write_maps(output, split=split) as maps:
        for entry, mask in zip(entries, made, strict=True):
            maps.put(entry.id, mask)
    export_source_masks(output, folder, dataset.table, dataset.mask_coding)


if __name__ == "__main__":
    run_stage(masks)
