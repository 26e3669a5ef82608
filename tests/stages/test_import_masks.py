"""Masks go out as COCO and labelme, and come back as the PNGs of a round."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import write_maps
from seedbed.formats.masks import read_mask
from seedbed.runtime.errors import UserError
from stages.export import export
from stages.import_masks import import_masks

CLASSES = (ClassInfo("cat", 8), ClassInfo("void", 15))  # a name that tools use for something else
SIZE = (12, 16)
MASK = np.zeros(SIZE, np.uint8)
MASK[2:10, 3:12] = 1
MASK[4:7, 5:8] = 0
MASK[5, 6] = 2
MASK[11] = 255
MASKS = {"a b": MASK, "ü": np.zeros(SIZE, np.uint8)}
SOURCE = {name: np.uint8([0, 8, 15, *[255] * 253])[mask] for name, mask in MASKS.items()}


@pytest.fixture
def folder(tmp_path):
    images = [ImageEntry(i, f"photos/{i}.jpg", *SIZE, (1,), "train", True, "") for i in MASKS]
    Index(CLASSES, tuple(images), "annotations").save(tmp_path / "index.json")
    (tmp_path / "data/photos").mkdir(parents=True)
    with write_maps(tmp_path / "masks.h5") as maps:
        for name, mask in MASKS.items():
            Image.new("RGB", SIZE[::-1]).save(tmp_path / f"data/photos/{name}.jpg")
            maps.put(name, mask)
    return tmp_path


@pytest.fixture
def out(folder):
    def out(what, **options):
        target = folder / "results" / what
        export(
            what=what,
            index=folder / "index.json",
            maps=[folder / "masks.h5"],
            folder=target,
            data=folder / "data",
            **options,
        )
        return target

    return out


@pytest.fixture
def back(folder):
    def back(annotations):
        import_masks(
            index=folder / "index.json",
            annotations=annotations,
            masks=folder / "corrected",
            data=folder / "data",
        )
        return {path.stem: read_mask(path) for path in (folder / "corrected").iterdir()}

    return back


def assert_equal(found, expected=SOURCE):
    assert found.keys() == expected.keys()
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, expected[name])


def test_coco_is_read_by_its_own_library_and_comes_back(out, back, capsys):
    path = out("coco") / "annotations.json"
    api = COCO(path)
    assert [image["file_name"] for image in api.loadImgs(api.getImgIds())] == ["a b.jpg", "ü.jpg"]
    names = {info["id"]: info["name"] for info in api.loadCats(api.getCatIds())}
    assert names == {8: "cat", 15: "void", 255: "__ignore__"}
    for annotation in api.loadAnns(api.getAnnIds(imgIds=[1])):
        pixels = api.annToMask(annotation) == 1
        np.testing.assert_array_equal(pixels, SOURCE["a b"] == annotation["category_id"])
        assert annotation["area"] == pixels.sum() and annotation["iscrowd"] == 0
        assert annotation["bbox"] == coco_mask.toBbox(api.annToRLE(annotation)).tolist()
    assert_equal(back(path))
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 masks in")


def test_labelme_comes_back(out, back):
    files = out("labelme", tolerance=0)
    assert sorted(path.name for path in files.iterdir()) == ["a b.json", "ü.json"]
    content = json.loads((files / "a b.json").read_text())
    assert content["imagePath"] == "../../data/photos/a b.jpg"
    assert [shape["label"] for shape in content["shapes"]] == [
        "cat",
        "__ignore__",
        "_background_",
        "void",
    ]
    assert_equal(back(files))


def test_what_a_person_changes_is_in_the_mask(out, back, folder):
    files = out("labelme", tolerance=0)
    content = json.loads((files / "ü.json").read_text())
    content["imagePath"] = "C:\\photos\\u\u0308.jpg"  # as Windows, and a Mac, write it
    brush = io.BytesIO()
    Image.fromarray(np.uint8([[0, 255], [255, 255]])).save(brush, "PNG")
    content["shapes"] = [
        {"label": "cat", "shape_type": "rectangle", "points": [[-5, 1], [4, 3]]},
        {"label": "void", "shape_type": "polygon", "points": [[2, 2], [4, 2], [4, 4], [2, 4]]},
        {"label": "cat", "shape_type": "circle", "points": [[10, 6], [10, 8.2]]},
        {
            "label": "__ignore__",
            "shape_type": "mask",
            "points": [[14, 10], [15, 11]],
            "mask": base64.b64encode(brush.getvalue()).decode(),
        },
    ]
    (files / "ü.json").write_text("\ufeff" + json.dumps(content))
    (files / "a b.json").unlink()
    (folder / "corrected").mkdir()
    (folder / "corrected" / "mine.png").write_bytes(b"")
    with pytest.raises(UserError):
        back(files.parent / "nothing")
    (folder / "corrected" / "mine.png").unlink()
    expected = np.zeros(SIZE, np.uint8)
    expected[1:3, 0:4] = 8
    expected[2:4, 2:4] = 15
    rows, columns = np.indices(SIZE) + 0.5
    expected[np.hypot(rows - 6, columns - 10) < 2.2] = 8
    expected[[10, 11, 11], [15, 14, 15]] = 255
    assert_equal(back(files), {"ü": expected})


@pytest.mark.parametrize("what", ["coco", "labelme"])
def test_images_of_one_name_in_two_folders(folder, out, back, what):
    places = {"a b": "x/1.jpg", "ü": "photos/y/1.jpg"}
    images = [ImageEntry(i, place, *SIZE, (1,), "train", True, "") for i, place in places.items()]
    Index(CLASSES, tuple(images), "annotations").save(folder / "index.json")
    files = out(what, **({"tolerance": 0} if what == "labelme" else {}))
    assert_equal(back(files if what == "labelme" else files / "annotations.json"))


SHAPE = {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [4, 1], [4, 4]]}
REFUSED = {
    "no JSON": ("{", "a b.json is no file of labelme's: the file: Invalid JSON"),
    "COCO's": ({"images": []}, "a b.json is no file of labelme's: shapes: Field required"),
    "another image": ({"shapes": [], "imagePath": "x.jpg"}, "is of 'x.jpg', no image of the data"),
    "another size": ({"shapes": [], "imageHeight": 3}, r"is of an image of \(3, 16\), not \(12"),
    "another name": ({"shapes": [{**SHAPE, "label": "cta"}]}, "a b.json names 'cta', neither a"),
    "a line": (
        {"shapes": [{**SHAPE, "shape_type": "line"}]},
        "shapes.0 of .*line has no area",
    ),
    "no area": ({"shapes": [{**SHAPE, "points": [[1, 1]]}]}, "shapes.0 of .*a polygon has 2 numb"),
    "not finite": ({"shapes": [{**SHAPE, "points": [[1, float("inf")]]}]}, "no file of labelme's"),
    "no brush": ({"shapes": [{**SHAPE, "shape_type": "mask"}]}, "has no mask or not two points"),
    "a broken brush": (
        {"shapes": [{**SHAPE, "shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "eA=="}]},
        "shapes.0 of .*its mask cannot be read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(folder, out, back, case):
    content, message = REFUSED[case]
    files = out("labelme")
    text = content if isinstance(content, str) else json.dumps(content)
    (files / "a b.json").write_text(text)
    with pytest.raises(UserError, match=message):
        back(files)
    assert not (folder / "corrected").exists()


def test_two_files_of_one_image(out, back):
    files = out("labelme")
    (files / "copy.json").write_bytes((files / "a b.json").read_bytes())
    with pytest.raises(UserError, match=r"a b\.json and .*copy\.json are both of a b"):
        back(files)
    for path in files.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="contains no JSON file"):
        back(files)


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        ("categories", {"name": "cta"}, "names 'cta', neither a class nor _background_ and"),
        ("images", {"file_name": "x/y.jpg"}, "is of 'x/y.jpg', no image of the data set"),
        ("images", {"file_name": "b/ü.png"}, "has an image twice"),
        ("annotations", {"image_id": 7}, "annotations.0 of .* is of no image or category"),
        ("annotations", {"segmentation": None}, "annotations.0 of .* has no segmentation"),
        ("images", {"height": 5}, "correct either"),
    ],
)
def test_coco_files_that_are_refused(folder, out, back, key, changes, message):
    path = out("coco") / "annotations.json"
    content = json.loads(path.read_text())
    content[key][0] |= changes
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        back(path)
    assert not (folder / "corrected").exists()


def test_a_wrong_tolerance(out):
    with pytest.raises(UserError, match="--tolerance -1: give pixels"):
        out("labelme", tolerance=-1)
