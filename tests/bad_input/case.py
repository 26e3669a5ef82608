"""What makes a row of docs/errors.md happen, and what it needs: small inputs, and command lines."""

import functools
import json
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from snakemake.pathvars import Pathvars

from seedbed.data.classes import ClassInfo
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.masks import write_mask
from seedbed.runtime.errors import UserError
from stages.command import run_stage
from stages.convert import check, convert
from stages.settings import DEFAULT_KINDS, combine, parse_config
from tests.support.workflow_helpers import ROOT, snakemake

HEIGHT, WIDTH = 6, 8
TAGS = {"t1": ("cat",), "t2": ("dog",), "v1": ("cat", "dog")}
CAT, DOG = 8, 12  # VOC's own numbers
DEVKIT = "VOCdevkit/VOC2012"
CONVERT = {"devkit": DEVKIT}
Case = Callable[["Bad"], str | None]
CASES: dict[str, Case] = {}


def case(row: str) -> Callable[[Case], Case]:
    """Say which row a function makes happen; it gives the line that is seen, None if none is."""

    def enter(function: Case) -> Case:
        assert row not in CASES, f"two cases of {row!r}"
        CASES[row] = function
        return function

    return enter


def pixels(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    )


@dataclass
class Bad:
    """A folder to spoil; `when` becomes what the row's third column says."""

    root: Path
    project: Callable[[], Path]
    when: set[str] = field(default_factory=set)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def devkit(self) -> Path:
        return self.data / DEVKIT

    @property
    def images(self) -> Path:
        return self.devkit / "JPEGImages"

    @property
    def masks(self) -> Path:
        return self.devkit / "SegmentationClass"

    def listing(self, name: str) -> Path:
        return self.devkit / f"ImageSets/Segmentation/{name}.txt"

    def make_devkit(self) -> "Bad":
        """Two train images, one of them with a mask, and a val image, all in order."""
        for folder in ("Annotations", "ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
            (self.devkit / folder).mkdir(parents=True)
        for image_id, names in TAGS.items():
            pixels().save(self.images / f"{image_id}.jpg")
            objects = "".join(f"<object><name>{name}</name></object>" for name in names)
            self.annotate(image_id, f"<annotation>{objects}</annotation>")
        for image_id in ("t1", "v1"):
            self.paint(image_id, CAT)
        self.listing("train_aug").write_text("t1\nt2\n")
        self.listing("val").write_text("v1\n")
        return self

    def annotate(self, image_id: str, text: str) -> None:
        (self.devkit / "Annotations" / f"{image_id}.xml").write_text(text)

    def paint(self, image_id: str, value: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
        write_mask(self.masks / f"{image_id}.png", np.full(size, value, np.uint8))

    def make_folder(self, rows: str) -> dict[str, Any]:
        """Images a and b, a mask of b, and a table; returns the settings of convert."""
        for name in ("images", "masks"):
            (self.data / "photos" / name).mkdir(parents=True)
        for name in ("a", "b"):
            pixels().save(self.data / "photos/images" / f"{name}.png")
        mask = np.ones((HEIGHT, WIDTH), np.uint8)
        write_mask(self.data / "photos/masks/b.png", mask)
        (self.data / "photos/labels.csv").write_text(rows)
        names = {"images": "images", "labels": "labels.csv", "masks": "masks"}
        return {"folder": {key: f"photos/{name}" for key, name in names.items()}}

    def make_coco(self, **changes: object) -> dict[str, Any]:
        """One image with one cat, and what shall be otherwise; returns the settings of convert."""
        (self.data / "coco/train").mkdir(parents=True)
        pixels().save(self.data / "coco/train/a.jpg")
        found = {
            "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 17, "name": "cat"}],
            "annotations": [
                {"image_id": 1, "category_id": 17, "segmentation": [[0, 0, 4, 0, 4, 4]]}
            ],
        }
        (self.data / "coco/train.json").write_text(json.dumps({**found, **changes}))
        return {"coco": {"instances": "coco/train.json", "images": "coco/train"}}

    def make_index(self) -> Path:
        """An index of one train image with a cat and one val image."""
        (self.data / "images").mkdir(parents=True)
        entries = []
        for image_id, split in (("t1", "train"), ("v1", "val")):
            pixels().save(self.data / f"images/{image_id}.jpg")
            path = f"images/{image_id}.jpg"
            entries.append(ImageEntry(image_id, path, HEIGHT, WIDTH, (1,), split, False, ""))
        classes = (ClassInfo("cat", CAT), ClassInfo("dog", DOG))
        Index(classes, tuple(entries), "annotations").save(self.root / "index.json")
        return self.root / "index.json"

    def line(self, text: str) -> str:
        """A message with the paths as a user in the project's folder sees them."""
        assert text.strip() and "\n" not in text.strip() and "Traceback" not in text
        return text.strip().replace(f"{self.root}/", "")

    def refused(self, function: Callable[..., None], *arguments: object) -> str:
        """The line that a stage's command ends with."""
        self.when.add(function.__name__)
        with pytest.raises(SystemExit) as end, pytest.MonkeyPatch.context() as patch:
            patch.setenv("SEEDBED_DATA", str(self.data))
            run_stage(function, [*map(str, arguments)])
        program, line = str(end.value.code).split(": error: ", 1)
        assert program.startswith("python -m stages.")
        return self.line(line)

    def converted(self, settings: dict[str, Any] = CONVERT, **options: Path) -> Path:
        """The folder of what a conversion writes."""
        self.when.add("convert")
        arguments = [*self.what(settings, **options), *self.where(), "--data", self.data]
        run_stage(convert, [*map(str, arguments)])
        return self.root / "out"

    def not_converted(self, settings: dict[str, Any] = CONVERT, **options: Path) -> str:
        """The line that a conversion ends with; nothing is written, and the check says the same."""
        arguments = self.what(settings, **options)
        line = self.refused(convert, *arguments, *self.where())
        left = [path for path in (self.root / "out").rglob("*") if path.is_file()]
        assert left == [], "written after all"
        with redirect_stdout(StringIO()) as said:
            end = self.refused(check, *arguments)
        self.when.discard("check")
        assert end.startswith("problems in the data set: ")
        problems = said.getvalue().replace(f"{self.root}/", "")
        assert f"problem: {line}\n" in problems, problems
        return line

    def what(self, settings: dict[str, Any], **options: Path) -> list[object]:
        """The arguments of a conversion that say what is read."""
        given = [p for key, path in options.items() for p in (f"--{key.replace('_', '-')}", path)]
        return ["--params", json.dumps(settings), *given]

    def where(self) -> list[object]:
        """The arguments of a conversion that say what is written."""
        names = {"index": "index.json", "input-list": "input_list.txt", "masks": "masks.h5",
                 "mask-folder": "masks", "summary": "summary.tsv"}  # fmt: skip
        out = self.root / "out"
        return [part for key, name in names.items() for part in (f"--{key}", out / name)]

    def read(self, name: str) -> np.ndarray:
        """An image as the conversion and every later stage read it."""
        self.when.add("convert")
        return read_image(self.root / name)

    def config(self, only: dict[str, Any] | None = None, **blocks: object) -> str:
        """The error of the default run's config with an overlay, or of a config by itself."""
        self.when.add("dry run")
        with pytest.raises(UserError) as caught:
            parse_config(overlaid(blocks) if only is None else only)
        return self.line(str(caught.value))

    def asked(self, helper: str, *arguments: object, **blocks: object) -> str:
        """What ends a dry run as it asks a helper of the rules for a job's inputs.

        As `dry_run` tells, but without Snakemake, which takes seconds to begin.
        """
        self.when.add("dry run")
        rooms = ("common", "inputs")
        text = "\n".join((ROOT / f"workflow/{room}.smk").read_text() for room in rooms)
        names = {
            "workflow": SimpleNamespace(
                basedir=ROOT,
                overwrite_configfiles=[Path("config.yaml")],
                config_settings=SimpleNamespace(config={}),
                is_main_process=False,
                pathvars=Pathvars.with_defaults(),
            ),
            "shell": SimpleNamespace(prefix=str),
            "config": overlaid({**blocks, "run": {"data": str(self.data)}}),
        }
        exec(re.sub(r"(?m)^wildcard_constraints:\n( .*\n)+", "", text), names)
        with pytest.raises(SystemExit) as end:
            names[helper](*arguments)
        return self.line(str(end.value.code))

    def dry_run(self, files: Sequence[str] = ("config.yaml",), **blocks: object) -> str:
        """What `snakemake -n` ends with for config files of the project and, if any, an overlay."""
        self.when.add("dry run")
        overlay = self.root / "overlay.yaml"
        overlay.write_text(yaml.safe_dump({"run": {"data": str(self.data)}, **blocks}))
        given = [*files, *([str(overlay)] if blocks else [])]
        status, messages = snakemake(self.project(), "--dry-run", "--configfile", *given)
        assert status == 1 and "Traceback" not in messages
        return self.line(messages.splitlines()[-1])


@functools.cache
def default_config() -> dict[str, Any]:
    """The config of the default run."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def overlaid(blocks: dict[str, object]) -> dict[str, Any]:
    """The config of the default run with some blocks laid over it."""
    files = [(Path("config.yaml"), default_config()), (Path("overlay.yaml"), blocks)]
    return combine(files, {}, DEFAULT_KINDS, ROOT)
