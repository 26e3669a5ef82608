"""COCO's instance annotations as a source of image-level labels and of masks for evaluation."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from seedbed.data.classes import ClassTable
from seedbed.data.layouts.coco_file import Instances, read_instances
from seedbed.data.layouts.coco_images import AnnotatedImage, AnnotationFile, read_images
from seedbed.data.layouts.coco_masks import draw_mask
from seedbed.data.mask_names import NO_NAMES, MaskNames
from seedbed.data.source import OnProblem, Source
from seedbed.data.text import count_with_examples
from seedbed.runtime.errors import UserError


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

    Image ids are file stems, or for files of equal stems their folders and stems. UserError if a
    file is unreadable, or no train image has a class.

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
    files = [AnnotationFile(read_instances(instances), instances, images, "train")]
    if val_instances:
        val = read_instances(val_instances)
        files.append(AnnotationFile(val, val_instances, val_images or images, "val"))
    annotated, renamed = read_images(files, on_problem)
    names = list(classes or used_classes(files[0].content, annotated))
    if not names:
        raise UserError(f"{instances} gives none of its images a class: label the images")
    table = ClassTable.own(names)
    ids = {name: k for k, name in enumerate(names, 1)}
    kept = labelled_images(annotated, ids, keep_negatives)
    return Source(
        splits={image_id: image.split for image_id, image in kept.items()},
        images={image_id: image.path for image_id, image in kept.items()},
        table=table,
        labels={image_id: image.class_ids(ids) for image_id, image in kept.items()},
        mask=lambda image_id, size: draw_mask(kept[image_id], ids, size),
        label_source=instances.name,
        mask_coding=mask_names.coding(names),
        notes=notes_on(annotated, kept, renamed, names, instances),
    )


def labelled_images(
    annotated: Mapping[str, AnnotatedImage], ids: Mapping[str, int], keep_negatives: bool
) -> dict[str, AnnotatedImage]:
    """The images but, unless `keep_negatives`, train images without any of the classes."""
    return {
        i: image
        for i, image in annotated.items()
        if keep_negatives or image.split == "val" or image.class_ids(ids)
    }


def notes_on(
    annotated: Mapping[str, AnnotatedImage],
    kept: Mapping[str, AnnotatedImage],
    renamed: Collection[str],
    names: Sequence[str],
    instances: Path,
) -> tuple[str, ...]:
    """What is worth knowing: images left out or renamed, and categories that are no classes."""
    empty = annotated.keys() - kept.keys()
    others = set().union(*(image.names for image in annotated.values())) - set(names)
    return (
        *count_with_examples(f"train images of {instances} have no class: left out", empty),
        *count_with_examples("images have the names of others, and ids with folders", renamed),
        *count_with_examples("categories are none of the classes: void in masks", others),
    )


def used_classes(content: Instances, annotated: Mapping[str, AnnotatedImage]) -> list[str]:
    """The categories that train images have, in the order of the file; equal names are one."""
    used = set().union(*(image.names for image in annotated.values() if image.split == "train"))
    return list(dict.fromkeys(info.name for info in content.categories if info.name in used))
