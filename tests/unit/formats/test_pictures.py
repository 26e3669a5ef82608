"""JPEGs whose end is missing, and those whose end is only hidden by zeros."""

import io

import numpy as np
import pytest
from PIL import Image

from seedbed.data.images import read_image
from seedbed.formats.grey import read_grey
from seedbed.formats.pictures import ZEROS
from seedbed.runtime.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


def jpeg(picture=PIXELS, thumbnail=b"", **options):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **options)
    content = file.getvalue()
    comment = b"\xff\xfe" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    return content[:2] + comment + content[2:] if thumbnail else content


def interrupted(content, kept=0.5):
    cut = int(len(content) * kept)
    return content[:cut] + bytes(len(content) - cut)


@pytest.mark.parametrize("read", [read_image, read_grey])
@pytest.mark.parametrize(
    "options", [{}, {"thumbnail": jpeg(PIXELS[:8, :8])}, {"progressive": True}]
)
def test_a_jpeg_with_zeros_for_its_rest_is_refused(tmp_path, options, read):
    path = tmp_path / "a.jpg"
    path.write_bytes(interrupted(jpeg(**options)))
    with pytest.raises(UserError, match=r"a\.jpg.*zeros stand for the rest.*get it again"):
        read(path)
    path.write_bytes(interrupted(jpeg(**options), 0.85))
    with pytest.raises(UserError, match="zeros stand for the rest"):
        read(path)


@pytest.mark.parametrize(
    "behind",
    [
        bytes(ZEROS),
        bytes(100_000),
        b"a film of the moment before" + bytes(ZEROS),
        interrupted(jpeg(PIXELS[::2])),  # a second picture, of which only the first counts
    ],
)
def test_what_stands_behind_the_end_of_a_jpeg_does_not_matter(tmp_path, behind):
    whole, padded = tmp_path / "whole.jpg", tmp_path / "padded.jpg"
    whole.write_bytes(jpeg())
    padded.write_bytes(jpeg() + behind)
    assert np.array_equal(read_image(padded), read_image(whole))


def test_zeros_in_a_whole_jpeg_do_not_matter(tmp_path):
    """In a comment, and as pixels of one colour."""
    black = np.zeros((2048, 2048, 3), np.uint8)
    (tmp_path / "a.jpg").write_bytes(jpeg(black, thumbnail=bytes(5000)))
    assert not read_image(tmp_path / "a.jpg").any()
