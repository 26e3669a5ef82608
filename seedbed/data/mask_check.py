"""What the masks of a data set hold together: remarks, and what cannot be right."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from seedbed.data.text import count_with_examples
from seedbed.formats.mask_coding import BLACK, MaskForm
from seedbed.formats.mask_files import Colour
from seedbed.formats.masks import VOID

FEW = 3  # masks that do not fit by chance
MAX_SHOWN = 12  # values or colours in a line
WORDS = {"grey": "values", "palette": "indices", "RGB": "colours"}
Value = TypeVar("Value", int, Colour)


def mask_problems(forms: Sequence[MaskForm], example: str) -> list[str]:
    """What is wrong with the masks of a folder.

    Args:
        forms: of all masks.
        example: the name of a class, for the remedy.

    """
    return [*only_void(forms, example), *palettes_that_differ(forms)]


def misnumbered(
    forms: Mapping[str, MaskForm], labels: Mapping[str, Sequence[int]], classes: Collection[int]
) -> list[str]:
    """A problem if the classes have other numbers in masks, as their images' labels show.

    Args:
        forms: by image id.
        labels: ids of the classes of each image, in the same numbering as masks should be.
        classes: the ids that labels can have; masks may hold others.

    """
    pairs = [(set(form.ids.values()), set(labels[i])) for i, form in forms.items() if labels.get(i)]
    if all(ids - {0, VOID} <= present for ids, present in pairs):
        return []
    first = min(form.path for form in forms.values())
    from_zero = all({k + 1 for k in ids - {VOID}} <= present for ids, present in pairs)
    if from_zero and any(0 in ids for ids, _ in pairs):
        return [
            f"the masks do not fit the labels, but would if their classes counted from 0 ({first}):"
            " 0 is background; name the values in convert.mask_values, or add 1"
        ]
    found = [(ids & set(classes), present) for ids, present in pairs if ids & set(classes)]
    fits = any(ids <= present for ids, present in found)
    if not fits and len(found) >= FEW:
        return [
            f"none of the {len(found)} masks ({first}) holds only classes of its image's labels: "
            "say what the values mean in convert.mask_values, or correct the order of the classes"
        ]
    return []


def mask_lines(forms: Iterable[MaskForm]) -> Iterator[str]:
    """What mask files hold, a line for each kind of file."""
    forms = list(forms)
    for kind, word in WORDS.items():
        same = [form for form in forms if form.kind == kind]
        if not same:
            continue
        seen = {pair for form in same for pair in form.colours.items()}
        found = sorted({colour if kind == "RGB" else value for value, colour in seen})
        yield f"masks: {len(same)} {kind} with the {word} {_listed(found)}"


def mask_notes(forms: Iterable[MaskForm]) -> list[str]:
    """Remarks on masks that are read in an unusual way or may be wrong."""
    return count_with_examples(
        "palette masks are read by their colours, which stand at other indices",
        (form.path.name for form in forms if form.moved),
    )


def only_void(forms: Iterable[MaskForm], example: str) -> list[str]:
    """A problem if masks hold void and no class: usually the value of a class was taken for void.

    See `mask_problems` for the arguments.
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


def _is_telling(index: int, colour: Colour) -> bool:
    """Whether the colour of an index can identify a class.

    Behind index 0, black fills up palettes, and a level that is the index stands for no colour.
    """
    return index == 0 or (index != VOID and colour not in (BLACK, (index,) * 3))


def _listed(values: Sequence[Value]) -> str:
    more = ", …" if len(values) > MAX_SHOWN else ""
    return f"{', '.join(map(str, values[:MAX_SHOWN]))}{more}"
