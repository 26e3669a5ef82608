"""Saliency maps of a folder."""

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.runtime.errors import UserError
from stages.saliency import saliency_map
from stages.settings import SaliencySettings

ENTRY = ImageEntry("a", "a.jpg", 1, 3, (1,), "train", False, "")
GIVEN = SaliencySettings(maps="maps")


def test_given_maps_are_taken_as_they_are(tmp_path):
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.uint8([[0, 77, 255]])).save(tmp_path / "maps/a.png")
    found = saliency_map(ENTRY, data=tmp_path, settings=GIVEN)
    assert found.dtype == np.uint8 and found.tolist() == [[0, 77, 255]]


def test_missing_and_wrong_ones_are_named(tmp_path):
    with pytest.raises(UserError, match=r"maps/a\.png"):
        saliency_map(ENTRY, data=tmp_path, settings=GIVEN)
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.uint8([[0], [1], [2]])).save(tmp_path / "maps/a.png")
    with pytest.raises(UserError, match=r"a\.png: size \(3, 1\) is not the image's \(1, 3\)"):
        saliency_map(ENTRY, data=tmp_path, settings=GIVEN)
