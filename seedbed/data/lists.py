"""Lists of images, as VOC and DSRG have them, and shards of a list."""

import re
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TypeVar

from seedbed.data.file_names import image_id_of
from seedbed.data.text import MAX_LENGTH, compose
from seedbed.runtime.errors import UserError

Item = TypeVar("Item")

SUFFIX = re.compile(r"\.\w{3,5}(?=\s)")
IMAGE_ID = re.compile(r"(?!\.)[^\s/\\\x00-\x1f\x7f]+")


def read_lines(path: Path) -> list[str]:
    """The lines of a list, stripped, in NFC, without blank ones.

    Raises UserError if it cannot be read, is not UTF-8 or has a very long line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read the list {path}: {error}; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read the list {path}: {error}; put it there") from error
    lines = [line.strip() for line in lines if line.strip()]
    if (longest := max(map(len, lines), default=0)) > MAX_LENGTH:
        raise UserError(f"the list {path} has a line of {longest} characters: write one per image")
    return [compose(line) for line in lines]


def read_list(path: Path) -> list[str]:
    """The ids of an image list, one per line, in order.

    Raises:
        UserError: if the list is empty, has an id twice, or an id that is not a plain file name.

    """
    ids = read_lines(path)
    for image_id in ids:
        if not IMAGE_ID.fullmatch(image_id):
            raise UserError(
                f"{image_id!r} in {path} is not an image id: write one file stem per line"
            )
    if not ids:
        raise UserError(f"the list {path} is empty: write one image id per line")
    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise UserError(f"{twice} is in {path} twice: take one of them out")
    return ids


def image_id_in(line: str, ids: Container[str]) -> str:
    """The image that a line of a list of images or of masks names, with or without a path.

    The line is "id", "id.jpg" or, as in SPSM's lists, "/JPEGImages/id.jpg /proxy/id.png"; ids may
    contain blanks. Where none of `ids` is named, the first word's is returned.
    """
    candidates = [line, *(line[: match.end()] for match in SUFFIX.finditer(line)), line.split()[0]]
    named = [image_id_of(candidate) for candidate in candidates]
    return next((image_id for image_id in named if image_id in ids), named[-1])


def image_numbers(train: Sequence[str], input_list: Path | None) -> dict[str, int]:
    """The number of each train image in DSRG's files.

    Args:
        train: ids of the train images.
        input_list: DSRG's input_list.txt with lines "id.jpg k", which may list other images too;
            without it, images are numbered in the order of `train`.

    Raises:
        UserError: if a line has another format, a train image is not listed, or an image or a
            number occurs twice.

    """
    if input_list is None:
        return {image_id: k for k, image_id in enumerate(train)}
    listed: dict[str, int] = {}
    for line in read_lines(input_list):
        match = re.fullmatch(r"(.*\S)\s+([0-9]{1,9})", line)
        if not match:
            raise UserError(f"line {line!r} of {input_list} is not 'id.jpg k': correct it")
        image_id, number = image_id_of(match[1]), int(match[2])
        if image_id in listed:
            raise UserError(f"{image_id} is in {input_list} twice: take one of them out")
        listed[image_id] = number
    if len(set(listed.values())) < len(listed):
        number, _ = Counter(listed.values()).most_common(1)[0]
        raise UserError(f"number {number} is in {input_list} twice: give the list as published")
    for image_id in train:
        if image_id not in listed:
            raise UserError(f"train image {image_id} is not in {input_list}: give the whole list")
    return {image_id: listed[image_id] for image_id in train}


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """The items of shard "k-of-n": every n-th one, starting with the k-th (k counts from 1)."""
    match = re.fullmatch(r"([0-9]+)-of-([0-9]+)", shard)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"shard {shard!r} is none: write it as 3-of-16, from 1-of-16 to 16-of-16")
    return list(items[number - 1 :: count])
