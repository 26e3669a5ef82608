"""The data set: synthetic, or read from disk."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from seedbed.data.text import plain_name
from stages.settings.base import Block, Count, Seed

LABELMAP = "labelmap.txt"


def _class_name(value: object) -> object:
    """A class name; a whole number is its own name. Other values are left to be refused."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return plain_name(value) if isinstance(value, str) else value


def _check_colours(value: object) -> object:
    """Refuse wrong colours in one line; pydantic's own would name both types of the key."""
    if value is not None and not isinstance(value, Mapping | str):
        raise ValueError("give a colour [r, g, b] by name, or the path of a labelmap.txt")
    for name, colour in value.items() if isinstance(value, Mapping) else ():
        levels = colour if isinstance(colour, Sequence) and len(colour) == 3 else [None]
        if not all(type(level) is int and 0 <= level <= 255 for level in levels):
            raise ValueError(f"the colour of {name} is not [r, g, b] of 0 to 255 (got {colour!r})")
    return value


ClassName = Annotated[
    str,
    BeforeValidator(_class_name),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
]
Level = Annotated[int, Field(ge=0, le=255)]
MaskValues = dict[Annotated[int, Field(ge=0, le=65535)], ClassName]
MaskColours = Annotated[
    dict[ClassName, tuple[Level, Level, Level]] | str | None, BeforeValidator(_check_colours)
]


class MiniSettings(Block):
    """The synthetic data set of the default run. Its random seed is part of its folder's name."""

    train: Count = Field(240, description="number of train images")
    val: Count = Field(80, description="number of val images")
    size: Annotated[int, Field(ge=32)] = Field(128, description="side of an image, in pixels")


class Layout(Block):
    """Paths of a data set that is read instead of a devkit, relative to run.data.

    Attributes:
        files: keys that name files, whose content Snakemake watches; all others name folders.
        val_key: the key that val images need.

    """

    files: ClassVar[tuple[str, ...]] = ()
    val_key: ClassVar[str] = "masks"

    @property
    def has_masks(self) -> bool:
        """Whether there may be masks: in a layout with a key `masks`, only if it is set."""
        return bool(getattr(self, "masks", True))


class FolderSettings(Layout):
    """A folder of images and their labels. Paths are relative to run.data."""

    files: ClassVar[tuple[str, ...]] = ("labels",)

    images: str = Field(description="folder of the images")
    labels: str | None = Field(
        None,
        description="table (CSV or JSON) of images, labels and perhaps splits; null: the images "
        "of each class are in a folder of its name",
    )
    masks: str | None = Field(
        None, description="folder of masks `{id}.png` that hold class ids; null: no masks"
    )


class CocoSettings(Layout):
    """Instance annotations in COCO's format. Paths are relative to run.data."""

    files: ClassVar[tuple[str, ...]] = ("instances", "val_instances")
    val_key: ClassVar[str] = "val_instances"

    instances: str = Field(description="JSON file of the train images")
    images: str = Field(description="folder of the train images")
    val_instances: str | None = Field(
        None, description="JSON file of the val images; null: no val images"
    )
    val_images: str | None = Field(
        None, description="folder of the val images; null: the folder of the train images"
    )


class ConvertSettings(Block):
    """The data set: a VOC devkit (with SBD if there is one), a folder of images, or COCO."""

    devkit: str = Field("VOCdevkit/VOC2012", description="folder of the devkit")
    folder: FolderSettings | None = Field(
        None, description="a folder of images, read instead of a devkit"
    )
    coco: CocoSettings | None = Field(
        None, description="COCO annotations, read instead of a devkit"
    )
    sbd: str | None = Field(
        None, description="folder `benchmark_RELEASE/dataset` of SBD; null: without SBD"
    )
    train_list: str = Field(
        "train_aug", description="list of the train images, in ImageSets/Segmentation"
    )
    val_list: str = Field("val", description="list of the val images, in ImageSets/Segmentation")
    test_list: str | None = Field(
        None, description="list of test images, which need no masks; null: no test images"
    )
    label_source: Literal["annotations", "cls_labels", "train_cls", "cues"] = Field(
        "annotations",
        description="where image-level labels come from: the XML annotations, PSA's or IRN's "
        "cls_labels.npy, Group-WSSS' train_cls.txt, or the cue file named by seeds.cues",
    )
    classes: list[ClassName] | None = Field(
        None,
        min_length=1,
        description="class names in the order of their ids; null: all classes in the labels of the"
        " train images",
    )
    keep_negatives: bool = Field(
        False,
        description="train images without any class take part, as images that show only "
        "background; false: they are an error, and COCO's are left out",
    )
    train_masks: str | None = Field(
        None,
        description="folder of the devkit with masks of the train images; null: VOC's and SBD's",
    )
    bits: Annotated[int, Field(ge=8, le=16)] | None = Field(
        None,
        description="significant bits a channel of images in 16-bit files, as 12 of a camera's;"
        " null: all 16",
    )
    mask_values: MaskValues | None = Field(
        None,
        description="what the values of grey and palette masks mean: background, void or a class"
        " by value; null: the class ids",
    )
    mask_colours: MaskColours = Field(
        None,
        description="what the colours of masks mean: a colour [r, g, b] by background, void or"
        " class, or a labelmap.txt as CVAT writes it; null: VOC's colours, or the labelmap.txt"
        " beside the masks",
    )
    shuffle_tags: bool = Field(
        False,
        description="control experiment: permute the label vectors of the train images at random",
    )
    seed: Seed = Field(0, description="random seed of shuffle_tags")

    @property
    def layouts(self) -> dict[str, Layout]:
        """The layout that is read instead of a devkit, by its key; empty for a devkit."""
        return {key: value for key, value in self if isinstance(value, Layout)}

    @property
    def label_files(self) -> list[str]:
        """Where the label file of a published system may be, relative to run.data."""
        name = {"cls_labels": "cls_labels.npy", "train_cls": "train_cls.txt"}.get(self.label_source)
        folders = (f"{self.devkit}/ImageSets", f"{self.devkit}/ImageSets/Segmentation")
        return [f"{folder}/{name}" for folder in folders] if name and not self.layouts else []

    @property
    def labelmaps(self) -> list[str]:
        """Where a labelmap.txt is read without being named, relative to run.data."""
        if self.mask_values or self.mask_colours:
            return []
        if self.folder and self.folder.masks:
            masks = PurePosixPath(self.folder.masks)
            return [str(masks / LABELMAP), str(masks.parent / LABELMAP)]
        return [] if self.layouts else [f"{self.devkit}/{LABELMAP}"]

    @model_validator(mode="after")
    def _layout_supports_the_labels(self) -> "ConvertSettings":
        keys = list(self.layouts)
        if len(keys) > 1:
            raise ValueError(f"{keys[1]}: cannot be combined with {keys[0]}; give one of them")
        if keys and self.label_source != "annotations":
            raise ValueError(f"label_source: {self.label_source} needs a devkit")
        return self

    @model_validator(mode="after")
    def _masks_hold_values_or_colours(self) -> "ConvertSettings":
        if self.mask_values and self.mask_colours:
            raise ValueError("mask_colours: cannot be combined with mask_values; give one of them")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "ConvertSettings":
        lists = [name for name in (self.train_list, self.val_list, self.test_list) if name]
        if len(set(lists)) < len(lists):
            raise ValueError("train_list: train_list, val_list and test_list must differ")
        if len(set(self.classes or ())) < len(self.classes or ()):
            raise ValueError("classes: a class is named twice")
        return self
