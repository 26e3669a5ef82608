import dataclasses

import numpy as np
import pytest
from PIL import Image

from seedbed.crf import resolve_backend
from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import LOG_PROBABILITIES, Maps, write_maps
from stages.crf import crf, refine
from stages.settings import MaskCRFSettings
from tests.support.predictions import put_probabilities

TRAIN = ImageEntry("a", "a.png", 1, 3, (2,), "train", True, "")
VAL = dataclasses.replace(TRAIN, split="val")


def test_train_images_keep_background_and_their_tags_alone(tmp_path):
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "p.h5"
    with write_maps(path) as maps:  # background, an untagged class, the tag
        probabilities = [[[0.25, 0.5, 0.25]], [[0.5, 0.25, 0]], [[0.25, 0.25, 0.75]]]
        put_probabilities(maps, "a", probabilities, [0, 1, 2])

    def labels(entry, restrict):
        settings = MaskCRFSettings(iterations=0, restrict_to_tags=restrict)
        return refine(entry, predictions=Maps([path]), settings=settings, data=tmp_path)

    label, confidence = labels(TRAIN, True)
    assert label.tolist() == [[0, 0, 2]]
    assert confidence.tolist() == [[128, 170, 191]]  # 1/2, 2/3 and 3/4 of the two that are left
    assert labels(TRAIN, False)[0].tolist() == labels(VAL, True)[0].tolist() == [[1, 0, 2]]


def test_tags_compete_though_another_class_is_certain(tmp_path):
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / "a.png")
    with write_maps(tmp_path / "p.h5", values=LOG_PROBABILITIES) as maps:
        logarithms = np.float16([[[-33, -300, -1]], [[0, 0, 0]], [[-32, -301, -9]]])
        maps.put("a", logarithms, classes=[0, 1, 2])
    settings = MaskCRFSettings(iterations=0)
    predictions = Maps([tmp_path / "p.h5"])
    label, confidence = refine(TRAIN, predictions=predictions, settings=settings, data=tmp_path)
    assert label.tolist() == [[2, 0, 0]]
    assert confidence.tolist() == [[186, 186, 255]]  # 1 / (1 + e⁻¹), 1 / (1 + e⁻⁸)


@pytest.mark.parametrize("backend", ["auto", "torch", "pydensecrf"])
def test_the_masks_say_which_backend_solved_the_crf(tmp_path, backend):
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / "a.png")
    Index((ClassInfo("cat", 8), ClassInfo("dog", 12)), (VAL,), "annotations").save(
        tmp_path / "index.json"
    )
    with write_maps(tmp_path / "p.h5") as maps:
        put_probabilities(maps, "a", np.full((3, 1, 3), 0.25), [0, 1, 2])
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
