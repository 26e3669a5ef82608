"""COCO's instances, read as a source: labels, and masks painted from every kind of region."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pydantic import TypeAdapter, ValidationError

from seedbed.data.images import read_image
from seedbed.data.layouts.coco import coco_source
from seedbed.data.layouts.regions import Segmentation, region_of
from seedbed.data.source import decode, raise_problem
from seedbed.runtime.errors import UserError

SIZE = HEIGHT, WIDTH = 4, 6
SEGMENTATION = TypeAdapter(Segmentation)
EDGES = np.array([[1] * 6, [0] * 6, [0] * 6, [1] * 6])


def box(left, top, right, bottom):
    """A polygon around whole pixels."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(mask, compressed=True):
    found = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    if compressed:
        return {"size": found["size"], "counts": found["counts"].decode()}
    flat = np.asarray(mask).T.ravel().astype(bool)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat]))).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *ends, flat.size]).tolist()}


def region(found, size=SIZE):
    return region_of(SEGMENTATION.validate_python(found), size)


def test_run_lengths_are_coco_s():
    random = np.random.default_rng(0)
    for _ in range(60):
        mask = random.random(random.integers(1, 60, 2)) < random.random()
        mask[len(mask) // 2 :] ^= True
        for compressed in (True, False):
            np.testing.assert_array_equal(region(runs(mask, compressed), mask.shape), mask)
    big = np.zeros((300, 200), bool)
    big[:, :90] = True  # 27 000 pixels: several characters
    np.testing.assert_array_equal(region(runs(big), big.shape), big)


def test_polygons_are_painted_as_coco_does():
    expected = np.zeros(SIZE, bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(region(box(2, 1, 5, 3)), expected)
    both = region([*box(2, 1, 5, 3), *box(0, 0, 1, 4)])
    assert both.sum() == expected.sum() + HEIGHT
    assert region(box(-1, -1, 7, 5)).all()  # a little off the image


@pytest.mark.parametrize(
    "other",
    [
        [2, 1, 5, 1, 5, 3, 2, 3],
        [[2, 1], [5, 1], [5, 3], [2, 3]],
        [[[2, 1], [5, 1], [5, 3], [2, 3]]],
        [[0, 0], *box(2, 1, 5, 3), [0, 0, 1, 1]],
        [runs(region(box(2, 1, 5, 3)))],
    ],
)
def test_regions_as_other_programs_write_them(other):
    np.testing.assert_array_equal(region(other), region(box(2, 1, 5, 3)))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([[0, 0, 1, 1]], "has 4 numbers"),
        ([[0, 0], [1, 1]], "has 2 numbers"),
        ([0, 0, 1, 1, 2], "has 5 numbers"),
        ([[0, 0, 1, 1, 2, 2, 3]], "has 7 numbers"),
        ([[]], "has 0 numbers"),
        ([[0, 0, 1e9, 0, 5, 4]], "off the image of 4 x 6"),
        ([[0, -1e9, 1, 0, 5, 4]], "off the image"),
        ({"size": [6, 4], "counts": [0, 24]}, "do not fill"),
        ({"size": [4, 6], "counts": [3, 20]}, "do not fill"),
        ({"size": [4, 6], "counts": [0, 25]}, "do not fill"),
        ({"size": [4, 6], "counts": []}, "do not fill"),
        ({"size": [4, 6], "counts": ""}, "do not fill"),
        ({"size": [4, 6], "counts": "O"}, "do not fill"),  # a negative run
        ({"size": [4, 6], "counts": "0P"}, "no string of COCO's"),  # more should follow
        ({"size": [4, 6], "counts": "p"}, "no string of COCO's"),
        ({"size": [4, 6], "counts": "é\x00"}, "no string of COCO's"),
        ({"size": [4, 6], "counts": "o" * 100_000 + "0"}, "no string of COCO's"),
    ],
)
def test_broken_regions_are_refused(found, message):
    with pytest.raises(ValueError, match=message):
        region(found)


