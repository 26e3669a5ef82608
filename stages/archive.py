"""Pack masks of the test images as VOC's evaluation server wants them."""

import gzip
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from seedbed.formats.masks import write_mask
from seedbed.formats.palette import VOID
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Split, run_stage

# VOC2012, segmentation, competition 6: training with data other than VOC's.
FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"


def archive(
    *,
    index: Annotated[Path, "dataset/index.json"],
    masks: Annotated[list[Path], "the split's masks (H, W), or labels with confidences (2, H, W)"],
    output: Annotated[Path, "to write: a .tar.gz"],
    split: Split = "test",
) -> None:
    """Pack a palette PNG of each image of the split, in the data set's own class ids."""
    dataset = Index.load(index)
    entries = dataset.split(split)
    if not entries:
        raise UserError(f"{index}: split {split} has no images; set convert.{split}_list")
    maps = Maps(masks)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for entry in progress(entries):
            mask = maps[entry.id]
            labels = mask if mask.ndim == 2 else mask[0]
            if (labels == VOID).any():
                raise UserError(
                    f"{entry.id} has void pixels, which the server refuses: give whole masks"
                )
            write_mask(folder / FOLDER / f"{entry.id}.png", dataset.table.source_mask(labels))
        pack(folder, output)


def pack(folder: Path, output: Path) -> None:
    """Write the files in a folder as .tar.gz; the same files give the same bytes."""
    with (
        atomic(output) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as packed,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())  # no time, no owner
            member.size = path.stat().st_size
            with path.open("rb") as content:
                packed.addfile(member, content)


if __name__ == "__main__":
    run_stage(archive)
