"""What the masks of a data set hold together: remarks, and what cannot be right."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from seedbed.data.text import count_with_examples
from seedbed.formats.mask_coding import BLACK, MaskForm
from seedbed.formats.mask_files import Colour
from seedbed.formats.masks import VOID

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


def counted_from_zero(
    forms: Mapping[str, MaskForm], labels: Mapping[str, Sequence[int]]
) -> list[str]:
    """A problem if masks number the classes from 0, as their images' labels show.

    Args:
        forms: by image id.
        labels: ids of the classes of each image, in the same numbering as masks should be.

    """
    pairs = [(_ids(form) - {VOID}, set(labels[i])) for i, form in forms.items() if labels.get(i)]
    fits = sum(ids - {0} <= present for ids, present in pairs)
    from_zero = sum({k + 1 for k in ids} <= present for ids, present in pairs)
    if fits == len(pairs) or from_zero < len(pairs) or not any(0 in ids for ids, _ in pairs):
        return []
    return [
        "the masks do not fit the labels, but would if their classes counted from 0 "
        f"({min(form.path for form in forms.values())}): 0 is background; name the values in "
        "convert.mask_values, or add 1"
    ]


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
    """Whether a palette's colour identifies a class; black and the index's own grey do not."""
    return index != VOID and colour != (index,) * 3 and not (index and colour == BLACK)


def _ids(form: MaskForm) -> set[int]:
    return set(form.ids.values())


def _listed(values: Sequence[Value]) -> str:
    more = ", …" if len(values) > MAX_SHOWN else ""
    return f"{', '.join(map(str, values[:MAX_SHOWN]))}{more}"
