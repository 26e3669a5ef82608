"""Ids in masks that are not those of the classes, or contradict the labels of the images."""

from pathlib import Path

import numpy as np
import pytest

from seedbed.data.mask_numbers import misnumbered
from seedbed.data.renumbering import find_renumbering
from seedbed.formats.mask_coding import MaskForm
from seedbed.formats.palette import VOC_PALETTE

NAMES = {1: "axle", 2: "wheel", 3: "zip"}


def form(name, *ids):
    return MaskForm(Path(name), "grey", {k: (k, k, k) for k in ids}, {k: k for k in ids})


def forms_of(*ids):
    """A mask for each tuple of ids; their images are a, b, c, …"""
    return {name: form(name, *held) for name, held in zip("abcdefghij", ids, strict=False)}


def labels_of(*labels):
    return dict(zip("abcdefghij", labels, strict=False))


def test_labels_show_that_masks_have_other_numbers():
    labels = {"a": (1,), "b": (1, 2), "c": (3,), "d": (2,)}
    right = {"a": form("a", 0, 1), "b": form("b", 0, 1, 255), "c": form("c", 0, 3)}
    assert misnumbered(right, labels, NAMES) == []
    assert misnumbered({**right, "d": form("d", 0, 3)}, labels, NAMES) == []  # one is noise
    from_zero = {"a": form("a", 0), "b": form("b", 0, 1), "c": form("c", 2, 255)}
    assert "counted from 0" in misnumbered(from_zero, labels, NAMES)[0]
    mixed = {"a": form("a", 0, 2), "c": form("c", 0, 1), "d": form("d", 0, 3)}
    assert misnumbered(mixed, labels, NAMES) == [
        "3 of 3 masks hold classes that the labels of their images lack, as a, and none would with "
        "1 as zip, 2 as axle, 3 as wheel: name the values in convert.mask_values, or correct the "
        "order of the classes"
    ]
    assert misnumbered(mixed, {}, NAMES) == []
    others = {i: form(i, 0, k, 15) for i, k in (("a", 1), ("c", 3), ("d", 2))}
    assert misnumbered(others, labels, NAMES) == []  # 15 is no class of the table


def test_classes_in_another_order_are_named_though_one_keeps_its_number():
    labels = labels_of(*[(2,), (1,), (3,)] * 3)
    masks = forms_of(*[(0, 1), (0, 2), (0, 3)] * 3)
    (problem,) = misnumbered(masks, labels, NAMES)
    assert problem.startswith("6 of 9 masks hold") and "with 1 as wheel, 2 as axle: " in problem
    one_is_noise = {**masks, "i": form("i", 0, 1)}
    assert misnumbered(one_is_noise, labels, NAMES) != []  # more than half
    assert misnumbered(forms_of((0, 2), (0, 1)), labels_of((1,), (2,)), NAMES) != []
    assert misnumbered(forms_of((0, 2)), labels_of((1,)), NAMES) == []  # may be noise


def test_another_order_is_seen_in_spite_of_noise_and_many_masks_that_fit():
    labels = labels_of((1,), (1,), (1,), (1,), (1,), (2,), (2,), (3,), (3,), (3,))
    masks = forms_of((1,), (1,), (1,), (1,), (1,), (3,), (3,), (2,), (2,), (1,))
    (problem,) = misnumbered(masks, labels, NAMES)
    assert problem.startswith("5 of 10 masks") and "and 1 would with 2 as zip, 3 as wh" in problem
    some = {**masks, "h": form("h", 3), "j": form("j", 3)}  # 2 is 3 and 3 is both
    assert misnumbered(some, labels, NAMES) == []


def test_an_order_is_named_only_if_no_other_fits_as_well():
    masks, labels = forms_of((1, 2), (1, 2)), labels_of((2, 3), (2, 3))
    (problem,) = misnumbered(masks, labels, NAMES)  # 1 and 2 are 2 and 3, or 3 and 2
    assert "and none would with other numbers of the classes: " in problem


def test_classes_whose_numbers_are_certain_are_named_though_others_are_not():
    labels = labels_of((2,), (1,), (3, 4), (3, 4))
    masks = forms_of((1,), (2,), (3, 4), (3, 4))
    (problem,) = misnumbered(masks, labels, {**NAMES, 4: "yak"})
    assert "and none would with 1 as wheel, 2 as axle: " in problem