@pytest.mark.parametrize("counts", [[-1, 25], ["a"], None, 3])
def test_regions_of_another_form_are_refused(counts):
    with pytest.raises(ValidationError):
        region({"size": [4, 6], "counts": counts})


def image(number, name, **more):
    return {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, **more}


def thing(number, category, segmentation=None, **more):
    return {"id": 9, "image_id": number, "category_id": category, "area": 1.0,
            "segmentation": segmentation, **more}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Content of a train file and of a val file, with their images."""
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"{name}.jpg")
    categories = [{"id": k, "name": n} for k, n in ((7, "zebra"), (3, "cow"), (0, "unused"))]
    train = {
        "info": {"year": 2017},
        "images": [image(1, "a.jpg"), image(2, "b.jpg"), image(3, "c.jpg")],
        "categories": categories,
        "annotations": [
            thing(1, 3, box(0, 0, 3, 2)),  # the smaller lies on top, in whatever order
            thing(1, 7, box(0, 0, 6, 3)),
            thing(2, 7, runs(EDGES), iscrowd=1),  # smaller than what lies on it
            thing(2, 3, box(0, 0, 6, 3)),
        ],
    }
    val = {
        "images": [image("x", "d.jpg")],
        "categories": [{"id": "one", "name": "zebra "}, {"id": "two", "name": "yak"}],
        "annotations": [thing("x", "one", box(0, 0, 2, 4)), thing("x", "two", box(4, 0, 6, 4))],
    }
    return {"train": train, "val": val, "folder": tmp_path}


def read(files, on_problem=raise_problem, **options):
    folder = files["folder"]
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(files[split]))
    names = (folder / "train.json", folder, folder / "val.json")
    return coco_source(*names, on_problem=on_problem, **{"keep_negatives": False, **options})


def problems_of(files):
    found = []
    read(files, found.append)
    return [line.replace(f"{files['folder']}/", "") for line in found]


def test_categories_of_train_images_are_classes_and_ids_are_file_stems(files):
    source = read(files)
    assert [(info.name, info.source_id) for info in source.table.classes] == [
        ("zebra", 1), ("cow", 2)
    ]  # fmt: skip
    assert source.splits == {"a": "train", "b": "train", "d": "val"}
    assert source.labels == {"a": (1, 2), "b": (1, 2), "d": (1,)}  # crowds count
    assert source.label_source == "train.json"


def test_what_falls_out_is_noted(files):
    empty, others = read(files).notes
    assert empty.startswith("1 train images of ") and empty.endswith("left out: c")
    assert others == "1 categories are none of the classes: void in masks: yak"


def test_train_images_without_a_class_can_be_kept_as_background(files):
    source = read(files, keep_negatives=True)
    assert source.splits["c"] == "train" and source.labels["c"] == ()
    assert not source.mask("c", SIZE).any()
    assert len(source.notes) == 1  # nothing is left out
    chosen = read(files, classes=["yak"], keep_negatives=True, val_images=files["folder"])
    assert chosen.labels["a"] == ()  # what it shows is none of the classes


def test_one_category_id_of_two_names_is_refused(files):
    files["train"]["categories"] += [{"id": "7", "name": "zebra "}]  # the same pair
    assert read(files).table.names == ("zebra", "cow")
    files["train"]["categories"] += [{"id": "7", "name": "yak"}]
    with pytest.raises(
        UserError, match=r"^category 7 of .*train\.json is 'zebra' and 'yak': renum"
    ):
        read(files)
    files["train"]["categories"].pop()
    files["val"]["categories"] += [{"id": "one", "name": "horse"}]
    with pytest.raises(UserError, match=r"^category one of .*val\.json is 'zebra' and 'horse'"):
        read(files)


FRACTIONS = [[[0.1, 0.2, 0.6, 0.2, 1, 0.9]], [0, 0, 1, 0, 1, 1], [[0.2, 0.2], [0.9, 0.2], [1, 1]]]


@pytest.mark.parametrize("size", [{}, {"height": None, "width": None}])
def test_polygons_in_fractions_of_the_image_are_refused(files, size):
    for photo in files["train"]["images"]:
        photo |= size
    files["train"]["annotations"] = [thing(1, 3, found) for found in FRACTIONS]
    with pytest.raises(
        UserError, match=r"^the coordinates of all polygons in .*train\.json are at"
    ):
        read(files)
    files["train"]["annotations"].append(thing(2, 7, box(0, 0, 3, 1)))
    mask = read(files).mask("a", SIZE)  # in pixels: small objects
    assert mask.shape == SIZE


def test_polygons_of_tiny_images_may_end_within_a_pixel(files):
    for photo in files["train"]["images"]:
        photo |= {"height": 2, "width": 3}
    files["train"]["annotations"] = [thing(1, 3, box(0, 0, 1, 1))]
    assert np.count_nonzero(read(files).mask("a", (2, 3))) == 1


@pytest.mark.parametrize("segmentation", [None, [], [[]], [[0, 0, 1, 1]], runs(EDGES)])
def test_what_has_no_coordinates_has_no_fractions(files, segmentation):
    files["train"]["annotations"] = [thing(1, 3, segmentation)]
    assert read(files).labels["a"] == (1,)


def test_names_of_categories_have_plain_blanks(files):
    files["train"]["categories"][0]["name"] = "\u200bplains\u00a0 zebra"
    assert read(files).table.names == ("plains zebra", "cow")


def test_smaller_objects_lie_on_larger_ones_and_all_on_crowds(files):
    source = read(files)
    expected = np.zeros(SIZE, np.uint8)
    expected[:3], expected[:2, :3] = 1, 2
    np.testing.assert_array_equal(source.mask("a", SIZE), expected)
    expected[:3], expected[3] = 2, 255
    np.testing.assert_array_equal(source.mask("b", SIZE), expected)


def test_another_category_is_void_and_an_image_of_none_is_background(files):
    files["val"]["images"].append(image("y", "c.jpg"))
    files["train"]["images"].pop()
    source = read(files)
    assert source.mask("d", SIZE)[0].tolist() == [1, 1, 0, 0, 255, 255]
    assert not source.mask("c", SIZE).any() and source.labels["c"] == ()
    entry, _ = decode(source, files["folder"], "c")
    assert entry.has_mask and entry.labels == ()


def test_a_file_without_a_labelled_train_image_is_named(files):
    files["train"]["annotations"] = []
    with pytest.raises(UserError, match=r"train\.json gives none of its images a class: label"):
        read(files, keep_negatives=True)
    assert read(files, keep_negatives=True, classes=["cow"]).labels["a"] == ()


def test_a_very_long_name_of_a_category_is_refused_with_its_file(files):
    files["train"]["categories"][0]["name"] = "x" * 10_001
    with pytest.raises(UserError, match=r"train\.json: 'xxx.* has 10001 characters"):
        read(files)


def test_chosen_classes_are_numbered_as_given(files):
    files["train"]["annotations"].append(thing(3, 7))
    source = read(files, classes=["cow"])
    assert source.labels == {"a": (1,), "b": (1,), "d": ()}
    assert sorted(np.unique(source.mask("a", SIZE))) == [0, 1, 255]


def test_boxes_label_train_images_but_val_images_need_regions(files):
    for without in (None, []):
        files["train"]["annotations"][0] = thing(1, 3, without)
        assert read(files).mask("a", SIZE) is None
        assert read(files).labels["a"] == (1, 2)
    files["val"]["annotations"][0]["segmentation"] = []
    with pytest.raises(UserError, match=r"val image d\.jpg has an object without .*val\.json"):
        read(files).mask("d", SIZE)


def test_a_byte_order_mark_is_fine(files):
    path = files["folder"] / "bom.json"
    path.write_text(json.dumps(files["train"]), encoding="utf-8-sig")
    assert set(
        coco_source(path, files["folder"], keep_negatives=False, on_problem=raise_problem).splits
    ) == {"a", "b"}


def test_val_is_optional_and_may_lie_in_its_own_folder(files):
    folder = files["folder"]
    (folder / "held out").mkdir()
    (folder / "d.jpg").rename(folder / "held out" / "d.jpg")
    assert read(files, val_images=folder / "held out").images["d"].is_file()
    alone = coco_source(
        folder / "train.json", folder, keep_negatives=False, on_problem=raise_problem
    )
    assert set(alone.splits.values()) == {"train"}


def test_images_may_lie_in_folders_below(files):
    files["train"]["images"][0]["file_name"] = "deep/a.jpg"
    (files["folder"] / "deep").mkdir()
    (files["folder"] / "a.jpg").rename(files["folder"] / "deep" / "a.jpg")
    assert read(files).images["a"] == files["folder"] / "deep" / "a.jpg"


@pytest.mark.parametrize(
    "name", ["../z.jpg", "/etc/z.jpg", "x/../z.jpg", "x\\z.jpg", ".a.jpg", "\n.jpg", ""]
)
def test_names_that_leave_the_folder_are_refused(files, name):
    files["train"]["images"][2]["file_name"] = name
    (line,) = problems_of(files)
    assert line.startswith(f"{name!r} in train.json is not the name of a file in ")


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "/".join(["x" * 99] * 99)])
def test_names_that_are_too_long_for_a_file_are_refused(files, name):
    files["train"]["images"][2]["file_name"] = name
    (line,) = problems_of(files)
    assert line.startswith("'xxx") and "…' in train.json is not the name of a file in " in line
    files["train"]["images"][2]["file_name"] = f"https://host/{'x' * 300}/c.jpg"
    assert problems_of(files) == []  # the end is the file's


@pytest.mark.parametrize("name", ["data:image/png;base64,iVBO", "DATA:,x/a.jpg", "x" * 10_001])
def test_images_within_the_file_are_refused(files, name):
    files["train"]["images"][2]["file_name"] = name
    with pytest.raises(UserError, match=r"^the file_name of image 3 in .*train\.json, '") as caught:
        read(files)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name",
    [
        "sub\\a.jpg",
        "C:\\photos\\sub\\a.jpg",
        "../../label-studio/data/media/upload/1/a.jpg",
        "/data/upload/1/0f3e9a1b-a.jpg",
        "/data/local-files/?d=photos%2Fa.jpg",
        "https://host.example/files/a.jpg?token=1",
        "s3://bucket/photos/a.jpg",
        "file:///home/me/photos/a.jpg",
    ],
)
def test_paths_of_annotation_programs_are_found_by_their_ends(files, name):
    files["train"]["images"][0]["file_name"] = name
    source = read(files)
    assert source.images["a"] == files["folder"] / "a.jpg"
    assert source.labels["a"] == (1, 2)


def test_escapes_in_web_addresses_are_decoded(files):
    (files["folder"] / "a.jpg").rename(files["folder"] / "a & b.jpg")
    files["train"]["images"][0]["file_name"] = "/data/upload/1/a%20%26%20b.jpg"
    assert "a & b" in read(files).splits


def test_ids_may_be_text_here_and_numbers_there(files):
    for annotation in files["train"]["annotations"]:
        annotation |= {"image_id": str(annotation["image_id"]), "iscrowd": None}
    files["train"]["categories"] = [
        {"id": str(info["id"]), "name": info["name"]} for info in files["train"]["categories"]
    ]
    assert read(files).labels == {"a": (1, 2), "b": (1, 2), "d": (1,)}


def test_categories_of_one_name_are_one_class(files):
    files["train"]["categories"].append({"id": 70, "name": "zebra"})
    files["train"]["annotations"].append(thing(3, 70))
    source = read(files)
    assert [info.name for info in source.table.classes] == ["zebra", "cow"]
    assert source.labels["c"] == (1,)


def test_images_of_one_name_in_two_folders_have_ids_with_the_folder(files):
    for number, folder in enumerate(("left", "right")):
        (files["folder"] / folder).mkdir()
        picture = Image.new("RGB", (WIDTH, HEIGHT), (99 * number, 0, 0))
        picture.save(files["folder"] / folder / "1.jpg")
        files["train"]["images"].append(image(10 + number, f"{folder}/1.jpg"))
        files["train"]["annotations"].append(thing(10 + number, (3, 7)[number]))
    source = read(files)
    assert source.labels["left_1"] == (2,) and source.labels["right_1"] == (1,)
    assert source.images["right_1"] == files["folder"] / "right" / "1.jpg"
    assert any(note.startswith("2 images have the names of others") for note in source.notes)
    (files["folder"] / "right" / "1.jpg").write_bytes((files["folder"] / "left/1.jpg").read_bytes())
    (line,) = problems_of(files)
    assert line == "left/1.jpg and right/1.jpg are the same image: take one out"


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_objects_in_the_pixels_of_the_file_are_turned_with_the_image(files, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:2, :3] = 255  # where the smaller object is
    Image.fromarray(pixels).save(files["folder"] / "a.png", exif=exif)
    files["train"]["images"][0]["file_name"] = "a.png"
    (files["folder"] / "a.jpg").unlink()
    shown = read_image(files["folder"] / "a.png")
    assert shown.shape[:2] == SIZE[::-1]
    mask = read(files).mask("a", SIZE[::-1])
    np.testing.assert_array_equal(mask == 2, shown[..., 0] == 255)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (SIZE[::-1], r"image .*a\.jpg is missing: put it there"),  # it would say if it is turned
        ((SIZE[0] + 1, SIZE[1]), r"image .*a\.jpg is \(.*: correct either"),
    ],
)
def test_an_image_of_another_size_that_is_missing_ends_in_one_line(files, size, message):
    source = read(files)
    (files["folder"] / "a.jpg").unlink()
    with pytest.raises(UserError, match=message):
        source.mask("a", size)


@pytest.mark.parametrize(
    ("split", "part", "more", "expected"),
    [
        ("train", "images", image(9, "b.png"), "image b, number 9, is in train.json twice"),
        ("train", "images", image(1, "z.jpg"), "image z, number 1, is in train.json twice"),
        ("val", "images", image(5, "a.jpg"), "image a, number 5, is in train.json and in val.json"),
        ("train", "annotations", thing(99, 3), "annotations.4 of train.json is of image '99' and"),
        ("val", "annotations", thing("x", 99), "annotations.2 of val.json is of image 'x' and"),
    ],
)
def test_what_does_not_fit_is_reported(files, split, part, more, expected):
    files[split][part].append(more)
    (line,) = problems_of(files)
    assert line.startswith(expected)


def test_masks_that_cannot_be_painted_name_image_and_file(files):
    files["train"]["annotations"][0]["segmentation"] = [[0, 0, 1, 1]]
    files["train"]["images"][1]["width"] = 99
    source = read(files)
    with pytest.raises(UserError, match=r"a\.jpg in .*train\.json: a polygon has 4 numbers"):
        source.mask("a", SIZE)
    with pytest.raises(UserError, match=r"b\.jpg is \(4, 6\), and \(4, 99\) in .*train\.json"):
        source.mask("b", SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no COCO instances: the file: Invalid JSON"),
        ("[]", "holds no COCO instances: the file: "),
        ('{"images": [], "categories": []}', "annotations: Field required"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', r"images\.0\.file_name"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        coco_source(path, tmp_path, keep_negatives=False, on_problem=raise_problem)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="gone"):
        coco_source(tmp_path / "gone", tmp_path, keep_negatives=False, on_problem=raise_problem)
