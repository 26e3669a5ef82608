"""Lists of images that are scored apart."""

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.lists import HELD_OUT, OWN, TUNING, scored_lists


def entry(number, split="train", has_mask=True):
    return ImageEntry(f"{split}{number}", "", 2, 2, (1,), split, has_mask, "")


ENTRIES = tuple(entry(number, has_mask=number != 3) for number in range(7))
INDEX = Index((ClassInfo("cat", 8),), (*ENTRIES, entry(0, "val")), "annotations", ("train5",))
MASKED = [e for e in ENTRIES if e.has_mask]


def names(lists):
    return {name: [int(e.id[-1]) for e in listed] for name, listed in lists.items()}


def test_every_third_image_of_the_list_is_for_tuning_and_the_others_are_held_out():
    assert names(scored_lists("train", MASKED, INDEX, 3)) == {
        "train": [0, 1, 2, 4, 5, 6],
        OWN: [5],
        TUNING: [0, 6],  # 3 has no mask: the others keep their parts
        HELD_OUT: [1, 2, 4, 5],
    }


def test_without_tuning_there_is_no_such_part():
    assert [*scored_lists("train", MASKED, INDEX, None)] == ["train", OWN]
    assert [*scored_lists("train", MASKED, INDEX, 0)] == ["train", OWN]


def test_an_empty_part_and_the_whole_are_left_out():
    assert [*scored_lists("train", [ENTRIES[0]], INDEX, 3)] == ["train"]
    assert [*scored_lists("val", [INDEX.images[-1]], INDEX, 3)] == ["val"]
