import json

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError
from stages import evaluate as stage
from stages.evaluate import RULES, describe, draw, evaluate, measure
from stages.settings import EvaluateSettings

NAMES = ["background", "cat", "person"]


def matrix_of(truth, prediction):
    matrix = ConfusionMatrix(3)
    matrix.update(np.array(truth), np.array(prediction))
    return matrix


@pytest.fixture
def odd():
    """Cat: 4 true, 3 predicted, 2 hits, and one true pixel void in the mask. No person."""
    return matrix_of([0, 0, 1, 1, 1, 1, 255], [0, 1, 1, 1, 0, 255, 1])


@pytest.fixture
def call(tmp_path):
    """Score masks of the two val images and give the three files written."""
    images = [
        ImageEntry(name, f"{name}.jpg", 1, 3, (1,), split, has_mask, "")
        for name, split, has_mask in (("t", "train", True), ("a", "val", True), ("b", "val", True))
    ]
    images.append(ImageEntry("bare", "bare.jpg", 1, 3, (1,), "val", False, ""))
    classes = (ClassInfo("cat", 8), ClassInfo("person", 15))
    Index(classes, tuple(images), "annotations").save(tmp_path / "index.json")

    def call(masks, truth, name="out", **settings):
        stored = {"masks": masks, "truth": truth}
        for kind, arrays in stored.items():
            with write_maps(tmp_path / f"{kind}.h5") as maps:
                for image_id, mask in arrays.items():
                    maps.put(image_id, np.uint8(mask))
        files = [tmp_path / name / f for f in ("miou.txt", "metrics.json", "confusion.png")]
        evaluate(
            index=tmp_path / "index.json",
            masks=tmp_path / "masks.h5",
            truth=tmp_path / "truth.h5",
            report=files[0],
            metrics=files[1],
            confusion=files[2],
            settings=EvaluateSettings(**settings),
        )
        return files

    return call


TRUTH = {"t": [[1, 1, 1]], "a": [[0, 1, 255]], "b": [[2, 2, 0]]}
MASKS = {"t": [[0, 0, 0]], "a": [[0, 1, 0]], "b": [[2, 0, 0]], "bare": [[1, 1, 1]]}


