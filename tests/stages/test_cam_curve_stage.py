import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.background_curve import background_curve
from seedbed.formats.maps import write_maps
from seedbed.formats.psa import write_cam
from seedbed.formats.tables import read_tsv
from seedbed.runtime.errors import UserError
from stages.cam_curve import CHOSEN, cam_curve

# Correct for background scores from 0.25, where the second pixel becomes background, to 0.5.
MAPS = np.uint8([[[127, 63, 255]], [[63, 0, 255]]])
TRUTH = np.uint8([[1, 0, 255]])
OWN = "train (VOC's own list)"


def entry(image_id, split="train", has_mask=True):
    return ImageEntry(image_id, f"{image_id}.jpg", 1, 3, (1, 2), split, has_mask, "")


class Project:
    """Two train images with ground truth, a and b, one without, and one of val."""

    def __init__(self, folder):
        self.folder = folder
        self.index = folder / "index.json"
        self.images = (entry("a"), entry("b"), entry("c", has_mask=False), entry("v", "val"))
        self.own = ()
        self.cams = {"a": MAPS, "b": MAPS}
        self.truth = {"a": TRUTH, "b": np.uint8([[2, 2, 2]])}

    def save(self):
        classes = (ClassInfo("cat", 8), ClassInfo("person", 15))
        Index(classes, self.images, "annotations", self.own).save(self.index)
        with write_maps(self.folder / "cam.h5", levels=255) as maps:
            for image_id, array in self.cams.items():
                maps.put(image_id, array, classes=[1, 2])
        with write_maps(self.folder / "masks.h5") as maps:
            for image_id, mask in self.truth.items():
                maps.put(image_id, mask)

    def run(self, name="curve", **maps):
        self.save()
        output, picture = self.folder / f"{name}.tsv", self.folder / f"{name}.png"
        sources = maps or {"cams": [self.folder / "cam.h5"]}
        truth = self.folder / "masks.h5"
        cam_curve(index=self.index, truth=truth, output=output, picture=picture, **sources)
        return read_tsv(output)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_curve_of_one_image_by_hand(project):
    project.images = (entry("a"), entry("v", "val"))
    rows = project.run()
    assert [row["background_score"] for row in rows] == [f"{t / 100:.6g}" for t in range(60)]
    assert {(row["list"], row["images"]) for row in rows} == {("train", "1")}
    miou = [float(row["miou"]) for row in rows]
    assert miou == [0.25] * 25 + [1.0] * 25 + [0.25] * 10  # 63/255 < 0.25, 127/255 < 0.5
    assert [row["best"] for row in rows] == [""] * 25 + [CHOSEN] + [""] * 34


def test_vocs_own_list_is_scored_separately(project):
    project.own = ("b", "c", "elsewhere")
    rows = project.run()
    images = [(row["list"], row["images"]) for row in rows]
    assert images == [("train", "2")] * 60 + [(OWN, "1")] * 60
    maps = {c: values / np.float32(255) for c, values in zip((1, 2), MAPS, strict=True)}
    expected = background_curve([(maps, project.truth["b"])], 3)[1]
    np.testing.assert_allclose([float(row["miou"]) for row in rows[60:]], expected, atol=1e-6)
    assert sum(row["best"] == CHOSEN for row in rows[:60]) == 1
    assert sum(row["best"] == CHOSEN for row in rows[60:]) == 1


def test_stored_levels_are_compared_exactly(project):
    """51 / 255 is 0.2: there, and not at 0.21, the pixel becomes background."""
    project.images = (entry("a"), entry("v", "val"))
    project.cams["a"] = np.uint8([[[51, 51, 51]], [[0, 0, 0]]])
    project.truth["a"] = np.uint8([[1, 1, 1]])
    assert [float(row["miou"]) for row in project.run()] == [1] * 20 + [0] * 40


@pytest.mark.parametrize("own", [("a", "b"), ("a", "b", "c"), ("elsewhere",)])
def test_vocs_own_list_is_left_out_if_it_is_empty_or_the_whole_list(project, own):
    project.own = own
    assert {row["list"] for row in project.run()} == {"train"}


def test_psa_files_give_the_same_curve(project):
    folder = project.folder / "npy"
    for image_id, array in project.cams.items():
        by_source = {source: m / np.float32(255) for source, m in zip((8, 15), array, strict=True)}
        # A class that the data set lacks is ignored.
        write_cam(folder / f"{image_id}.npy", {**by_source, 3: np.ones((1, 3))})
    assert project.run("npy", npy=folder) == project.run()
    pictures = [(project.folder / f"{name}.png").read_bytes() for name in ("npy", "curve")]
    assert pictures[0] == pictures[1]


def test_the_curve_is_drawn(project):
    project.run()
    with Image.open(project.folder / "curve.png") as picture:
        assert picture.size[0] > 300 and "Software" not in picture.info
        assert len(np.unique(picture.convert("L"))) > 2


def test_missing_inputs_are_named(project):
    with pytest.raises(UserError, match="either --cams or --npy"):
        project.run(cams=[])
    with pytest.raises(UserError, match="either --cams or --npy"):
        project.run(cams=[project.folder / "cam.h5"], npy=project.folder)
    with pytest.raises(UserError, match=r"a\.npy is missing"):
        project.run(npy=project.folder)
    write_cam(project.folder / "a.npy", {3: np.ones((1, 3))})
    with pytest.raises(UserError, match=r"a\.npy has a map of none"):
        project.run(npy=project.folder)
    write_cam(project.folder / "a.npy", {8: np.ones((2, 3))})
    with pytest.raises(UserError, match=r"a: its maps are \(2, 3\)"):
        project.run(npy=project.folder)
    project.images = (entry("c", has_mask=False), entry("v", "val"))
    with pytest.raises(UserError, match="no train image has a mask"):
        project.run()


def test_parts_for_tuning_are_scored_separately(project):
    """Of the whole train list: every second image, a and c, but c has no mask."""
    rows = project.run(cams=[project.folder / "cam.h5"], tuning_every=2)
    lists = [(row["list"], row["images"]) for row in rows[::60]]
    assert lists == [("train", "2"), ("train (for tuning)", "1"), ("train (held out)", "1")]
