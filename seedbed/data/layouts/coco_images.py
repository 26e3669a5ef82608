"""The images of COCO's annotation files, with their ids and their objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from seedbed.data.file_names import path_finder
from seedbed.data.layouts.coco_file import Instance, Instances, Key, Photo
from seedbed.data.layouts.coco_names import Located, find_file, image_ids, stem_of
from seedbed.data.source import OnProblem
from seedbed.data.text import is_image_id, shortened


class AnnotationFile(NamedTuple):
    """An annotation file: its content, its path, the folder of its images, and their split."""

    content: Instances
    path: Path
    folder: Path
    split: str


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


def read_images(
    files: Sequence[AnnotationFile], on_problem: OnProblem
) -> tuple[dict[str, AnnotatedImage], list[str]]:
    """The images of all annotation files by id, and the ids that have a folder's name in front."""
    located = [(file, *found) for file in files for found in _locate(file, on_problem)]
    ids = image_ids([file.folder / name for file, _, (_, name) in located])
    images: dict[str, AnnotatedImage] = {}
    renamed = []
    by_key: dict[tuple[Path, Key], AnnotatedImage] = {}
    for image_id, (file, photo, (path, name)) in zip(ids, located, strict=True):
        if image_id in images or (file.path, photo.id) in by_key:
            other = images.get(image_id)
            places = f"in {file.path} twice"
            if other and other.file != file.path:
                places = f"in {other.file} and in {file.path}"
            on_problem(f"image {image_id}, number {photo.id}, is {places}: take one out")
        else:
            image = AnnotatedImage(photo, path, file.path, file.split)
            images[image_id] = by_key[file.path, photo.id] = image
            if image_id != stem_of(name):
                renamed.append(image_id)
    for file in files:
        _add_objects(file, by_key, on_problem)
    _report_copies({image_id: images[image_id].path for image_id in renamed}, on_problem)
    return images, renamed


def _report_copies(paths: Mapping[str, Path], on_problem: OnProblem) -> None:
    """Report files of equal names that have equal content too."""
    first: dict[tuple[str, bytes], str] = {}
    for image_id, path in paths.items():
        if path.is_file():
            other = first.setdefault((path.name, sha256(path.read_bytes()).digest()), image_id)
            if other != image_id:
                on_problem(f"{paths[other]} and {path} are the same image: take one out")


def _locate(file: AnnotationFile, on_problem: OnProblem) -> list[tuple[Photo, Located]]:
    """The images of an annotation file and their files."""
    find = path_finder(file.folder)
    located = []
    for photo in file.content.images:
        found = find_file(photo.file_name, find)
        if found and is_image_id(stem_of(found.name)):
            located.append((photo, found))
        else:
            on_problem(
                f"{shortened(photo.file_name)!r} in {file.path} is not the name of a file in "
                f"{file.folder}: correct it"
            )
    return located


def _add_objects(
    file: AnnotationFile, by_key: Mapping[tuple[Path, Key], AnnotatedImage], on_problem: OnProblem
) -> None:
    """Add the objects of an annotation file to its images."""
    names = {info.id: info.name for info in file.content.categories}
    for number, instance in enumerate(file.content.annotations):
        image = by_key.get((file.path, instance.image_id))
        if image is None or instance.category_id not in names:
            on_problem(
                f"annotations.{number} of {file.path} is of image {instance.image_id!r} and "
                f"category {instance.category_id!r}, which are not both in the file: correct it"
            )
        else:
            image.objects.append((names[instance.category_id], instance))