def test_masks_of_which_most_do_not_fit_are_refused_though_no_order_fits():
    labels = labels_of((1,), (1,), (1,), (2,))
    masks = forms_of((0, 2), (0, 3), (0, 2, 3), (0, 1, 2))
    (problem,) = misnumbered(masks, labels, NAMES)
    assert problem == (
        "3 of 4 masks hold only classes that the labels of their images lack, as a: name the "
        "values in convert.mask_values, or correct the labels or the order of the classes"
    )
    assert misnumbered({**masks, "c": form("c", 0, 1)}, labels, NAMES) == []  # half
    two = {name: masks[name] for name in "ab"}
    assert misnumbered(two, labels, NAMES) == []


def test_masks_may_hold_further_classes():
    labels = labels_of((1,), (1,), (1,), (2,))
    masks = forms_of((0, 1, 2), (0, 1, 3), (0, 1, 3), (0, 2))
    assert misnumbered(masks, labels, NAMES) == []  # the labels name one class of each image


def test_predictions_that_are_given_may_all_hold_further_classes():
    labels = labels_of((1,), (1,), (1,), (2,))
    masks = forms_of((0, 1, 2), (0, 1, 3), (0, 1, 3), (0, 3))
    (problem,) = misnumbered(masks, labels, NAMES)
    assert problem.startswith("4 of 4 masks hold classes that the labels of their images lack")
    assert misnumbered(masks, labels, NAMES, given=True) == []
    worse = forms_of((0, 2), (0, 3), (0, 2, 3), (0, 1, 2))
    (problem,) = misnumbered(worse, labels, NAMES, given=True)
    assert problem.startswith("3 of 4 masks hold only classes that the labels of their images lack")
    assert "predict_images does with --ids source" in problem


def test_masks_that_hold_ids_of_no_class_are_refused_without_labels_too():
    classes = {8: "cat", 12: "dog"}
    one_to_two = {"a": form("m/a", 0, 1), "b": form("m/b", 0, 2, 255)}
    assert misnumbered(one_to_two, {}, classes) == [
        "m/a and all masks beside it hold 1, 2, and the ids of the classes are 8 (cat), 12 (dog): "
        "name the values in convert.mask_values"
    ]
    assert misnumbered({**one_to_two, "c": form("other/c", 8)}, {}, classes) != []
    assert misnumbered({**one_to_two, "c": form("m/c", 8)}, {}, classes) == []
    assert misnumbered({"a": form("a", 0, 255)}, {}, classes) == []


def test_masks_of_no_class_contradict_labels_though_one_id_is_known():
    classes = {1: "aeroplane", 8: "cat"}
    labels = labels_of((1,), (8,), (8,), (8,))
    (problem,) = misnumbered(forms_of((1,), (2,), (2,), (2,)), labels, classes, given=True)
    assert "and none would with 2 as cat: write the ids of the data set" in problem
    others = forms_of((1, 15), (8, 15), (8,), (15, 3))  # one holds no class
    assert misnumbered(others, labels, classes, given=True) == []


def moved(name, **ids):
    """A palette mask, i1=2 for VOC's colour 2 at index 1."""
    by_index = {int(key[1:]): k for key, k in ids.items()}
    colours = {i: tuple(VOC_PALETTE[k].tolist()) for i, k in by_index.items()}
    return MaskForm(Path(name), "palette", colours, by_index, read_by_colour=True)


def test_labels_that_fit_the_indices_better_than_vocs_colours_are_told():
    names = {**NAMES, 4: "yak"}
    masks = {"a": moved("a", i0=0, i3=4), "b": moved("b", i0=0, i4=3), "c": form("c", 0, 1)}
    (problem,) = misnumbered(masks, labels_of((3,), (4,), (1,)), names)
    assert problem == (
        "mask a holds 4 by the colours of its palette, VOC's at other indices, and 3 by its "
        "indices, which fit the labels better: name the colours in convert.mask_colours, or save "
        "the masks as 8-bit grey"
    )
    assert misnumbered(masks, labels_of((4,), (3,), (1,)), names) == []
    assert misnumbered(masks, {}, names) == []
    assert misnumbered(masks, labels_of((3,), (3,), (1,)), names) == []  # neither is better


@pytest.mark.parametrize("seed", range(5))
def test_a_renumbering_is_found_among_many(seed):
    random = np.random.default_rng(seed)
    order = dict(zip(range(1, 21), (random.permutation(20) + 1).tolist(), strict=True))
    masks = []
    for _ in range(300):
        labels = frozenset((random.permutation(20)[:3] + 1).tolist())
        masks.append((frozenset(k for k, new in order.items() if new in labels), labels))
    found = find_renumbering(masks, range(1, 21))
    assert (found.classes, found.misfits, found.is_unique) == (order, 0, True)
    assert find_renumbering(masks, range(1, 20)) is None
