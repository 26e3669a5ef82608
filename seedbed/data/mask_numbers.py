"""Whether the ids in masks are those of the classes, and fit the labels of the images."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedbed.data.mask_check import listed, of_each_folder
from seedbed.data.renumbering import Ids, find_renumbering
from seedbed.formats.mask_coding import MaskForm
from seedbed.formats.palette import VOID

FEW = 3  # masks that do not fit by chance
BY_CHANCE = 4  # of so many misfits a renumbering may leave one
REMEDY = "name the values in convert.mask_values"
REMEDY_GIVEN = "write the ids of the data set, as predict_images does with --ids source"
Labels = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Labelled:
    """A mask whose image has labels: the ids of objects in it, and those of the labels."""

    path: Path
    ids: Ids
    labels: Ids

    def misfits(self, classes: Collection[int]) -> bool:
        """Whether it holds a class that the labels lack, or ids that are all of no class."""
        return not (self.ids & set(classes) or self.ids) <= self.labels


def misnumbered(
    forms: Mapping[str, MaskForm],
    labels: Labels,
    classes: Mapping[int, str],
    *,
    given: bool = False,
) -> list[str]:
    """A problem if the classes have other numbers in masks, as these or the labels show.

    Args:
        forms: by image id.
        labels: ids of the classes of each image, in the same numbering as masks should be.
        classes: the name of each id that labels can have; masks may hold others.
        given: whether the masks are not the data set's own. They may be predictions, of which most
            may hold a class that the labels lack.

    """
    remedy = REMEDY_GIVEN if given else REMEDY
    masks = [mask for mask in _labelled(forms, labels) if mask.ids]
    return (
        colours_that_misfit(forms, labels, classes)
        or counted_from_zero(forms, labels, classes)
        or foreign_ids(forms.values(), classes, remedy)
        or renumbered(masks, classes, remedy)
        or contradicting(masks, classes, remedy, given=given)
    )


def colours_that_misfit(
    forms: Mapping[str, MaskForm], labels: Labels, classes: Collection[int]
) -> list[str]:
    """A problem if palettes are read by their colours, and labels fit the indices better.

    See `misnumbered` for the arguments.
    """
    by_colour = {i: form for i, form in forms.items() if form.read_by_colour}
    pairs = [
        (colours, indices, colours.misfits(classes) - indices.misfits(classes))
        for colours, indices in zip(
            _labelled(by_colour, labels), _labelled(by_colour, labels, by_index=True), strict=True
        )
    ]
    if sum(worse for _, _, worse in pairs) <= 0:
        return []
    colours, indices, _ = next(pair for pair in pairs if pair[2] > 0)
    return [
        f"mask {colours.path} holds {listed(sorted(colours.ids))} by the colours of its palette, "
        f"VOC's at other indices, and {listed(sorted(indices.ids))} by its indices, which fit the "
        "labels better: name the colours in convert.mask_colours, or save the masks as 8-bit grey"
    ]


def counted_from_zero(
    forms: Mapping[str, MaskForm], labels: Labels, classes: Collection[int]
) -> list[str]:
    """A problem if masks do not fit the labels, but would if 1 were added to their ids.

    See `misnumbered` for the arguments.
    """
    if not any(mask.misfits(classes) for mask in _labelled(forms, labels)):
        return []
    pairs = [(set(form.ids.values()), set(labels[i])) for i, form in forms.items() if labels.get(i)]
    from_zero = all({k + 1 for k in ids - {VOID}} <= present for ids, present in pairs)
    if not from_zero or not any(0 in ids for ids, _ in pairs):
        return []
    first = min(form.path for form in forms.values())
    return [
        f"the masks do not fit the labels, but would if their classes counted from 0 ({first}):"
        f" 0 is background; {REMEDY}, or add 1"
    ]


def foreign_ids(forms: Iterable[MaskForm], classes: Mapping[int, str], remedy: str) -> list[str]:
    """A problem if all ids in the masks of a folder are of no class.

    They are of VOC's other classes, which are void, so that no object would be left.
    """
    for same in of_each_folder(forms):
        ids = frozenset().union(*(_objects(form.ids.values()) for form in same))
        if ids and not ids & classes.keys():
            known = listed(f"{k} ({name})" for k, name in classes.items())
            return [
                f"{same[0].path} and all masks beside it hold {listed(sorted(ids))}, and the ids "
                f"of the classes are {known}: {remedy}"
            ]
    return []


def renumbered(masks: Sequence[Labelled], classes: Mapping[int, str], remedy: str) -> list[str]:
    """A problem if masks do not fit the labels, but would if the classes had other numbers.

    One mask may be wrong by chance, and so may a few that no renumbering explains.
    """
    wrong = [mask for mask in masks if mask.misfits(classes)]
    if len(wrong) < 2:
        return []
    found = find_renumbering([(mask.ids, mask.labels) for mask in masks], sorted(classes))
    if not found or found.misfits * BY_CHANCE > len(wrong):
        return []
    how = "other numbers of the classes"
    if found.is_unique:
        how = listed(f"{k} as {classes[new]}" for k, new in found.classes.items() if k != new)
    return [
        f"{_told(wrong, masks)}, and {found.misfits or 'none'} would with {how}: {remedy}, or "
        "correct the order of the classes"
    ]


def contradicting(
    masks: Sequence[Labelled], classes: Collection[int], remedy: str, *, given: bool
) -> list[str]:
    """A problem if no mask fits the labels, or more than half hold none of them at all.

    Where the labels are not complete, masks hold further classes. That none fits is no problem of
    masks that are given.
    """
    if len(masks) < FEW:
        return []
    wrong = [mask for mask in masks if mask.misfits(classes)]
    apart = [mask for mask in wrong if not mask.ids & mask.labels]
    if 2 * len(apart) > len(masks):
        told = _told(apart, masks, what="only classes")
    elif len(wrong) == len(masks) and not given:
        told = _told(wrong, masks)
    else:
        return []
    return [f"{told}: {remedy}, or correct the labels or the order of the classes"]


def _labelled(
    forms: Mapping[str, MaskForm], labels: Labels, *, by_index: bool = False
) -> list[Labelled]:
    """The masks whose images have labels, with the ids as they are read or with the indices."""
    masks = [
        Labelled(
            form.path,
            _objects(form.ids if by_index else form.ids.values()),
            frozenset(labels[i]),
        )
        for i, form in forms.items()
        if labels.get(i)
    ]
    return sorted(masks, key=lambda mask: mask.path)


def _objects(ids: Iterable[int]) -> Ids:
    """Ids without background and void."""
    return frozenset(ids) - {0, VOID}


def _told(wrong: Sequence[Labelled], masks: Sequence[Labelled], what: str = "classes") -> str:
    return (
        f"{len(wrong)} of {len(masks)} masks hold {what} that the labels of their images lack, as "
        f"{wrong[0].path}"
    )
