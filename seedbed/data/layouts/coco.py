"""COCO's instance annotations as a source: image-level labels, and masks to score against."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from seedbed.data.classes import VOID
from seedbed.data.layouts.coco_file import Instance, Instances, Key, Photo, read_instances
from seedbed.data.layouts.regions import region_of
from seedbed.data.source import Complain, Source, is_image_id, nfc, own_classes, some
from seedbed.runtime.errors import UserError


@dataclass(frozen=True)
class Listed:
    """An image of a file with the objects on it and their classes."""

    photo: Photo
    path: Path
    file: Path
    split: str
    objects: list[tuple[str, Instance]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """Names of its classes, crowds included."""
        return {name for name, _ in self.objects}


def coco_source(
    instances: Path,
    images: Path,
    val_instances: Path | None = None,
    val_images: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    complain: Complain,
) -> Source:
    """Read the instances of the train images and, if there are any, of the val images.

    `classes` names the classes in order, else they are those of the train images, in the order of
    the file's categories; ids of images are file stems. Train images without a class are left out.
    Raises UserError for a file that cannot be read; whatever is wrong in it is complained about.
    """
    content = read_instances(instances)
    listed = list_images(content, instances, images, "train", complain)
    if val_instances:
        held_out = read_instances(val_instances)
        found = list_images(held_out, val_instances, val_images or images, "val", complain)
        for image_id in listed.keys() & found.keys():
            complain(f"image {image_id} is in {instances} and in {val_instances}: take one out")
        listed |= found
    used = set().union(*(one.names for one in listed.values() if one.split == "train"))
    names = list(classes or (info.name for info in content.categories if info.name in used))
    numbered = own_classes(names)
    ids = {name: k for k, name in enumerate(names, 1)}
    labels = {
        image_id: tuple(sorted(ids[name] for name in one.names if name in ids))
        for image_id, one in listed.items()
    }
    empty = {one for one in listed if listed[one].split == "train" and not labels[one]}
    kept = {image_id: one for image_id, one in listed.items() if image_id not in empty}
    others = set().union(*(one.names for one in listed.values())) - set(names)

    def mask(image_id: str, size: tuple[int, int]) -> np.ndarray | None:
        return paint(kept[image_id], ids, size)

    return Source(
        splits={image_id: one.split for image_id, one in kept.items()},
        images={image_id: one.path for image_id, one in kept.items()},
        table=numbered,
        labels={image_id: labels[image_id] for image_id in kept},
        mask=mask,
        label_source=instances.name,
        notes=(
            *some(f"train images of {instances} have no class and are left out", empty),
            *some("categories are none of the classes: void in masks", others),
        ),
    )


def list_images(
    content: Instances, file: Path, folder: Path, split: str, complain: Complain
) -> dict[str, Listed]:
    """Give the images of a file by id, with their objects."""
    listed: dict[str, Listed] = {}
    by_key: dict[Key, Listed] = {}
    for photo in content.images:
        name = PurePosixPath(photo.file_name)
        image_id = nfc(name.stem)
        if not is_image_id(image_id) or name.is_absolute() or ".." in name.parts:
            complain(f"{photo.file_name!r} in {file} is no name of a file in {folder}: mend it")
        elif image_id in listed or photo.id in by_key:
            complain(f"image {image_id}, number {photo.id}, stands twice in {file}: take one out")
        else:
            listed[image_id] = by_key[photo.id] = Listed(photo, folder / name, file, split)
    names = {info.id: info.name for info in content.categories}
    for number, instance in enumerate(content.annotations):
        if instance.image_id not in by_key or instance.category_id not in names:
            complain(
                f"annotations.{number} of {file} is of image {instance.image_id} and category "
                f"{instance.category_id}, which are not both in the file: mend it"
            )
        else:
            by_key[instance.image_id].objects.append((names[instance.category_id], instance))
    return listed


def paint(one: Listed, ids: dict[str, int], size: tuple[int, int]) -> np.ndarray | None:
    """Paint a mask (H, W) of class ids; None if an object of a train image has no segmentation.

    Smaller objects lie on larger ones and all on crowds, which are void, as is any other class.
    """
    stated = (one.photo.height or size[0], one.photo.width or size[1])
    if stated != size:
        raise UserError(f"image {one.path} is {size}, and {stated} in {one.file}: mend either")
    whole = all(instance.segmentation for _, instance in one.objects)
    if not whole and one.split == "val":
        raise UserError(
            f"val image {one.path.name} has an object without segmentation in {one.file}: add it"
        )
    if not whole:
        return None
    layers = []
    for name, instance in one.objects:
        try:
            region = region_of(instance.segmentation, size)
        except ValueError as error:
            raise UserError(f"{one.path.name} in {one.file}: {error}; mend it") from None
        value = VOID if instance.iscrowd else ids.get(name, VOID)
        packed = np.packbits(region)  # a few lines of a file can be many regions of a large image
        layers.append((not instance.iscrowd, -np.count_nonzero(region), value, packed))
    mask = np.zeros(size, dtype=np.uint8)
    for _, _, value, packed in sorted(layers, key=lambda layer: layer[:2]):
        mask[np.unpackbits(packed, count=mask.size).reshape(size).view(bool)] = value
    return mask
