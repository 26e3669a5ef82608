import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.maps import Maps, write_maps
from stages.audit import (
    Refine,
    Step,
    best_class,
    by_round_and_split,
    confusions,
    cue_steps,
    figures,
    kept_target,
    scored,
    seed_mask,
)
from stages.settings import AuditSettings, CRFSettings

ENTRY = ImageEntry("a", "a.png", 1, 4, (2,), "train", True, "")


def stored(path, array, about=None, **attributes):
    with write_maps(path, **(about or {})) as maps:
        maps.put("a", np.asarray(array), **attributes)
    return path


def test_predictions_are_scored_as_they_are_and_within_the_tags(tmp_path):
    # background, an untagged class and the tag: the untagged one leads in the first two pixels
    probabilities = [[[0.3, 0.1, 0.8, 0.2]], [[0.5, 0.6, 0.1, 0.2]], [[0.2, 0.3, 0.1, 0.6]]]
    maps = Maps(stored(tmp_path / "p.h5", np.float16(probabilities), classes=[0, 1, 2]))
    assert best_class(ENTRY, maps=maps, tags=False).tolist() == [[1, 1, 0, 2]]
    assert best_class(ENTRY, maps=maps, tags=True).tolist() == [[0, 2, 0, 2]]


def test_seed_cells_with_none_or_several_classes_are_void():
    cues = np.zeros((3, 2, 2), bool)
    cues[0, 0, 0] = cues[2, 0, 1] = cues[1, 1, 0] = cues[2, 1, 0] = True
    expected = [[0, 0, 2, 2], [0, 0, 2, 2], [255] * 4, [255] * 4]
    assert seed_mask(cues, 4, 4).tolist() == expected


def test_steps_of_the_cues_by_hand(tmp_path):
    cams = Maps(stored(tmp_path / "c.h5", np.uint8([[[255, 60, 40, 0]]]), classes=[2]))
    saliency = Maps(stored(tmp_path / "s.h5", np.uint8([[255, 128, 127, 0]])))
    settings = AuditSettings(cam_background=0.2, saliency_threshold=0.5)
    refine = Refine(tmp_path, CRFSettings(iterations=0), 0.7)
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(tmp_path / "a.png")
    steps = {s.name: s for s in cue_steps(cams, saliency, Maps([]), settings, refine)}
    assert list(steps) == ["cam", "cam + crf", "saliency × tags"]
    assert steps["cam"].label(ENTRY).tolist() == [[2, 2, 0, 0]]  # 60/255 > 0.2 > 40/255
    assert steps["cam + crf"].label(ENTRY).tolist() == [[2, 2, 0, 0]]  # no iteration: the unary
    assert steps["saliency × tags"].label(ENTRY).tolist() == [[2, 2, 0, 0]]


def test_hard_labels_survive_a_crf_without_iterations(tmp_path):
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(tmp_path / "a.png")
    refine = Refine(tmp_path, CRFSettings(iterations=0), 0.7)
    assert refine.labels(ENTRY, np.uint8([[2, 0, 2, 0]])).tolist() == [[2, 0, 2, 0]]
    smooth = Refine(tmp_path, CRFSettings(), 0.7)  # void takes what its equals around it are
    assert smooth.labels(ENTRY, np.uint8([[2, 2, 255, 2]])).tolist() == [[2, 2, 2, 2]]


def test_targets_that_are_not_trained_on_do_not_count(tmp_path):
    mask = np.uint8([[0, 2, 2, 255]])
    kept = Maps(stored(tmp_path / "k.h5", mask, kept=True))
    dropped = Maps(stored(tmp_path / "d.h5", mask, kept=False))
    assert kept_target(ENTRY, masks=kept).tolist() == mask.tolist()
    steps = {
        4: Step("targets", "train", lambda entry: kept_target(entry, masks=dropped)),
        7: Step("targets", "train", lambda entry: kept_target(entry, masks=kept)),
    }
    found = confusions(ENTRY, steps=steps, truth=kept, num_classes=3)
    assert list(found) == [7] and found[7].counts.tolist() == np.diag([1, 0, 2, 0])[:3].tolist()


@pytest.fixture
def dataset(tmp_path):
    """Two train images, one of them on VOC's own list, one of val, and their truth: class 1."""
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
        Step("first", "train", lambda entry: np.uint8(labels[entry.id]), 3),
        Step("on val", "val", lambda entry: np.uint8(labels[entry.id])),
        Step("of a alone", "train", lambda e: np.uint8([[2, 2]]) if e.id == "a" else None),
        Step("of none", "train", lambda entry: None),
    ]
    rows = scored(dataset[0], steps, dataset[1], workers)
    own = "train (VOC's own list)"
    facts = [(r["step"], r["round"], r["list"], r["images"], r["recall"]) for r in rows]
    assert facts == [
        ("first", 3, "train", 2, 3 / 4),
        ("first", 3, own, 1, 1 / 2),
        ("on val", None, "val", 1, 0),
        ("of a alone", None, "train", 1, 0),
    ]


def test_an_image_is_labelled_once_though_it_is_on_two_lists(dataset):
    labelled = []
    step = Step("s", "train", lambda entry: labelled.append(entry.id) or np.uint8([[1, 1]]))
    assert len(scored(dataset[0], [step], dataset[1], 1)) == 2
    assert labelled == ["a", "b"]


def test_figures_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.update(np.uint8([0, 0, 1, 1, 2, 2, 255]), np.uint8([0, 1, 1, 255, 2, 0, 0]))
    row = figures(Step("s", "train", lambda entry: None, 1), "train", 1, matrix, ["b", "x", "y"])
    assert row["miou"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    assert row["miou_labelled"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert row["coverage"] == pytest.approx(5 / 6)
    assert row["foreground_precision"] == pytest.approx(2 / 3)
    assert row["foreground_recall"] == pytest.approx(2 / 4)
    assert (row["round"], row["step"], row["iou y"]) == (1, "s", pytest.approx(1 / 2))


def test_shards_are_joined_by_round_and_split(tmp_path):
    about = [{"round": 1, "split": "val"}, {"round": 0, "split": "train"}]
    paths = [stored(tmp_path / f"{i}.h5", np.uint8([[i]]), a) for i, a in enumerate(about)]
    assert list(by_round_and_split(paths)) == [(0, "train"), (1, "val")]
