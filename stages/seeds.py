"""Localisation cues from class activation maps and saliency."""

from pathlib import Path
from typing import Annotated

from PIL import Image

from seedbed.artefacts import Maps, atomic_folder, write_maps
from seedbed.cues import cue_preview, make_cues, write_cue_pickle
from seedbed.data.images import read_image
from seedbed.data.index import Index
from stages.command import Data, run_stage
from stages.settings import SeedSettings

PREVIEWS = 24


def seeds(
    *,
    index: Annotated[Path, "dataset/index.json"],
    cams: Annotated[list[Path], "cam/*.h5"],
    saliency: Annotated[list[Path], "saliency/*.h5"],
    cues: Annotated[Path, "to write: (C, grid, grid) bool an image"],
    pickle: Annotated[Path, "to write: the same in DSRG's format"],
    preview: Annotated[Path, "to write: a folder of pictures"],
    settings: SeedSettings,
    data: Data,
) -> None:
    """Write the cues of each train image."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    activation, salience = Maps(cams), Maps(saliency)
    found = [
        make_cues(
            activation.floats(entry.id),
            salience.floats(entry.id),
            entry.labels,
            num_classes=dataset.num_classes,
            **settings.model_dump(),
        )
        for entry in entries
    ]
    with write_maps(cues, settings=settings.model_dump_json()) as maps:
        for entry, cue in zip(entries, found, strict=True):
            maps.put(entry.id, cue)
    write_cue_pickle(pickle, found, [entry.labels for entry in entries])
    with atomic_folder(preview) as folder:
        for entry, cue in list(zip(entries, found, strict=True))[:PREVIEWS]:
            picture = cue_preview(read_image(data / entry.path), cue)
            Image.fromarray(picture).save(folder / f"{entry.id}.png")


def main() -> None:
    """Run from the command line."""
    run_stage(seeds)


if __name__ == "__main__":
    main()
