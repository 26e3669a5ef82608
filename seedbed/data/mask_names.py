"""A user's own values and colours of masks, by the names of classes; and CVAT's labelmap.txt."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedbed.data.lists import read_lines
from seedbed.data.text import count_with_examples, plain_name
from seedbed.formats.mask_coding import MaskCoding
from seedbed.formats.mask_files import Colour
from seedbed.formats.palette import VOID
from seedbed.runtime.errors import UserError

ENTRY = re.compile(r"(.+?)\s*:\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(:.*)?")


@dataclass(frozen=True)
class MaskNames:
    """What masks hold, in the words of a config; at most one of the attributes is given.

    A name is "background", "void" or a class.

    Attributes:
        values: the name of each value.
        colours: the colour of each name.
        labelmap: a file that holds the colours; names in it that are no classes are void.

    """

    values: Mapping[int, str] | None = None
    colours: Mapping[str, Colour] | None = None
    labelmap: Path | None = None

    def coding(self, names: Sequence[str]) -> MaskCoding | None:
        """The meaning as class ids, which are 1, 2, … for `names` in order; None if none is given.

        Raises:
            UserError: if a name is unknown, or a colour stands for two; if the labelmap cannot be
                read, or lacks a class.

        """
        ids = {"background": 0, "void": VOID} | {plain_name(n): k for k, n in enumerate(names, 1)}
        if self.values:
            key = "convert.mask_values"
            return MaskCoding(
                values={value: _id_of(name, ids, key) for value, name in self.values.items()}
            )
        if self.colours:
            key = "convert.mask_colours"
            named = {name: _id_of(name, ids, key) for name in self.colours}
            return MaskCoding.of_colours(_by_colour(self.colours, named, key))
        if self.labelmap:
            colours = read_labelmap(self.labelmap)
            for name in names:
                if plain_name(name) not in colours:
                    raise UserError(f"{self.labelmap} has no colour of {name!r}: add a line for it")
            named = {name: ids.get(name, VOID) for name in colours}
            return MaskCoding.of_colours(_by_colour(colours, named, str(self.labelmap)))
        return None

    def notes(self, names: Sequence[str]) -> list[str]:
        """Remarks that a check of the data set prints."""
        if not self.labelmap:
            return []
        known = {"background", "void", *map(plain_name, names)}
        return [
            f"what the colours of masks mean is read from {self.labelmap}",
            *count_with_examples(
                f"names in {self.labelmap} are no classes: void in masks",
                set(read_labelmap(self.labelmap)) - known,
            ),
        ]


NO_NAMES = MaskNames()


def read_labelmap(path: Path) -> dict[str, Colour]:
    """The colours of a labelmap.txt as CVAT writes it, by name.

    Lines are `name:r,g,b:parts:actions`, of which parts and actions are ignored, as are comments
    that begin with #. Raises UserError for any other line.
    """
    colours: dict[str, Colour] = {}
    for line in read_lines(path):
        if line.startswith("#"):
            continue
        match = ENTRY.fullmatch(line)
        colour = tuple(map(int, match.groups()[1:4])) if match else ()
        if not match or max(colour) > 255:
            raise UserError(f"line {line!r} of {path} is not name:r,g,b:parts:actions: correct it")
        name = plain_name(match[1].strip())
        name = "background" if name.casefold() == "background" else name
        if name in colours:
            raise UserError(f"{path} has {name!r} twice: take one of the lines out")
        colours[name] = colour
    return colours


def _id_of(name: str, ids: Mapping[str, int], key: str) -> int:
    if plain_name(name) not in ids:
        raise UserError(
            f"{key} names {name!r}, which is not background, void or one of the classes "
            f"({', '.join(list(ids)[2:7])}{', …' if len(ids) > 7 else ''}): correct it"
        )
    return ids[plain_name(name)]


def _by_colour(
    colours: Mapping[str, Colour], ids: Mapping[str, int], place: str
) -> dict[Colour, int]:
    by_colour: dict[Colour, int] = {}
    for name, colour in colours.items():
        if by_colour.setdefault(tuple(colour), ids[name]) != ids[name]:
            raise UserError(f"{place} has the colour {tuple(colour)} twice: give each its own")
    return by_colour
