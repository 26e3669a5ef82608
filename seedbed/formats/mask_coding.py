"""What the values and colours in mask files mean: which is background, void, or which class.

Class ids here are the data set's own (see `seedbed.data.classes`): 0 background, 255 void.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from seedbed.formats.mask_files import Colour, MaskFile, read_mask_file
from seedbed.formats.palette import VOC_PALETTE, VOID
from seedbed.runtime.errors import UserError

T = TypeVar("T", int, Colour)

BLACK = (0, 0, 0)
VOC_IDS = {tuple(colour): k for k, colour in enumerate(VOC_PALETTE.tolist())}


@dataclass(frozen=True)
class MaskCoding:
    """A user's own values or colours, of which one is given.

    Attributes:
        values: the class id of each value of a grey or palette mask. Void is 255 or, where that
            has another id, the next lower free value, unless it is named.
        colours: the class id of each colour, of masks of any kind.

    """

    values: Mapping[int, int] | None = None
    colours: Mapping[Colour, int] | None = None

    @classmethod
    def of_colours(cls, colours: Mapping[Colour, int]) -> "MaskCoding":
        """Own colours; background is black and void VOC's colour unless they are named."""
        named = dict(colours)
        if 0 not in named.values():
            named.setdefault(BLACK, 0)
        if VOID not in named.values():
            named[next(c for c in reversed(VOC_IDS) if c not in named)] = VOID
        return cls(colours=named)

    @property
    def value_of(self) -> np.ndarray:
        """The value of each class id, (256,) uint16; of several the first, of none a free one."""
        return np.array(_inverse(self.values_and_void, range(1 << 16)), dtype=np.uint16)

    @property
    def values_and_void(self) -> Mapping[int, int]:
        """`values` with a value of void."""
        if VOID in self.values.values():
            return self.values
        free = next(value for value in range(VOID, -1, -1) if value not in self.values)
        return {**self.values, free: VOID}

    @property
    def colour_of(self) -> np.ndarray:
        """The colour of each class id, (256, 3) uint8; one of VOC's that is free if it has none."""
        return np.array(_inverse(self.colours, VOC_IDS), dtype=np.uint8)

    def to_json(self) -> dict[str, list]:
        """The coding in JSON's types: a list [value, id] or [r, g, b, id] for each entry."""
        return {
            "values": [[value, k] for value, k in (self.values or {}).items()],
            "colours": [[*colour, k] for colour, k in (self.colours or {}).items()],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, list]) -> "MaskCoding":
        """Undo `to_json`; raises KeyError, TypeError or ValueError for anything else."""
        values = {int(value): int(k) for value, k in content["values"]}
        colours = {(int(r), int(g), int(b)): int(k) for r, g, b, k in content["colours"]}
        return cls(values or None, colours or None)


@dataclass(frozen=True)
class MaskForm:
    """What a mask file holds and how it was read.

    Attributes:
        path: the file.
        kind: "grey", "palette" or "RGB".
        colours: the colour of each value that occurs; values are ascending.
        ids: the class id of each value that occurs.
        by_index: whether the indices of a palette decided, without a user's coding.
        read_by_colour: whether ids come from the palette's colours, because VOC's colours, or grey
            levels, stand at other indices.

    """

    path: Path
    kind: str
    colours: Mapping[int, Colour]
    ids: Mapping[int, int]
    by_index: bool = False
    read_by_colour: bool = False


