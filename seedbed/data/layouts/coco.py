"""COCO's instance annotations as a source of image-level labels and of masks for evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from seedbed.data.classes import ClassTable
from seedbed.data.file_names import path_finder
from seedbed.data.layouts.coco_file import Instance, Instances, Key, Photo, read_instances
from seedbed.data.layouts.regions import region_of
from seedbed.data.mask_names import NO_NAMES, MaskNames
from seedbed.data.source import OnProblem, Source
from seedbed.data.text import compose, count_with_examples, is_image_id
from seedbed.formats.masks import VOID
from seedbed.runtime.errors import UserError


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of an annotation file, with the objects on it and their class names."""

    photo: Photo
    path: Path
    file: Path
    split: str
    objects: list[tuple[str, Instance]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """Names of the image's classes, including those of crowds."""
        return {name for name, _ in self.objects}

    def class_ids(self, ids: Mapping[str, int]) -> tuple[int, ...]:
        """The image's sorted class ids; `ids` are those of the chosen class names."""
        return tuple(sorted(ids[name] for name in self.names if name in ids))


def coco_source(
    instances: Path,
    images: Path,
    val_instances: Path | None = None,
    val_images: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    keep_negatives: bool,
    mask_names: MaskNames = NO_NAMES,
    on_problem: OnProblem,
) -> Source:
    """Read the annotations of the train images and, if given, of the val images.

    Image ids are file stems. UserError if a file is unreadable.

    Args:
        instances: the annotation file of the train images.
        images: their folder.
        val_instances: the annotation file of the val images.
        val_images: their folder; default: `images`.
        classes: the names of the classes in order; default: those of the train images, in the
            order of the file's categories.
        keep_negatives: whether train images without a class are kept, as images that show only
            background; otherwise they are left out.
        mask_names: what masks hold that are given from outside; the file's own are drawn.
        on_problem: called for every problem within a file.

    """
    content = read_instances(instances)
    annotated = list_images(content, instances, images, "train", on_problem)
    if val_instances:
        val_content = read_instances(val_instances)
        val = list_images(val_content, val_instances, val_images or images, "val", on_problem)
        report_duplicates(annotated, val, on_problem)
        annotated |= val
    names = list(classes or used_classes(content, annotated))
    table = ClassTable.own(names)
    ids = {name: k for k, name in enumerate(names, 1)}
    kept = {
        i: image
        for i, image in annotated.items()
        if keep_negatives or image.split == "val" or image.class_ids(ids)
    }
    empty = annotated.keys() - kept.keys()
    others = set().union(*(image.names for image in annotated.values())) - set(names)
    return Source(
        splits={image_id: image.split for image_id, image in kept.items()},
        images={image_id: image.path for image_id, image in kept.items()},
        table=table,
        labels={image_id: image.class_ids(ids) for image_id, image in kept.items()},
        mask=lambda image_id, size: draw_mask(kept[image_id], ids, size),
        label_source=instances.name,
        mask_coding=mask_names.coding(names),
        notes=(
            *count_with_examples(f"train images of {instances} have no class: left out", empty),
            *count_with_examples("categories are none of the classes: void in masks", others),
        ),
    )


def used_classes(content: Instances, annotated: Mapping[str, AnnotatedImage]) -> list[str]:
    """The categories that train images have, in the order of the file."""
    used = set().union(*(image.names for image in annotated.values() if image.split == "train"))
    return [info.name for info in content.categories if info.name in used]


def report_duplicates(
    train: Mapping[str, AnnotatedImage], val: Mapping[str, AnnotatedImage], on_problem: OnProblem
) -> None:
    """Report the images that are in both annotation files."""
    for image_id in train.keys() & val.keys():
        files = f"{train[image_id].file} and in {val[image_id].file}"
        on_problem(f"image {image_id} is in {files}: take one out")


def list_images(
    content: Instances, file: Path, folder: Path, split: str, on_problem: OnProblem
) -> dict[str, AnnotatedImage]:
    """The images of an annotation file by id, with their objects."""
    images: dict[str, AnnotatedImage] = {}
    by_key: dict[Key, AnnotatedImage] = {}
    files = path_finder(folder)
    for photo in content.images:
        name = PurePosixPath(photo.file_name)
        image_id = compose(name.stem)
        if not is_image_id(image_id) or name.is_absolute() or ".." in name.parts:
            on_problem(
                f"{photo.file_name!r} in {file} is not the name of a file in {folder}: correct it"
            )
        elif image_id in images or photo.id in by_key:
            on_problem(f"image {image_id}, number {photo.id}, is in {file} twice: take one out")
        else:
            images[image_id] = by_key[photo.id] = AnnotatedImage(photo, files(name), file, split)
    names = {info.id: info.name for info in content.categories}
    for number, instance in enumerate(content.annotations):
        if instance.image_id not in by_key or instance.category_id not in names:
            on_problem(
                f"annotations.{number} of {file} is of image {instance.image_id} and category "
                f"{instance.category_id}, which are not both in the file: correct it"
            )
        else:
            by_key[instance.image_id].objects.append((names[instance.category_id], instance))
    return images


def draw_mask(
    image: AnnotatedImage, ids: dict[str, int], size: tuple[int, int]
) -> np.ndarray | None:
    """Draw a mask (H, W) of class ids; None if an object of a train image has no segmentation.

    Smaller objects are drawn over larger ones, and all objects over crowds. Crowds and classes that
    are not in `ids` are void.

    Raises:
        UserError: if the image's size differs from the file's, a segmentation is broken, or an
            object of a val image has none.

    """
    photo = image.photo
    stated = (photo.height or size[0], photo.width or size[1])
    if stated != size:
        raise UserError(
            f"image {image.path} is {size}, and {stated} in {image.file}: correct either"
        )
    complete = all(instance.segmentation for _, instance in image.objects)
    if not complete and image.split == "val":
        raise UserError(
            f"val image {image.path.name} has an object without segmentation in {image.file}: "
            "add it"
        )
    if not complete:
        return None
    layers = []
    for name, instance in image.objects:
        try:
            region = region_of(instance.segmentation, size)
        except ValueError as error:
            raise UserError(f"{image.path.name} in {image.file}: {error}; correct it") from None
        value = VOID if instance.iscrowd else ids.get(name, VOID)
        packed = np.packbits(region)  # a short file can have many regions of a large image
        layers.append((not instance.iscrowd, -np.count_nonzero(region), value, packed))
    mask = np.zeros(size, dtype=np.uint8)
    for _, _, value, packed in sorted(layers, key=lambda layer: layer[:2]):
        mask[np.unpackbits(packed, count=mask.size).reshape(size).view(bool)] = value
    return mask
