"""Steps scored on the lists of a data set."""

import numpy as np
import pytest

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.evaluation.chain import Step
from seedbed.evaluation.metrics import confusion_matrix
from seedbed.evaluation.scoring import Score, score_steps
from seedbed.formats.maps import Maps, write_maps

OWN = "train (VOC's own list)"


def step(name, split, label, round_=None):
    return Step(name, split, Maps([]), lambda maps, entry: label(entry), round_)


@pytest.fixture
def dataset(tmp_path):
    """Three images with ground truth of class 1; of the two of train, b is on VOC's own list."""
    images = tuple(
        ImageEntry(name, f"{name}.png", 1, 2, (1,), split, has_mask, "")
        for name, split, has_mask in [
            ("a", "train", True),
            ("b", "train", True),
            ("bare", "train", False),
            ("v", "val", True),
        ]
    )
    with write_maps(tmp_path / "truth.h5") as maps:
        for name in "abv":
            maps.put(name, np.uint8([[1, 1]]))
    classes = (ClassInfo("x", 1), ClassInfo("y", 2))
    index = Index(classes, images, "annotations", ("b",))
    return index, Maps(tmp_path / "truth.h5")


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_by_step_and_list(dataset, workers, monkeypatch):
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)
    labels = {"a": [[1, 1]], "b": [[1, 2]], "v": [[0, 0]]}
    steps = [
        step("first", "train", lambda entry: np.uint8(labels[entry.id]), 3),
        step("on val", "val", lambda entry: np.uint8(labels[entry.id])),
        step("of a alone", "train", lambda e: np.uint8([[2, 2]]) if e.id == "a" else None),
        step("without a mask", "train", lambda entry: None),
    ]
    scores = score_steps(dataset[0], steps, dataset[1], workers, tuning_every=None)
    rows = [score.as_row(dataset[0].class_names) for score in scores]
    figures = [(r["step"], r["round"], r["list"], r["images"], r["recall"]) for r in rows]
    assert figures == [
        ("first", 3, "train", 2, 3 / 4),
        ("first", 3, OWN, 1, 1 / 2),
        ("on val", None, "val", 1, 0),
        ("of a alone", None, "train", 1, 0),
    ]


def test_an_image_on_two_lists_is_labelled_once(dataset):
    labelled = []
    counted = step("s", "train", lambda e: labelled.append(e.id) or np.uint8([[1, 1]]))
    assert len(score_steps(dataset[0], [counted], dataset[1], 1, tuning_every=None)) == 2
    assert labelled == ["a", "b"]


def test_a_row_by_hand():
    truth, mask = np.uint8([0, 0, 1, 1, 2, 2, 255]), np.uint8([0, 1, 1, 255, 2, 0, 0])
    matrix = confusion_matrix(truth, mask, 3)
    row = Score(step("s", "train", None, 1), "train", set(), matrix, 1).as_row(["b", "x", "y"])
    assert row["miou"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    assert row["miou_labelled"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert row["coverage"] == pytest.approx(5 / 6)
    assert row["precision"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert row["recall"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert row["foreground_precision"] == pytest.approx(2 / 3)
    assert row["foreground_recall"] == pytest.approx(2 / 4)
    assert (row["round"], row["step"], row["iou y"]) == (1, "s", pytest.approx(1 / 2))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("true", "found"), [(255, 1), (1, 255), (255, 255)])
def test_what_is_undefined_is_none(true, found):
    matrix = confusion_matrix(np.uint8([true]), np.uint8([found]), 3)
    row = Score(step("s", "train", None, 1), "train", set(), matrix, 1).as_row(["b", "x", "y"])
    figures = {name: value for name, value in row.items() if "foreground" not in name}
    assert not any(isinstance(v, float) and np.isnan(v) for v in figures.values())
    assert row["precision"] is None and row["miou_labelled"] is None
    if true == 255:
        assert row["miou"] is None and row["recall"] is None and row["coverage"] is None
    else:  # a void prediction misses the class
        assert (row["miou"], row["recall"], row["coverage"]) == (0, 0, 0)
