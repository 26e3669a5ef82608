import filecmp
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from seedbed.data.layouts.voc_writer import VocObject
from seedbed.data.mini import dataset as mini
from seedbed.data.mini.animals import ANIMALS, CLASSES, COATS, draw_animal
from seedbed.data.mini.dataset import write_mini
from seedbed.data.mini.scenes import Scene, choose_classes, draw_scene, void_ring

SEED, TRAIN, VAL = 3, 10, 12


def scene_of(number, seed=SEED, size=128):
    return draw_scene(np.random.default_rng((seed, number)), size)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "data"
    write_mini(folder, seed=SEED, train=TRAIN, val=VAL, size=128)
    return folder


@pytest.fixture(scope="module")
def devkit(root):
    return root / "VOCdevkit" / "VOC2012"


def lines(path):
    return path.read_text().split()


def test_classes_are_six_in_alphabetical_order():
    assert len(CLASSES) == 6
    assert list(CLASSES) == sorted(set(CLASSES))


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_a_scene_agrees_with_itself(number):
    scene = scene_of(number)
    assert scene.image.shape == (128, 128, 3)
    assert {scene.image.dtype, scene.mask.dtype, scene.instances.dtype} == {np.dtype(np.uint8)}
    assert set(scene.labels) | {0, 255} == set(np.unique(scene.mask).tolist())
    assert 1 <= len(scene.labels) <= 3
    assert np.array_equal(scene.mask == 255, scene.instances == 255)
    assert np.array_equal(scene.mask == 0, scene.instances == 0)
    for instance in set(np.unique(scene.instances)) - {0, 255}:
        assert len(np.unique(scene.mask[scene.instances == instance])) == 1


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_a_void_ring_parts_all_regions_and_is_thin(number):
    scene = scene_of(number)
    for step in ((1, 0), (0, 1)):
        first = scene.instances[: 128 - step[0], : 128 - step[1]]
        second = scene.instances[step[0] :, step[1] :]
        assert not ((first != second) & (first != 255) & (second != 255)).any()
    reach = ndimage.distance_transform_cdt(scene.instances == 255, "taxicab")
    assert np.mean(reach[reach > 0] <= 2) > 0.9


def test_the_ring_of_a_square_is_one_pixel_on_each_side():
    instances = np.zeros((8, 8), np.uint8)
    instances[2:6, 2:6] = 1
    ring = void_ring(instances)
    assert not ring[3:5, 3:5].any()
    assert ring[2:6, 2].all() and ring[2:6, 1].all() and not ring[:, 0].any()
    assert not ring[1, 1]


def test_a_scene_hangs_on_its_generator_alone():
    first, again, other = scene_of(1), scene_of(1), scene_of(2)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_heads_are_small_and_classes_balanced():
    centre = np.array([64.0, 64.0])
    for class_id in range(1, 7):
        rngs = [np.random.default_rng((class_id, k)) for k in range(8)]
        figures = [draw_animal(rng, class_id, 70, centre, 128) for rng in rngs]
        shares = [(f.head > 0.5).sum() / (f.cover > 0.5).sum() for f in figures]
        assert 0.1 < np.mean(shares) < 0.2
    rng = np.random.default_rng(0)
    drawn = [one for _ in range(3000) for one in set(choose_classes(rng))]
    counts = np.bincount(drawn, minlength=7)[1:]
    assert counts.min() > 0.85 * counts.max()


def test_classes_share_bodies_and_coats_but_never_both_marks_and_body():
    for body in {animal.body for animal in ANIMALS}:
        assert len([animal for animal in ANIMALS if animal.body == body]) == 2
    for coat in COATS:
        assert len([animal for animal in ANIMALS if coat in animal.coats]) == 4
    assert len({(animal.body, animal.marks) for animal in ANIMALS}) == 6


def test_lists(root, devkit):
    folder = devkit / "ImageSets" / "Segmentation"
    ids = [f"2012_{number:06d}" for number in range(1, TRAIN + VAL + 1)]
    assert lines(folder / "train_aug.txt") == ids[:10]
    assert lines(folder / "train.txt") == ids[:6]
    assert lines(folder / "val.txt") == ids[10:]
    assert lines(folder / "trainval.txt") == ids[:6] + ids[10:]
    sbd = root / "benchmark_RELEASE" / "dataset"
    parts = lines(sbd / "train.txt"), lines(sbd / "val.txt")
    assert sorted(parts[0] + parts[1]) == ids[:20]
    assert {path.stem for path in (sbd / "cls").iterdir()} == set(ids[:20])


