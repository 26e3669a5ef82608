import dataclasses

import numpy as np
import pytest
from PIL import Image

from seedbed.crf import resolve_backend
from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from stages.crf import crf, refine
from stages.settings import MaskCRFSettings

TRAIN = ImageEntry("a", "a.png", 1, 3, (2,), "train", True, "")
VAL = dataclasses.replace(TRAIN, split="val")


def test_train_images_keep_background_and_their_tags_alone(tmp_path):
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "p.h5"
    with write_maps(path) as maps:  # background, an untagged class, the tag
        probabilities = np.float16([[[0.25, 0.5, 0.25]], [[0.5, 0.25, 0]], [[0.25, 0.25, 0.75]]])
        maps.put("a", probabilities, classes=[0, 1, 2])

    def labels(entry, restrict):
        settings = MaskCRFSettings(iterations=0, restrict_to_tags=restrict)
        return refine(entry, predictions=Maps([path]), settings=settings, data=tmp_path)

    label, confidence = labels(TRAIN, True)
    assert label.tolist() == [[0, 0, 2]]
    assert confidence.tolist() == [[128, 170, 191]]  # 1/2, 2/3 and 3/4 of the two that are left
    assert labels(TRAIN, False)[0].tolist() == labels(VAL, True)[0].tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("backend", ["auto", "torch", "pydensecrf"])
def test_the_masks_say_which_backend_solved_the_crf(tmp_path, backend):
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / "a.png")
    Index((ClassInfo("cat", 8), ClassInfo("dog", 12)), (VAL,), "annotations").save(
        tmp_path / "index.json"
    )
    with write_maps(tmp_path / "p.h5") as maps:
        maps.put("a", np.full((3, 1, 3), 0.25, np.float16), classes=[0, 1, 2])
    crf(
        index=tmp_path / "index.json",
        predictions=tmp_path / "p.h5",
        round=0,
        split="val",
        shard="1-of-1",
        output=tmp_path / "masks.h5",
        settings=MaskCRFSettings(backend=backend),
        data=tmp_path,
        workers=1,
    )
    solver = resolve_backend(backend)
    assert Maps(tmp_path / "masks.h5").file_attributes()["crf_backend"] == solver
