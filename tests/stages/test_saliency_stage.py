"""Saliency maps read from a folder."""

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.runtime.errors import UserError
from stages.saliency import read_map

ENTRY = ImageEntry("a", "a.jpg", 1, 3, (1,), "train", False, "")


def test_maps_are_read_unchanged(tmp_path):
    Image.fromarray(np.uint8([[0, 77, 255]])).save(tmp_path / "a.png")
    saliency_map = read_map(ENTRY, folder=tmp_path)
    assert saliency_map.dtype == np.uint8 and saliency_map.tolist() == [[0, 77, 255]]


def test_missing_maps_and_maps_of_another_size_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.png"):
        read_map(ENTRY, folder=tmp_path)
    Image.fromarray(np.uint8([[0], [1], [2]])).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: size \(3, 1\) is not the image's \(1, 3\)"):
        read_map(ENTRY, folder=tmp_path)