@dataclass(frozen=True)
class MaskReader:
    """Reads mask files as class ids.

    Attributes:
        count: the number of classes; ids are 1 to `count`.
        is_voc: whether the classes are VOC's, so that its colours can mean nothing else.
        coding: the user's own values or colours; without one, values are class ids, and colours
            VOC's.

    """

    count: int
    is_voc: bool = False
    coding: MaskCoding | None = None

    def read(self, path: Path) -> tuple[np.ndarray, MaskForm]:
        """A mask (H, W) uint8 of class ids, which may be higher than `count`, and its form.

        Raises:
            UserError: if the file cannot be read, or has a value or a colour without a meaning.

        """
        file = read_mask_file(path)
        values = _distinct(file.values)
        form = self._form(file, dict(zip(values, file.colours_of(values), strict=True)))
        if all(value == k for value, k in form.ids.items()):
            return file.values.astype(np.uint8, copy=False), form
        table = np.zeros(values[-1] + 1, dtype=np.uint8)
        table[values] = list(form.ids.values())
        return table.take(file.values), form

    def _form(self, file: MaskFile, colours: dict[int, Colour]) -> MaskForm:
        if self.coding and self.coding.colours:
            ids = _by_colour(file.path, colours, self.coding.colours, "convert.mask_colours")
        elif self.coding:
            ids = _by_own_value(file, colours, self.coding)
        elif file.kind == "palette":
            return self._of_palette(file, colours)
        elif file.kind == "RGB":
            ids = _by_voc_colour_or_level(file.path, colours)
        else:
            ids = _by_value(file.path, colours)
        return MaskForm(file.path, file.kind, colours, ids)

    def _of_palette(self, file: MaskFile, colours: dict[int, Colour]) -> MaskForm:
        """Indices are ids, unless the colours are VOC's and stand at other indices.

        Programs that save a palette anew leave out unused entries or sort the others. Colours of
        own classes count even where they do not occur, so that all masks with a palette are read
        alike.

        Raises UserError if some colours stand elsewhere and the others are not VOC's.
        """
        known = {*range(self.count + 1), VOID}
        stored = colours
        if not self.is_voc and known.issuperset(colours):
            stored = _stored_colours(file, colours, self.count)
        by_colour = _voc_ids_by_index(stored, file.palette)
        if known.issuperset(by_colour.values()):
            ids = {i: by_colour[i] for i in colours}
            moved = any(k != i for i, k in ids.items())
            return MaskForm(
                file.path, file.kind, colours, ids, by_index=not moved, read_by_colour=moved
            )
        if _are_levels(colours):
            return self._of_grey_palette(file, colours, known)
        elsewhere = [i for i, k in by_colour.items() if k != i and k in known]
        if not self.is_voc:  # own colours may be VOC's by chance, but black is background
            elsewhere = [i for i in elsewhere if by_colour[i] == 0 and i != VOID]
        if elsewhere:
            raise UserError(
                f"mask {file.path} has the colour {stored[elsewhere[0]]} of VOC's "
                f"{by_colour[elsewhere[0]]} at index {elsewhere[0]} of its palette, and colours "
                "that are not VOC's: name the colours in convert.mask_colours, or the indices in "
                "convert.mask_values"
            )
        return MaskForm(file.path, file.kind, colours, {i: i for i in colours}, by_index=True)

    def _of_grey_palette(
        self, file: MaskFile, colours: dict[int, Colour], known: set[int]
    ) -> MaskForm:
        """Indices are ids, unless only the levels can be, as programs saved a grey mask anew.

        Raises UserError if indices and levels differ and both can be ids.
        """
        fill = not file.palette[0].any()  # what black entries behind a black one are
        levels = {i: i if fill and c == BLACK else c[0] for i, c in colours.items()}
        by_index = MaskForm(file.path, file.kind, colours, {i: i for i in colours}, by_index=True)
        if not set(levels.values()) <= known:
            return by_index
        if not set(colours) <= known:
            return MaskForm(file.path, file.kind, colours, levels, read_by_colour=True)
        if any(level != i for i, level in levels.items()):
            raise UserError(
                f"mask {file.path} has the levels {sorted(levels.values())} at the indices "
                f"{sorted(colours)} of its palette, and both are classes: save it as 8-bit grey, "
                "or name the values in convert.mask_values"
            )
        return by_index


def _inverse(meaning: Mapping[T, int], all_codes: Iterable[T]) -> list[T]:
    """The value or colour of each class id, 0 to 255; ids without one get one that means no id."""
    named = {k: code for code, k in reversed(meaning.items())}
    free = (code for code in all_codes if code not in meaning)
    return [named[k] if k in named else next(free) for k in range(256)]


def _distinct(values: np.ndarray) -> list[int]:
    """The values that occur, ascending. Sorts only those that begin a run, which are few."""
    flat = values.ravel()
    begins = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.unique(np.append(flat[begins], flat[:1])).tolist()


