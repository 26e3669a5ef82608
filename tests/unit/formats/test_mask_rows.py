import numpy as np
import pytest
from PIL import Image

from seedbed.formats.mask_rows import mask_rows
from seedbed.formats.masks import read_mask
from seedbed.formats.palette import VOC_PALETTE


@pytest.mark.parametrize("heights", [(7,), (1, 2, 4), (0, 7, 0)])
def test_a_mask_in_parts_is_the_mask(tmp_path, heights):
    mask = np.random.default_rng(0).integers(0, 256, (7, 5), np.uint8)
    with mask_rows(tmp_path / "a.png", mask.shape) as file:
        for part in np.split(mask, np.cumsum(heights)[:-1]):
            file.write(part)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and image.getpalette() == VOC_PALETTE.ravel().tolist()


def test_a_mask_without_all_its_rows_leaves_no_file(tmp_path):
    with (
        pytest.raises(ValueError, match="2 rows were written, not 3"),
        mask_rows(tmp_path / "a.png", (3, 4)) as file,
    ):
        file.write(np.zeros((2, 4), np.uint8))
    with (
        pytest.raises(ValueError, match=r"uint8 \(h, 4\)"),
        mask_rows(tmp_path / "a.png", (3, 4)) as file,
    ):
        file.write(np.zeros((2, 5), np.uint8))
    assert not list(tmp_path.iterdir())
