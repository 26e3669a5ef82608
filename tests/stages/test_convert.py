import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from seedbed.data.index import ClassInfo, Index
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask, write_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.tables import read_tsv
from seedbed.runtime.errors import UserError
from stages.convert import convert
from stages.settings import ConvertSettings

ANIMALS = Path(__file__).parents[3] / "shared" / "voc-animals"
HEIGHT, WIDTH = 6, 8
TAGS = {
    "t1": ("cat",),
    "t2": ("dog", "person"),
    "t3": ("cat", "dog"),
    "t4": ("person",),
    "v1": ("cat",),
    "v2": ("dog", "person"),
}
SOURCE_IDS = {"cat": 8, "dog": 12, "person": 15}
TRAIN, VAL = ["t2", "t1", "t4", "t3"], ["v1", "v2"]


def stripes(names):
    """A mask in source ids: a column of void, one a class, the rest background."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[:, 0] = 255
    for column, name in enumerate(names, 1):
        mask[:, column] = SOURCE_IDS[name]
    return mask


def write_annotation(devkit, image_id, names):
    objects = "".join(f"<object><name>{name}</name></object>" for name in names)
    path = devkit / "Annotations" / f"{image_id}.xml"
    path.write_text(f"<annotation>{objects}</annotation>")


def write_sbd(sbd, image_id, mask):
    scipy.io.savemat(sbd / "cls" / f"{image_id}.mat", {"GTcls": {"Segmentation": mask}})


@pytest.fixture
def devkit(tmp_path):
    """VOC masks of val (one in colour) and t1; SBD masks of t1, t2 and, a trap, v1."""
    root, sbd = tmp_path / "data" / "VOC2012", tmp_path / "data" / "sbd"
    for folder in ("Annotations", "ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    (sbd / "cls").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for image_id, names in TAGS.items():
        pixels = noise.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{image_id}.jpg")
        write_annotation(root, image_id, names)
    for image_id in ("t1", "v1"):
        write_mask(root / "SegmentationClass" / f"{image_id}.png", stripes(TAGS[image_id]))
    colours = Image.fromarray(VOC_PALETTE[stripes(TAGS["v2"])])
    colours.save(root / "SegmentationClass" / "v2.png")
    for image_id in ("t1", "t2", "v1"):
        write_sbd(sbd, image_id, np.full((HEIGHT, WIDTH), 12, dtype=np.uint8))
    write_list(root, "train_aug", TRAIN)
    write_list(root, "val", VAL)
    write_list(root, "train", ["t1"])
    return root


def write_list(devkit, name, ids):
    (devkit / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(ids) + "\n")


def run(devkit, out="out", cue_pickle=None, cue_list=None, **settings):
    """Convert the devkit; returns the folder of the outputs."""
    folder = devkit.parents[1] / out
    convert(
        index=folder / "index.json",
        input_list=folder / "input_list.txt",
        masks=folder / "masks.h5",
        mask_folder=folder / "masks",
        summary=folder / "summary.tsv",
        settings=ConvertSettings(devkit="VOC2012", **settings),
        data=devkit.parent,
        cue_pickle=cue_pickle,
        cue_list=cue_list,
    )
    return folder


def labels_of(folder):
    return {entry.id: entry.labels for entry in Index.load(folder / "index.json").images}


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_index_lists_classes_and_images(devkit):
    index = Index.load(run(devkit) / "index.json")
    assert index.classes == (ClassInfo("cat", 8), ClassInfo("dog", 12), ClassInfo("person", 15))
    assert [entry.id for entry in index.images] == TRAIN + VAL
    assert index.label_source == "annotations"
    assert index.audit_list == ("t1",)
    entry = index.entry("t2")
    assert entry.labels == (2, 3) and entry.split == "train"
    assert (entry.height, entry.width) == (HEIGHT, WIDTH)
    assert (devkit.parent / entry.path).is_file() and not Path(entry.path).is_absolute()
    assert {entry.id for entry in index.images if entry.has_mask} == {"t1", "v1", "v2"}


def test_lists_count_as_published(devkit):
    folder = run(devkit)
    assert (folder / "input_list.txt").read_text() == "t2.jpg 0\nt1.jpg 1\nt4.jpg 2\nt3.jpg 3\n"
    rows = {
        (row["split"], row["class"]): int(row["images"]) for row in read_tsv(folder / "summary.tsv")
    }
    assert rows == {
        ("train", "cat"): 2, ("train", "dog"): 2, ("train", "person"): 2, ("train", "total"): 4,
        ("val", "cat"): 1, ("val", "dog"): 1, ("val", "person"): 1, ("val", "total"): 2,
        ("total", "total"): 6,
    }  # fmt: skip


def test_masks_are_in_class_ids_and_pictures_in_the_data_sets_own(devkit):
    folder = run(devkit)
    with Maps(folder / "masks.h5") as masks:
        assert set(masks) == {"t1", "v1", "v2"}
        assert masks["v2"][0].tolist() == [255, 2, 3, 0, 0, 0, 0, 0]
        for image_id in masks:
            png = read_mask(folder / "masks" / f"{image_id}.png")
            np.testing.assert_array_equal(png, stripes(TAGS[image_id]))


def test_sbd_fills_in_for_train_images_alone(devkit):
    masks = Maps(run(devkit, sbd="sbd") / "masks.h5")
    assert set(masks) == {"t1", "t2", "v1", "v2"}
    assert (masks["t2"] == 2).all()
    assert masks["t1"][0, :3].tolist() == [255, 1, 0]
    assert masks["v1"][0, :3].tolist() == [255, 1, 0]


def test_a_folder_can_give_the_train_masks(devkit):
    (devkit / "SegmentationClassAug").mkdir()
    write_mask(devkit / "SegmentationClassAug" / "t4.png", stripes(["person"]))
    write_mask(devkit / "SegmentationClassAug" / "v1.png", stripes(["dog"]))
    masks = Maps(run(devkit, train_masks="SegmentationClassAug", sbd="sbd") / "masks.h5")
    assert set(masks) == {"t4", "v1", "v2"}
    assert masks["v1"][0, 1] == 1


def test_chosen_classes_leave_the_others_void(devkit):
    write_list(devkit, "train_aug", ["t2", "t3"])
    folder = run(devkit, classes=["dog", "cat"])
    assert labels_of(folder) == {"t2": (1,), "t3": (1, 2), "v1": (2,), "v2": (1,)}
    assert Maps(folder / "masks.h5")["v2"][0, :4].tolist() == [255, 1, 255, 0]


def test_every_label_source_says_the_same(devkit):
    expected = labels_of(run(devkit))
    vectors = {image_id: np.zeros(20) for image_id in TAGS}
    for image_id, names in TAGS.items():
        vectors[image_id][[SOURCE_IDS[name] - 1 for name in names]] = 1
    np.save(devkit / "ImageSets" / "cls_labels.npy", vectors)
    lines = [
        " ".join([image_id, *(str(SOURCE_IDS[name] - 1) for name in TAGS[image_id])])
        for image_id in TRAIN
    ]
    write_list(devkit, "train_cls", lines)
    for source in ("cls_labels", "train_cls"):  # the latter lacks val: its masks have the labels
        folder = run(devkit, label_source=source)
        assert labels_of(folder) == expected
        assert Index.load(folder / "index.json").label_source == source


def write_cues(devkit, labels):
    content = {f"{k}_labels": np.array(ids) for k, ids in enumerate(labels)}
    path = devkit.parent / "cues.pickle"
    path.write_bytes(pickle.dumps(content, protocol=2))
    return {"cue_pickle": path, "label_source": "cues"}


def test_train_labels_may_come_from_the_cues(devkit):
    own = [SOURCE_IDS[name] for name in ("cat", "dog", "person")]
    cues = write_cues(devkit, [own[2:], [own[1], own[0]], [own[2], 20], [own[0]]])
    assert labels_of(run(devkit, **cues)) == {
        "t2": (3,), "t1": (1, 2), "t4": (3,), "t3": (1,), "v1": (1,), "v2": (2, 3)
    }  # fmt: skip
    listing = devkit.parent / "list.txt"
    listing.write_text("t1.jpg 0\nt2.jpg 1\nt3.jpg 2\nelsewhere.jpg 9\nt4.jpg 3\n")
    found = run(devkit, **cues, cue_list=listing)
    assert [labels_of(found)[name] for name in ("t1", "t2", "t3")] == [(3,), (1, 2), (3,)]
    assert Index.load(found / "index.json").label_source == "cues"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[8], [12], [15]], r"image t3, number 3, is not in .*cues\.pickle"),
        ([[8], [12], [15], [21]], r"cues\.pickle holds class 21"),
        ([[8], [12], [15], [20]], r"train image t3 has no class in cues"),
        ([[8], [12], [15], [0]], r"3_labels in .*cues\.pickle"),
    ],
)
def test_cue_files_that_do_not_fit_are_named(devkit, labels, message):
    with pytest.raises(UserError, match=message):
        run(devkit, **write_cues(devkit, labels))


def test_labels_of_the_cues_need_the_cues(devkit):
    with pytest.raises(UserError, match="--cue-pickle"):
        run(devkit, label_source="cues")


def test_val_labels_come_from_the_mask_where_there_is_no_annotation(devkit):
    (devkit / "Annotations" / "v2.xml").unlink()
    assert labels_of(run(devkit))["v2"] == (2, 3)


def test_test_images_need_no_mask_and_no_label(devkit):
    (devkit / "Annotations" / "v1.xml").unlink()
    (devkit / "SegmentationClass" / "v1.png").unlink()
    write_list(devkit, "val", ["v2"])
    write_list(devkit, "test", ["v1"])
    entry = Index.load(run(devkit, test_list="test") / "index.json").entry("v1")
    assert (entry.split, entry.labels, entry.has_mask) == ("test", (), False)


def test_shuffled_tags_are_the_same_tags_dealt_anew(devkit):
    straight, one, again = (
        labels_of(run(devkit, **settings))
        for settings in ({}, *[{"shuffle_tags": True, "seed": 2}] * 2)
    )
    assert one == again != straight
    assert sorted(one[name] for name in TRAIN) == sorted(straight[name] for name in TRAIN)
    assert [one[name] for name in VAL] == [straight[name] for name in VAL]


def test_the_same_devkit_gives_the_same_bytes(devkit):
    assert contents(run(devkit, "one")) == contents(run(devkit, "two"))


def spoil(devkit, what):
    images, masks = devkit / "JPEGImages", devkit / "SegmentationClass"
    match what:
        case "devkit":
            devkit.rename(devkit.with_name("gone"))
        case "list":
            (devkit / "ImageSets" / "Segmentation" / "val.txt").unlink()
        case "overlap":
            write_list(devkit, "val", ["v1", "t1"])
        case "image":
            (images / "v2.jpg").unlink()
        case "broken image":
            (images / "v2.jpg").write_bytes((images / "v2.jpg").read_bytes()[:300])
        case "val mask":
            (masks / "v2.png").unlink()
        case "val mask but SBD's":
            (masks / "v1.png").unlink()
        case "broken mask":
            (masks / "v2.png").write_bytes(b"no")
        case "mask size":
            write_mask(masks / "v2.png", np.zeros((WIDTH, HEIGHT), dtype=np.uint8))
        case "mask value":
            write_mask(masks / "v2.png", np.full((HEIGHT, WIDTH), 21, dtype=np.uint8))
        case "annotation":
            (devkit / "Annotations" / "t1.xml").unlink()
        case "no label":
            write_annotation(devkit, "t1", [])


@pytest.mark.parametrize(
    ("what", "settings", "message"),
    [
        ("devkit", {}, r"no folder .*VOC2012"),
        ("list", {}, r"val\.txt"),
        ("overlap", {}, r"t1 in .*val\.txt is a train image"),
        ("image", {}, r"v2\.jpg is missing"),
        ("broken image", {}, r"cannot read the image .*v2\.jpg"),
        ("val mask", {}, r"val image v2 has no mask"),
        ("val mask but SBD's", {"sbd": "sbd"}, r"val image v1 has no mask"),
        ("broken mask", {}, r"cannot read the mask .*v2\.png"),
        ("mask size", {}, r"mask .*v2\.png is \(8, 6\), its image \(6, 8\)"),
        ("mask value", {}, r"v2\.png holds class 21"),
        ("annotation", {}, r"t1\.xml is missing"),
        ("annotation", {"classes": ["cat", "dog", "person"]}, r"train image t1 has no class"),
        ("no label", {}, r"train image t1 has no class"),
        ("nothing", {"classes": ["cat", "cow", "dog", "person"]}, r"no train image has a cow"),
        ("nothing", {"sbd": "none"}, r"no folder .*none"),
        ("nothing", {"train_masks": "none"}, r"no folder .*none"),
        ("nothing", {"label_source": "cls_labels"}, r"cls_labels\.npy is in neither"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(devkit, what, settings, message):
    before = contents(run(devkit))
    spoil(devkit, what)
    with pytest.raises(UserError, match=message) as caught:
        run(devkit, **settings)
    assert "\n" not in str(caught.value)
    assert contents(devkit.parents[1] / "out") == before


@pytest.mark.skipif(not ANIMALS.is_dir(), reason="voc-animals is not beside the checkout")
def test_real_photographs(tmp_path):
    convert(
        index=tmp_path / "index.json",
        input_list=tmp_path / "input_list.txt",
        masks=tmp_path / "masks.h5",
        mask_folder=tmp_path / "masks",
        summary=tmp_path / "summary.tsv",
        settings=ConvertSettings(train_masks="SegmentationClassAug"),
        data=ANIMALS,
    )
    index = Index.load(tmp_path / "index.json")
    assert [info.source_id for info in index.classes] == [8, 10, 12, 13, 15, 17]
    assert (len(index.split("train")), len(index.split("val"))) == (1792, 160)
    assert all(entry.has_mask for entry in index.images)
