import json

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError
from stages import evaluate as stage
from stages.evaluate import evaluate
from stages.settings import EvaluateSettings


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


def read_strict_json(path):
    """Read JSON that may hold neither NaN nor infinity."""
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_images_of_the_split_with_a_ground_truth_mask_are_scored(call):
    report, metrics, picture = call(MASKS, TRUTH)
    figures = read_strict_json(metrics)
    assert (figures["split"], figures["images"], figures["variant"]) == ("val", 2, "voc")
    assert figures["confusion"] == [[2, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]
    assert figures["miou"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert report.read_text().startswith(
        "mIoU 0.7222\n  background  0.6667\n  cat         1.0000\n"
    )
    with Image.open(picture) as image:
        assert image.size[0] > 100 and "Software" not in image.info
    train = read_strict_json(call(MASKS, TRUTH, split="train")[1])
    assert train["confusion"] == [[0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]]
    assert train["iou"] == {"background": 0, "cat": 0, "person": None}


def test_the_variant_of_the_settings_leads(call):
    report, metrics, _ = call(MASKS, TRUTH, variant="tf")
    figures = read_strict_json(metrics)
    assert figures["variant"] == "tf"
    assert figures["miou"] == pytest.approx((2 / 3.001 + 1 / 1.001 + 1 / 2.001) / 3)
    assert report.read_text().startswith(f"mIoU {figures['miou']:.4f}\n")


def test_the_same_masks_give_the_same_bytes(call):
    first, second = call(MASKS, TRUTH), call(MASKS, TRUTH, "again")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


@pytest.mark.parametrize(
    ("workers", "threshold", "in_workers"), [(1, 12, 0), (2, 13, 0), (2, 12, 1)]
)
def test_many_images_are_scored_by_workers_with_the_same_result(
    tmp_path, monkeypatch, workers, threshold, in_workers
):
    monkeypatch.setattr(stage, "POOL_IMAGES", threshold)
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)
    random, expected = np.random.default_rng(0), ConfusionMatrix(3)
    ids = [f"i{number}" for number in range(12)]
    with write_maps(tmp_path / "m.h5") as masks, write_maps(tmp_path / "t.h5") as truth:
        for image_id in ids:
            mask, true = random.choice([0, 1, 2, 255], (2, 4, 5)).astype(np.uint8)
            masks.put(image_id, mask)
            truth.put(image_id, true)
            expected.update(true, mask)
    scored = []  # in this process: a forked worker appends to its own copy
    count = stage.image_confusion
    monkeypatch.setattr(
        stage, "image_confusion", lambda name, **maps: scored.append(name) or count(name, **maps)
    )
    truth, masks = Maps(tmp_path / "t.h5"), Maps(tmp_path / "m.h5")
    total = stage.total_confusion(ids, truth, masks, 3, workers)
    np.testing.assert_array_equal(total.counts, expected.counts)
    assert scored == ([] if in_workers else ids)


def test_a_split_without_ground_truth_is_refused(call, tmp_path):
    index = json.loads((tmp_path / "index.json").read_text())
    images = [image for image in index["images"] if image["id"] == "bare"]
    (tmp_path / "index.json").write_text(json.dumps({**index, "images": images}))
    with pytest.raises(UserError, match="no image of split val has a mask"):
        call(MASKS, TRUTH)
