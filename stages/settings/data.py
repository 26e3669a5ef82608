"""The data set: made up, or read from disk."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from stages.settings.base import Block, Count, Seed


class MiniSettings(Block):
    """The made-up data set of the default run. Its random seed is part of its folder's name."""

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
    """A folder of images and a table of their labels. Paths are relative to run.data."""

    files: ClassVar[tuple[str, ...]] = ("labels",)

    images: str = Field(description="folder of the images")
    labels: str = Field(description="CSV file with the columns image, labels and perhaps split")
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
        description="where image-level labels come from: the XML annotations, PSA's cls_labels.npy,"
        " Group-WSSS' train_cls.txt, or the cue file named by seeds.cues",
    )
    classes: list[str] | None = Field(
        None,
        min_length=1,
        description="class names in the order of their ids; null: all classes in the labels of the"
        " train images",
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
    shuffle_tags: bool = Field(
        False,
        description="control experiment: permute the label vectors of the train images at random",
    )
    seed: Seed = Field(0, description="random seed of shuffle_tags")

    @property
    def layouts(self) -> dict[str, Layout]:
        """The layout that is read instead of a devkit, by its key; empty for a devkit."""
        return {key: value for key, value in self if isinstance(value, Layout)}

    @model_validator(mode="after")
    def _layout_supports_the_labels(self) -> "ConvertSettings":
        keys = list(self.layouts)
        if len(keys) > 1:
            raise ValueError(f"{keys[1]}: cannot be combined with {keys[0]}; give one of them")
        if keys and self.label_source != "annotations":
            raise ValueError(f"label_source: {self.label_source} needs a devkit")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "ConvertSettings":
        lists = [name for name in (self.train_list, self.val_list, self.test_list) if name]
        if len(set(lists)) < len(lists):
            raise ValueError("train_list: train_list, val_list and test_list must differ")
        if len(set(self.classes or ())) < len(self.classes or ()):
            raise ValueError("classes: a class is named twice")
        return self
