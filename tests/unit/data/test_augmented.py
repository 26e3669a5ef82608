"""train_aug, made of VOC's and SBD's lists."""

import pytest

from seedbed.data.layouts import augmented
from seedbed.runtime.errors import UserError


@pytest.fixture
def lists(tmp_path):
    """VOC's folder and SBD's, with a function that writes a list."""

    def write(folder, name, ids):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.txt").write_text("".join(f"{one}\n" for one in ids))
        return tmp_path / "voc", tmp_path / "sbd"

    write("voc", "train", ["c", "a"])
    write("voc", "val", ["v", "w"])
    write("sbd", "train", ["v", "b"])
    write("sbd", "val", ["d", "w", "a"])
    return write


def test_it_is_sorted_and_without_the_val_images(lists):
    voc, sbd = lists("voc", "train", ["c", "a"])
    ids, note = augmented.make_list(voc, sbd)
    assert ids == ["a", "b", "c", "d"]
    assert note == (
        "train_aug: 4 images of VOC's train and SBD's train and val, without VOC's val; unlike the"
        " published lists VOC's train has 2, not 1464, VOC's val has 2, not 1449, SBD's train has"
        " 2, not 8498, SBD's val has 3, not 2857, train_aug has 4, not 10582"
    )


def test_the_published_numbers_need_no_remark(lists):
    """1 464 of VOC's train, of which SBD lacks some; SBD's 11 355, of which val has some."""
    numbers = [f"{number:05d}" for number in range(12031)]
    train, val, rest = numbers[:1464], numbers[1464:2913], numbers[2913:]
    sbd = [*rest, *train[: 11355 - len(rest) - 777], *val[:777]]
    assert len(rest) == 9118 and len(set(sbd)) == 11355
    lists("voc", "train", train)
    lists("voc", "val", val)
    lists("sbd", "train", sbd[:8498])
    ids, note = augmented.make_list(*lists("sbd", "val", sbd[8498:]))
    assert ids == [*train, *rest]
    assert note == (
        "train_aug: 10582 images of VOC's train and SBD's train and val, without VOC's val"
    )


def test_a_list_that_is_there_wins(lists):
    voc, sbd = lists("voc", "train_aug", ["z", "a"])
    notes = []
    assert augmented.read_or_make(voc / "train_aug.txt", sbd, notes.append) == ["z", "a"]
    assert notes == []


def test_other_lists_are_never_made(lists):
    voc, sbd = lists("voc", "train", ["a"])
    with pytest.raises(UserError, match=r"cannot read the list .*trainval\.txt"):
        augmented.read_or_make(voc / "trainval.txt", sbd, print)
    with pytest.raises(UserError, match=r"cannot read the list .*train_aug\.txt"):
        augmented.read_or_make(voc / "train_aug.txt", None, print)


def test_a_missing_list_of_sbd(lists):
    voc, sbd = lists("voc", "train", ["a"])
    (sbd / "val.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read the list .*sbd/val\.txt"):
        augmented.make_list(voc, sbd)
