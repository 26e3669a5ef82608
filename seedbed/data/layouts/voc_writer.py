"""Writes PASCAL VOC's annotations and image lists."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from seedbed.formats.tables import write_text


@dataclass(frozen=True)
class VocObject:
    """An object of an annotation.

    Attributes:
        name: its class.
        box: first column and row, last column and row, in pixels counted from 1; None: only the
            class is written.
        truncated: whether the image cuts it off; written with the box.

    """

    name: str
    box: tuple[int, int, int, int] | None = None
    truncated: bool = False


def write_annotation(path: Path, size: tuple[int, int], objects: Iterable[VocObject]) -> None:
    """Write the annotation `ID.xml` of the RGB image `ID.jpg`, whose size is (width, height)."""
    root = ElementTree.Element("annotation")
    _add(root, folder="VOC2012", filename=f"{path.stem}.jpg")
    width, height = size
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for found in objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, name=found.name)
        if found.box is not None:
            _add(element, pose="Unspecified", truncated=int(found.truncated), difficult=0)
            sides = zip(("xmin", "ymin", "xmax", "ymax"), found.box, strict=True)
            _add(ElementTree.SubElement(element, "bndbox"), **dict(sides))
    ElementTree.indent(root, "\t")
    write_text(path, ElementTree.tostring(root, encoding="unicode") + "\n")


def _add(parent: ElementTree.Element, **leaves: object) -> None:
    for name, value in leaves.items():
        ElementTree.SubElement(parent, name).text = str(value)


def write_list(path: Path, ids: Iterable[str]) -> None:
    """Write a list of images, one id a line."""
    write_text(path, "".join(f"{image_id}\n" for image_id in ids))
