"""What the masks of a data set hold together: remarks, and what cannot be right."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from seedbed.data.text import count_with_examples
from seedbed.formats.mask_coding import BLACK, VOC_IDS, MaskForm
from seedbed.formats.mask_files import Colour
from seedbed.formats.palette import VOID

MAX_SHOWN = 12  # values or colours in a line
WORDS = {"grey": "values", "palette": "indices", "RGB": "colours"}


def palette_problems(forms: Collection[MaskForm]) -> list[str]:
    """What is wrong with the palettes of masks."""
    return [*palettes_that_differ(forms), *palettes_read_in_two_ways(forms)]


def mask_lines(forms: Iterable[MaskForm]) -> Iterator[str]:
    """What mask files hold, a line for each kind of file."""
    forms = list(forms)
    for kind, word in WORDS.items():
        same = [form for form in forms if form.kind == kind]
        if not same:
            continue
        seen = {pair for form in same for pair in form.colours.items()}
        found = sorted({colour if kind == "RGB" else value for value, colour in seen})
        yield f"masks: {len(same)} {kind} with the {word} {listed(found)}"


def mask_notes(forms: Iterable[MaskForm]) -> list[str]:
    """Remarks on masks that are read in an unusual way or may be wrong."""
    return count_with_examples(
        "palette masks are read by their colours, which stand at other indices",
        (form.path.name for form in forms if form.read_by_colour),
    )


def only_void(forms: Iterable[MaskForm], example: str) -> list[str]:
    """A problem if masks hold void and no class: usually the value of a class was taken for void.

    `example` is the name of a class, for the remedy.
    """
    void = [form for form in forms if VOID in form.ids.values()]
    if not void or any(set(form.ids.values()) - {0, VOID} for form in forms):
        return []
    form = min(void, key=lambda form: form.path)
    value = next(value for value, k in form.ids.items() if k == VOID)
    what = form.colours[value] if form.kind == "RGB" else value
    return [
        f"{form.path} and all masks beside it hold {what}, which is void, and no class: say "
        f"which values are classes, as in convert.mask_values: {{0: background, 255: {example}}}"
    ]


def palettes_that_differ(forms: Iterable[MaskForm]) -> list[str]:
    """A problem if an index has several colours: a program has saved each mask's palette anew."""
    first: dict[int, MaskForm] = {}
    for form in sorted((form for form in forms if form.by_index), key=lambda form: form.path):
        for index, colour in form.colours.items():
            if not _is_telling(index, colour):
                continue
            other = first.setdefault(index, form)
            if other.colours[index] != colour:
                return [
                    f"the palettes of masks differ: index {index} is {colour} in {form.path} and "
                    f"{other.colours[index]} in {other.path}; name the colours in "
                    "convert.mask_colours"
                ]
    return []


def palettes_read_in_two_ways(forms: Iterable[MaskForm]) -> list[str]:
    """A problem if colours decide in one palette of a folder, and only indices can in another."""
    for same in of_each_folder(forms):
        by_colour = next((form for form in same if form.read_by_colour), None)
        by_index = next((form for form in same if form.by_index and _has_own_colours(form)), None)
        if by_colour and by_index:
            return [
                f"mask {by_colour.path} is read by the colours of its palette, which stand at other"
                f" indices, and {by_index.path} by its indices, as its colours are not those of "
                "the classes: name the colours in convert.mask_colours, or save the masks as 8-bit "
                "grey"
            ]
    return []


def of_each_folder(forms: Iterable[MaskForm]) -> Iterator[list[MaskForm]]:
    """The masks of one folder after the other, both in alphabetical order."""
    ordered = sorted(forms, key=lambda form: (form.path.parent, form.path))
    for _, same in groupby(ordered, key=lambda form: form.path.parent):
        yield list(same)


def _has_own_colours(form: MaskForm) -> bool:
    """Whether a palette has a colour that VOC does not have at that index."""
    return any(
        VOC_IDS.get(colour) != index and _is_telling(index, colour)
        for index, colour in form.colours.items()
    )


def _is_telling(index: int, colour: Colour) -> bool:
    """Whether the colour of an index can identify a class.

    Behind index 0, black fills up palettes, and a level that is the index stands for no colour.
    """
    return index == 0 or (index != VOID and colour not in (BLACK, (index,) * 3))


def listed(values: Iterable[object]) -> str:
    """The first values in order, separated by commas."""
    words = [*map(str, values)]
    return f"{', '.join(words[:MAX_SHOWN])}{', …' * (len(words) > MAX_SHOWN)}"
