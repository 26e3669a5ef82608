"""Group-WSSS' attention maps in PNGs."""

import numpy as np
import pytest
from PIL import Image

from seedbed.formats.group_wsss import read_attention, write_attention
from seedbed.runtime.errors import UserError

SIZE = (2, 3)
MAPS = {1: np.array([[0, 51, 255]] * 2) / 255, 12: np.full(SIZE, 102) / 255}


def test_files_count_classes_from_zero_and_are_8_bit_grey(tmp_path):
    write_attention(tmp_path, "a", MAPS)
    assert {path.name for path in tmp_path.iterdir()} == {"a_0.png", "a_11.png"}
    with Image.open(tmp_path / "a_0.png") as picture:
        assert picture.mode == "L" and np.asarray(picture).tolist() == [[0, 51, 255]] * 2


def test_round_trip_in_the_order_asked_for(tmp_path):
    write_attention(tmp_path, "a", MAPS)
    found = read_attention(tmp_path, "a", [12, 1], SIZE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [MAPS[12], MAPS[1]], atol=1e-6)


def test_a_class_without_a_file_is_nowhere(tmp_path):
    write_attention(tmp_path, "a", MAPS)
    found = read_attention(tmp_path, "a", [3, 12], SIZE)
    assert not found[0].any() and (found[1] == MAPS[12].astype(np.float32)).all()
    with pytest.raises(UserError, match=r"no attention map of a \(a_1\.png, a_2\.png\)"):
        read_attention(tmp_path, "a", [2, 3], SIZE)


def test_maps_may_be_square_grids_of_any_side(tmp_path):
    write_attention(tmp_path, "a", {1: np.eye(4)})
    assert read_attention(tmp_path, "a", [1, 2], SIZE).shape == (2, 4, 4)


def test_sizes_that_do_not_fit_are_named(tmp_path):
    write_attention(tmp_path, "a", {1: np.ones((3, 2))})
    with pytest.raises(UserError, match=r"a_0\.png is \(3, 2\): .*size \(2, 3\)"):
        read_attention(tmp_path, "a", [1], SIZE)
    write_attention(tmp_path, "a", {1: np.ones(SIZE), 2: np.eye(4)})
    for order in ([1, 2], [2, 1]):
        with pytest.raises(UserError, match=r"a_0\.png .*a_1\.png|a_1\.png .*a_0\.png"):
            read_attention(tmp_path, "a", order, SIZE)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "a_0.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"a_0\.png"):
        read_attention(tmp_path, "a", [1], SIZE)