def _stored_colours(file: MaskFile, colours: Mapping[int, Colour], count: int) -> dict[int, Colour]:
    """The colours that occur, and those that a palette has for `count` classes and void.

    Black behind the last other colour fills up the palette.
    """
    shown = file.palette.any(axis=1)
    last = np.flatnonzero(shown[: count + 1]).max(initial=0)
    unused = [*range(last + 1), *([VOID] if shown[VOID] else [])]
    return dict(zip(unused, file.colours_of(unused), strict=True)) | dict(colours)


def _are_levels(colours: Mapping[int, Colour]) -> bool:
    """Whether colours are grey levels; black and white alone are how two indices are shown."""
    grey = all(len(set(colour)) == 1 for colour in colours.values())
    return grey and not {colour[0] for colour in colours.values()} <= {0, 255}


def _voc_ids_by_index(colours: Mapping[int, Colour], palette: np.ndarray) -> dict[int, int | None]:
    """VOC's id of the colour of each index; None for other colours.

    A colour that VOC's own index has too says nothing, and the index is the id: the entries after
    a short palette are usually filled up with black, that of void among them.
    """
    ids = {}
    for index, colour in colours.items():
        k = VOC_IDS.get(colour)
        ids[index] = index if k is not None and tuple(palette[k].tolist()) == colour else k
    return ids


def _by_value(path: Path, values: Mapping[int, object]) -> dict[int, int]:
    """Values that are ids themselves."""
    if (highest := max(values)) > VOID:
        raise UserError(
            f"mask {path} holds the value {highest}, and ids end at {VOID}: say what the values "
            "mean in convert.mask_values"
        )
    return {value: value for value in values}


def _by_voc_colour_or_level(path: Path, colours: Mapping[int, Colour]) -> dict[int, int]:
    """VOC's colours or, if some are not VOC's and all are grey, levels that are ids."""
    unknown = next((colour for colour in colours.values() if colour not in VOC_IDS), None)
    if unknown is None:
        return {value: VOC_IDS[colour] for value, colour in colours.items()}
    if all(len(set(colour)) == 1 for colour in colours.values()):
        return {value: colour[0] for value, colour in colours.items()}
    raise UserError(
        f"mask {path} has the colour {unknown}, not one of VOC's: correct the mask, or name the "
        "colours in convert.mask_colours"
    )


def _by_colour(
    path: Path, colours: Mapping[int, Colour], meaning: Mapping[Colour, int], key: str
) -> dict[int, int]:
    for colour in colours.values():
        if colour not in meaning:
            others = sum(other not in meaning for other in colours.values()) - 1
            raise UserError(
                f"mask {path} has the colour {colour}{_and_others(others)}, which is not in {key}: "
                "name it there, or correct the mask"
            )
    return {value: meaning[colour] for value, colour in colours.items()}


def _by_own_value(
    file: MaskFile, colours: Mapping[int, Colour], coding: MaskCoding
) -> dict[int, int]:
    """Own values, which are the stored ones or the levels at which they are shown.

    Programs that save a mask anew may store the levels 0 and 255 as the values 0 and 1 of one bit,
    as indices of a palette, or as RGB.
    """
    grey = all(len(set(colour)) == 1 for colour in colours.values())
    levels = {value: colour[0] for value, colour in colours.items()} if grey else None
    stored = None if file.kind == "RGB" else {value: value for value in colours}
    readings = list(filter(None, (stored, levels)))
    for meaning in (coding.values, coding.values_and_void):
        found = [
            {value: meaning[seen] for value, seen in reading.items()}
            for reading in readings
            if meaning.keys() >= set(reading.values())
        ]
        if found and found[0] != found[-1]:
            raise UserError(
                f"mask {file.path}: the values {list(colours)} are shown as the levels "
                f"{list(levels.values())}, and convert.mask_values names both: save it as 8-bit "
                "grey"
            )
        if found:
            return found[0]
    if not readings:
        raise UserError(
            f"mask {file.path} has colours, and convert.mask_values are grey levels: name them in "
            "convert.mask_colours instead"
        )
    unknown = [value for value in readings[0].values() if value not in coding.values_and_void]
    raise UserError(
        f"mask {file.path} holds the value {unknown[0]}{_and_others(len(unknown) - 1)}, which is "
        "not in convert.mask_values: name it there, or correct the mask"
    )


def _and_others(count: int) -> str:
    return f" and {count} more" if count else ""
