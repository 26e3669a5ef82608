"""The data set of voc-animals from a synthetic VOC and SBD."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from seedbed.data.index import Index
from seedbed.data.voc_subset import reduced
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask, write_mask
from seedbed.runtime.errors import UserError
from stages.convert import convert
from stages.settings import ConvertSettings
from stages.voc_subset import CLASSES, LISTS, voc_subset

CAT, CHAIR, DOG, VOID = 8, 9, 12, 255
WIDTH, HEIGHT = 40, 30
TAGS = {"t1": ("cat", "cat"), "t2": ("dog", "chair"), "v1": ("dog",)}


def colours(value):
    """A picture whose left half has one colour, its right half another."""
    pixels = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    pixels[:, WIDTH // 2 :] = 255 - value
    return Image.fromarray(pixels)


def mask(*ids):
    """A mask of vertical stripes of equal width."""
    return np.repeat(np.array([ids], np.uint8), WIDTH // len(ids), axis=1).repeat(HEIGHT, axis=0)


@pytest.fixture
def data(tmp_path) -> Path:
    """VOC with a mask of t1 and v1, SBD with others of all; another image that is not listed."""
    root, sbd = tmp_path / "VOCdevkit/VOC2012", tmp_path / "benchmark_RELEASE/dataset/cls"
    for folder in (root / "JPEGImages", root / "Annotations", root / "SegmentationClass", sbd):
        folder.mkdir(parents=True)
    for number, (image_id, names) in enumerate({**TAGS, "x": ("bus",)}.items()):
        colours(20 * number).save(root / f"JPEGImages/{image_id}.jpg", quality=95)
        objects = "".join(f"<object><name>{n}</name><bndbox/></object>" for n in names)
        text = f"<annotation>{objects}</annotation>"
        (root / f"Annotations/{image_id}.xml").write_text(text)
        content = {"GTcls": {"Segmentation": mask(0, DOG, CHAIR, 0)}}
        scipy.io.savemat(sbd / f"{image_id}.mat", content)
    write_mask(root / "SegmentationClass/t1.png", mask(0, CAT, VOID, 0))
    write_mask(root / "SegmentationClass/v1.png", mask(DOG, DOG, VOID, 0))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train_aug.txt").write_text("t2\nt1\n")
    (tmp_path / "lists/val.txt").write_text("v1\n")
    return tmp_path


def make(data, **options):
    voc_subset(data=data, lists=data / "lists", side=20, **options)
    return data / "voc-animals/VOCdevkit/VOC2012"


def test_the_subset_is_a_devkit_that_converts(data, tmp_path, capsys):
    folder = make(data)
    assert capsys.readouterr().out.endswith("3 images; 1 of them show classes that are left out\n")
    out = tmp_path / "out"
    names = ("index", "input_list", "masks", "mask_folder", "summary")
    settings = ConvertSettings(
        devkit="voc-animals/VOCdevkit/VOC2012", train_masks="SegmentationClassAug"
    )
    convert(**{name: out / name for name in names}, settings=settings, data=data)
    index = Index.load(out / "index")
    assert [(info.name, info.source_id) for info in index.classes] == [("cat", CAT), ("dog", DOG)]
    found = {e.id: (e.split, e.labels, e.height, e.width) for e in index.images}
    assert found == {
        "t2": ("train", (2,), 15, 20),
        "t1": ("train", (1,), 15, 20),
        "v1": ("val", (2,), 15, 20),
    }
    with Maps(out / "masks") as masks:
        assert masks["t1"][0].tolist() == [0] * 5 + [1] * 5 + [VOID] * 5 + [0] * 5
    assert not list(folder.rglob("x.*"))


def test_masks_are_voc_s_else_sbd_s_with_other_classes_void(data):
    folder = make(data)
    train, val = folder / "SegmentationClassAug", folder / "SegmentationClass"
    assert {path.name for path in train.iterdir()} == {"t1.png", "t2.png"}
    assert {path.name for path in val.iterdir()} == {"v1.png"}
    rows = {
        path.stem: read_mask(path)[7].tolist()[2::5] for path in (*train.iterdir(), *val.iterdir())
    }
    assert rows == {
        "t1": [0, CAT, VOID, 0],
        "t2": [0, DOG, VOID, 0],
        "v1": [DOG, DOG, VOID, 0],
    }


def test_photos_are_reduced_and_keep_their_colours(data):
    folder = make(data)
    photo = np.asarray(Image.open(folder / "JPEGImages/t2.jpg")).astype(int)
    assert photo.shape == (15, 20, 3)
    assert abs(photo[:, :8] - 20).max() <= 8 and abs(photo[:, 12:] - 235).max() <= 8


def test_the_same_bytes_for_any_number_of_workers(data):
    one, two = make(data), Path("two")
    make(data, output=two, workers=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == 3 * 3 + 2
    assert all((one / path).read_bytes() == (data / two / path).read_bytes() for path in files)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((500, 375), (256, 192)), ((333, 500), (170, 256)), ((500, 334), (256, 171))],
)
def test_the_longer_side_has_the_given_length(size, expected):
    assert reduced(*size, side=256) == expected


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("VOCdevkit/VOC2012/SegmentationClass/v1.png", "val image v1 has no mask in SegmentationC"),
        ("benchmark_RELEASE/dataset/cls/t2.mat", "train image t2 has no mask in SBD nor in Segm"),
        ("VOCdevkit/VOC2012/JPEGImages/t1.jpg", "t1"),
        ("VOCdevkit/VOC2012/Annotations/t1.xml", "t1"),
    ],
)
def test_a_missing_file_is_named_and_nothing_written(data, missing, line):
    (data / missing).unlink()
    with pytest.raises(UserError, match=line):
        make(data)
    assert not (data / "voc-animals/VOCdevkit/VOC2012").exists()


def test_an_image_of_none_of_the_classes_is_refused(data):
    (data / "lists/val.txt").write_text("v1\nx\n")
    write_mask(data / "VOCdevkit/VOC2012/SegmentationClass/x.png", mask(0, 6))
    with pytest.raises(UserError, match=r"x\.xml names none of cat, cow"):
        make(data)


def test_classes_that_voc_lacks_are_refused(data):
    with pytest.raises(UserError, match="classes: cat, unicorn are not all VOC's"):
        make(data, classes=["cat", "unicorn"])


def test_an_existing_folder_is_not_replaced(data):
    make(data)
    with pytest.raises(UserError, match="is there already: remove it"):
        make(data)


def test_the_committed_lists_are_small_and_apart():
    train, val = ((LISTS / f"{name}.txt").read_text().split() for name in ("train_aug", "val"))
    assert (len(set(train)), len(set(val))) == (1792, 160) and not set(train) & set(val)
    assert train == sorted(train) and sorted(CLASSES) == CLASSES