def strict(path):
    """JSON as the standard has it: no NaN, no infinity."""
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_images_of_the_split_with_a_true_mask_are_scored(call):
    report, metrics, picture = call(MASKS, TRUTH)
    figures = strict(metrics)
    assert (figures["split"], figures["images"], figures["variant"]) == ("val", 2, "voc")
    assert figures["confusion"] == [[2, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]
    assert figures["miou"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert report.read_text().startswith(
        "mIoU 0.7222\n  background  0.6667\n  cat         1.0000\n"
    )
    with Image.open(picture) as image:
        assert image.size[0] > 100 and "Software" not in image.info
    train = strict(call(MASKS, TRUTH, split="train")[1])
    assert train["confusion"] == [[0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]]
    assert train["iou"] == {"background": 0, "cat": 0, "person": None}


def test_the_same_masks_give_the_same_bytes(call):
    first, second = call(MASKS, TRUTH), call(MASKS, TRUTH, "again")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


@pytest.mark.parametrize(("workers", "enough", "elsewhere"), [(1, 12, 0), (2, 13, 0), (2, 12, 1)])
def test_many_images_are_scored_by_workers_and_the_same(
    tmp_path, monkeypatch, workers, enough, elsewhere
):
    monkeypatch.setattr(stage, "WORTH_TORCH", enough)
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)
    random, expected = np.random.default_rng(0), ConfusionMatrix(3)
    ids = [f"i{number}" for number in range(12)]
    with write_maps(tmp_path / "m.h5") as masks, write_maps(tmp_path / "t.h5") as truth:
        for image_id in ids:
            mask, true = random.choice([0, 1, 2, 255], (2, 4, 5)).astype(np.uint8)
            masks.put(image_id, mask)
            truth.put(image_id, true)
            expected.update(true, mask)
    scored = []  # by this process, for a fork's list is its own
    count = stage.pixel_counts
    monkeypatch.setattr(
        stage, "pixel_counts", lambda name, **maps: scored.append(name) or count(name, **maps)
    )
    found = stage.confusion_matrix(
        ids, Maps(tmp_path / "m.h5"), Maps(tmp_path / "t.h5"), 3, workers
    )
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert scored == ([] if elsewhere else ids)


def test_a_split_without_truth_is_refused(call, tmp_path):
    index = json.loads((tmp_path / "index.json").read_text())
    images = [image for image in index["images"] if image["id"] == "bare"]
    (tmp_path / "index.json").write_text(json.dumps({**index, "images": images}))
    with pytest.raises(UserError, match="no image of split val has a mask"):
        call(MASKS, TRUTH)


def test_measures_by_hand(odd):
    figures = measure(odd, NAMES, "psa")
    assert figures["iou"] == pytest.approx({"background": 1 / 3, "cat": 2 / 5, "person": None})
    assert figures["dice"] == pytest.approx({"background": 1 / 2, "cat": 4 / 7, "person": None})
    assert figures["frequency_weighted_iou"] == pytest.approx((2 * 1 / 3 + 4 * 2 / 5) / 6)
    assert figures["variants"] == pytest.approx(
        {
            "voc": (1 / 3 + 2 / 5) / 2,
            "dsrg": (1 / 3 + 2 / 5) / 2,
            "psa": (1 / 3 + 2 / 4) / 3,
            "seam": (1 / 3 + 2 / 5) / 3,
            "tf": (1 / 3.001 + 2 / 5.001) / 3,
        }
    )
    assert figures["miou"] == figures["variants"]["psa"]


def test_foreground_errors_with_void_as_a_miss_and_without_void(odd):
    # The person, in neither, counts 0 in every mean over the two classes.
    found = measure(odd, NAMES, "voc")["foreground"]
    assert found["void_is_a_miss"] == pytest.approx(
        {
            "t_tp": 4 / 2 / 2,
            "p_tp": 3 / 2 / 2,
            "fp_all": 1 / 5 / 2,
            "fn_all": 2 / 5 / 2,
            "miou_foreground": 2 / 5 / 2,
        }
    )
    assert found["void_is_not_scored"] == pytest.approx(
        {
            "t_tp": 3 / 2 / 2,
            "p_tp": 3 / 2 / 2,
            "fp_all": 1 / 4 / 2,
            "fn_all": 1 / 4 / 2,
            "miou_foreground": 2 / 4 / 2,
        }
    )


def test_what_is_undefined_is_null(tmp_path):
    figures = measure(ConfusionMatrix(1), ["background"], "voc")
    assert figures["miou"] is figures["iou"]["background"] is None
    assert figures["frequency_weighted_iou"] is figures["variants"]["dsrg"] is None
    assert set(figures["foreground"]["void_is_a_miss"].values()) == {None}
    json.dumps(figures, allow_nan=False)
    text = describe({"split": "val", "images": 1, "variant": "voc", **figures})
    assert text.startswith("mIoU -\n") and "nan" not in text


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_text_marks_the_evaluator_that_leads(odd, variant):
    figures = measure(odd, NAMES, variant)
    text = describe({"split": "val", "images": 3, "variant": variant, **figures})
    lines = text.splitlines()
    assert lines[0] == f"mIoU {figures['variants'][variant]:.4f}"
    for name in VARIANTS:
        mark = "*" if name == variant else " "
        assert f"{mark} {name:<4}  {figures['variants'][name]:.4f}  {RULES[name]}" in lines


def test_the_text_shows_the_errors_in_both_ways(odd):
    text = describe({"split": "val", "images": 3, "variant": "voc", **measure(odd, NAMES, "voc")})
    shown = dict(line.strip().split(", ") for line in text.splitlines() if "÷" in line)
    figures = {name: about.split()[-2:] for name, about in shown.items()}
    assert figures == {
        "T÷TP": ["1.0000", "0.7500"],
        "P÷TP": ["0.7500", "0.7500"],
        "FP÷ALL": ["0.1000", "0.1250"],
        "FN÷ALL": ["0.2000", "0.1250"],
    }


def test_an_astronomic_error_stays_short():
    missed = measure(matrix_of([0, 1, 1, 2], [0, 0, 0, 2]), NAMES, "voc")
    assert " 1.00e+10" in describe({"split": "val", "images": 1, "variant": "voc", **missed})


def test_a_class_may_be_called_anything(tmp_path):
    names = ["background", r"$\frac$", "<script>", "größe 1"]
    draw(tmp_path / "confusion.png", np.eye(3, 4, dtype=int), names[:3])
    assert (tmp_path / "confusion.png").stat().st_size
