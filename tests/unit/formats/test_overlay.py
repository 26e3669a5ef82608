import numpy as np
from PIL import Image

from seedbed.formats.overlay import cue_preview, overlay, write_overlay
from seedbed.formats.palette import VOC_PALETTE

CAT, DOG = (128, 0, 0), (0, 128, 0)  # VOC's colours of 1 and 2


def test_background_is_the_photo_and_an_object_is_tinted_within_its_edge():
    image = np.full((5, 7, 3), 100, np.uint8)
    mask = np.zeros((5, 7), np.uint8)
    mask[:, :4] = 1
    painted = overlay(image, mask)
    assert painted.dtype == np.uint8 and painted.shape == image.shape
    assert (painted[:, 4:] == 100).all()
    assert (painted[:, 3] == CAT).all()
    assert (painted[:, :3] == (50 + 64, 50, 50)).all()
    assert (image == 100).all()


def test_two_objects_that_touch_both_have_an_edge():
    mask = np.repeat(np.uint8([[1], [1], [2], [2]]), 3, axis=1)
    painted = overlay(np.zeros((4, 3, 3), np.uint8), mask)
    assert painted[:, 1].tolist() == [[64, 0, 0], [*CAT], [*DOG], [0, 64, 0]]


def test_edges_grow_with_the_image():
    mask = np.zeros((500, 600), np.uint8)
    mask[:, 300:] = 1
    painted = overlay(np.zeros((500, 600, 3), np.uint8), mask)
    assert (painted == CAT).all(axis=2).sum(axis=1).tolist() == [3] * 500


def test_a_single_pixel_has_no_edge():
    assert overlay(np.zeros((1, 1, 3), np.uint8), np.uint8([[1]])).tolist() == [[[64, 0, 0]]]


def test_the_file_is_a_jpeg_of_that(tmp_path):
    image, mask = np.full((16, 16, 3), 100, np.uint8), np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 2
    write_overlay(tmp_path / "new" / "a.jpg", image, mask)
    with Image.open(tmp_path / "new" / "a.jpg") as file:
        assert file.format == "JPEG" and file.mode == "RGB"
        found = np.array(file).astype(int)
    assert abs(found - overlay(image, mask)).max() < 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.jpg"]


def test_cue_preview_shows_cells_in_place():
    image = np.full((6, 9, 3), 200, np.uint8)
    cues = np.zeros((3, 2, 3), bool)
    cues[1, 0, 0] = cues[2, 1, 2] = cues[0, 1, 0] = True
    picture = cue_preview(image, cues)
    assert picture.dtype == np.uint8 and picture.shape == image.shape
    one, two = (picture[at].astype(int) for at in ((0, 0), (5, 8)))
    assert one[0] > one[1] and two[1] > two[0]  # maroon and green, as VOC has them
    assert VOC_PALETTE[1].tolist() == [128, 0, 0]
    assert (picture[5, 0] < picture[0, 8]).all()  # background is darker than no cue