def test_files_stand_where_the_lists_say(devkit):
    images = {path.stem for path in (devkit / "JPEGImages").iterdir()}
    assert len(images) == 22
    assert {path.stem for path in (devkit / "Annotations").iterdir()} == images
    fine = set(lines(devkit / "ImageSets" / "Segmentation" / "trainval.txt"))
    for name in ("SegmentationClass", "SegmentationObject"):
        assert {path.name for path in (devkit / name).iterdir()} == {f"{one}.png" for one in fine}


def test_masks_are_voc_palette_pngs(devkit):
    scene = scene_of(1)
    for name, truth in (("Class", scene.mask), ("Object", scene.instances)):
        with Image.open(devkit / f"Segmentation{name}" / "2012_000001.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.array(image), truth)
            palette = np.array(image.getpalette()).reshape(-1, 3)
    assert palette.shape == (256, 3)
    assert palette[[0, 1, 2, 6, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 128, 128], [224, 224, 192],
    ]  # fmt: skip


def test_images_are_near_the_scene(devkit):
    with Image.open(devkit / "JPEGImages" / "2012_000002.jpg") as image:
        pixels = np.array(image).astype(float)
    assert np.abs(pixels - scene_of(2).image).mean() < 8


def test_annotations_name_each_object_with_a_tight_box(devkit):
    for number in range(1, 9):
        scene = scene_of(number)
        root = ElementTree.parse(devkit / "Annotations" / f"2012_{number:06d}.xml").getroot()
        assert root.findtext("filename") == f"2012_{number:06d}.jpg"
        assert [int(leaf.text) for leaf in root.find("size")] == [128, 128, 3]
        objects = root.findall("object")
        names = {CLASSES[label - 1] for label in scene.labels}
        assert {found.findtext("name") for found in objects} == names
        for instance, found in enumerate(objects, 1):
            sides = ("xmin", "ymin", "xmax", "ymax")
            xmin, ymin, xmax, ymax = (int(found.findtext(f"bndbox/{side}")) for side in sides)
            where = scene.instances == instance
            assert where[ymin - 1 : ymax, xmin - 1 : xmax].sum() == where.sum()
            assert where[:, max(xmin - 1, 0) : xmin + 1].any() and where[ymax - 2 :].any()
            assert not where[:, xmax:].any() and 1 <= xmin < xmax <= 128


def test_a_box_counts_from_one_and_holds_its_half_of_the_ring():
    instances = np.full((10, 12), 0, np.uint8)
    instances[3:7, 4:12] = 1  # cut off on the right
    ring = void_ring(instances)
    instances[ring] = 255
    image = np.zeros((10, 12, 3), np.uint8)
    mask = np.where(instances == 1, 2, instances)
    (found,) = mini._objects(Scene(image, mask, instances, (2,)))
    assert found == VocObject("dappit", (5, 4, 12, 7), truncated=True)


def test_sbd_masks_have_no_void_and_are_close_to_voc(root):
    for number in (1, 5, 15):
        path = root / "benchmark_RELEASE" / "dataset" / "cls" / f"2012_{number:06d}.mat"
        truth = scipy.io.loadmat(path)["GTcls"][0, 0]
        mask, scene = truth["Segmentation"], scene_of(number)
        assert mask.dtype == np.uint8 and mask.shape == (128, 128)
        assert 255 not in mask
        assert truth["CategoriesPresent"].ravel().tolist() == list(scene.labels)
        firm = scene.mask != 255
        assert np.mean(mask[firm] == scene.mask[firm]) > 0.98
        assert not path.read_bytes()[:116].count(b"Created")


def everything(folder: Path):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_bytes_hang_on_the_seed_alone(root, tmp_path):
    write_mini(tmp_path / "again", seed=SEED, train=TRAIN, val=VAL, size=128)
    names = everything(root)
    assert everything(tmp_path / "again") == names
    assert filecmp.cmpfiles(root, tmp_path / "again", names, shallow=False)[1:] == ([], [])


def test_counts_do_not_change_scenes(devkit, tmp_path):
    write_mini(tmp_path / "few", seed=SEED, train=2, val=1, size=128)
    few = tmp_path / "few" / "VOCdevkit" / "VOC2012"
    for name in everything(few):
        if name.parts[0] != "ImageSets":
            assert not (devkit / name).exists() or filecmp.cmp(few / name, devkit / name, False)


def test_small_scenes_still_work():
    for number in range(20):
        scene = scene_of(number, size=64)
        assert scene.image.shape == (64, 64, 3) and scene.labels


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(mini, "_write_sbd_mask", lambda path, mask: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_mini(tmp_path / "data", seed=1, train=2, val=1, size=128)
    assert list(tmp_path.iterdir()) == []
