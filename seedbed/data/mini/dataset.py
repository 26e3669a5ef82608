"""The synthetic data set on disk: a VOC 2012 devkit and an SBD release."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from scipy import ndimage

from seedbed.data.layouts.voc_writer import VocObject, write_annotation, write_list
from seedbed.data.mini.animals import CLASSES
from seedbed.data.mini.scenes import Scene, draw_scene
from seedbed.formats.masks import write_mask
from seedbed.formats.palette import VOID
from seedbed.runtime.atomic import atomic_folder

FINE_FRACTION = 0.6  # of the train images: those in VOC's own train list
SBD_VAL = 10  # val images that SBD has as well, as the real one does
MAT_HEADER = b"MATLAB 5.0 MAT-file, Segmentation of a made-up image".ljust(116)


def write_mini(root: Path, *, seed: int, train: int, val: int, size: int) -> None:
    """Write the data set of a seed; the folder appears complete or not at all.

    The same arguments give the same bytes, and image number n is the same scene whatever the
    counts. List train_aug has all train images; VOC's train list and masks have the first 60 % of
    them, SBD has all of them and a few val images.

    Args:
        root: the folder to write.
        seed: seed of the scenes.
        train: number of train images.
        val: number of val images.
        size: side of the images in pixels.

    """
    ids = [f"2012_{number:06d}" for number in range(1, train + val + 1)]
    fine = set(ids[: round(FINE_FRACTION * train)] + ids[train:])
    coarse = ids[: train + SBD_VAL]
    with atomic_folder(root) as folder:
        devkit = folder / "VOCdevkit" / "VOC2012"
        sbd = folder / "benchmark_RELEASE" / "dataset"
        for new in (devkit / "JPEGImages", sbd / "cls"):
            new.mkdir(parents=True)
        for number, image_id in enumerate(ids, 1):
            scene = draw_scene(np.random.default_rng((seed, number)), size)
            _write_image(devkit, image_id, scene)
            if image_id in fine:
                _write_voc_masks(devkit, image_id, scene)
            if image_id in coarse:
                _write_sbd_mask(sbd / "cls" / f"{image_id}.mat", scene.mask)
        _write_voc_lists(devkit / "ImageSets" / "Segmentation", ids[:train], ids[train:], fine)
        _write_sbd_lists(sbd, coarse)


def _write_image(devkit: Path, image_id: str, scene: Scene) -> None:
    Image.fromarray(scene.image).save(devkit / "JPEGImages" / f"{image_id}.jpg", quality=92)
    height, width = scene.mask.shape
    path = devkit / "Annotations" / f"{image_id}.xml"
    write_annotation(path, (width, height), _objects(scene))


def _write_voc_masks(devkit: Path, image_id: str, scene: Scene) -> None:
    write_mask(devkit / "SegmentationClass" / f"{image_id}.png", scene.mask)
    write_mask(devkit / "SegmentationObject" / f"{image_id}.png", scene.instances)


def _objects(scene: Scene) -> Iterator[VocObject]:
    """Every animal's class and bounding box."""
    for instance in np.unique(scene.instances[scene.mask % VOID > 0]):
        yield _object(scene, scene.instances == instance)


def _object(scene: Scene, where: np.ndarray) -> VocObject:
    """An animal, given its visible pixels inside the void ring, bool (H, W)."""
    rows, columns = np.nonzero(where)
    height, width = where.shape
    # Boxes count pixels from 1 and include the animal's own half of the ring.
    top, bottom = max(rows.min(), 1), min(rows.max() + 2, height)
    left, right = max(columns.min(), 1), min(columns.max() + 2, width)
    truncated = rows.min() == 0 or columns.min() == 0 or bottom == height or right == width
    name = CLASSES[scene.mask[where][0] - 1]
    return VocObject(name, (left, top, right, bottom), bool(truncated))


def _write_sbd_mask(path: Path, mask: np.ndarray) -> None:
    """Write SBD's struct; scipy's header text, which has the time, is replaced by a fixed one."""
    coarse = _coarse(mask)
    present = np.setdiff1d(coarse, [0]).astype(np.uint8)[:, None]
    struct = {"Segmentation": coarse, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": struct}, do_compression=True)
    path.write_bytes(MAT_HEADER + path.read_bytes()[len(MAT_HEADER) :])


def _coarse(mask: np.ndarray) -> np.ndarray:
    """A coarser mask without void: the ring gets the nearest class, corners are rounded."""
    nearest = ndimage.distance_transform_edt(
        mask == VOID, return_distances=False, return_indices=True
    )
    filled = mask[tuple(nearest)]
    ids = np.unique(filled)
    shares = [ndimage.gaussian_filter((filled == class_id).astype(float), 1.5) for class_id in ids]
    return ids[np.argmax(shares, axis=0)]


def _write_voc_lists(folder: Path, train: list[str], val: list[str], fine: set[str]) -> None:
    fine_train = [image_id for image_id in train if image_id in fine]
    write_list(folder / "train.txt", fine_train)
    write_list(folder / "val.txt", val)
    write_list(folder / "trainval.txt", fine_train + val)
    write_list(folder / "train_aug.txt", train)


def _write_sbd_lists(folder: Path, ids: list[str]) -> None:
    """SBD's own split, independent of VOC's: one image in four is a val image."""
    write_list(folder / "train.txt", (image_id for k, image_id in enumerate(ids) if k % 4 < 3))
    write_list(folder / "val.txt", ids[3::4])
