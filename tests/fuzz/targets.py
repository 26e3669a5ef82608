"""The readers of foreign formats, called as the stages call them: a target a format.

A target takes the bytes of a file and lets nothing pass but a UserError. Checksums are fixed or
believed, for damage that they would notice shows nothing about what lies behind them.
"""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch

from seedbed.data.annotation_names import AnnotationNames
from seedbed.data.classes import ClassTable
from seedbed.data.given_masks import kept_images
from seedbed.data.images import read_image
from seedbed.data.index import SPLITS, Index
from seedbed.data.labelme import draw_labelme, read_labelme
from seedbed.data.layouts.coco import coco_source
from seedbed.data.layouts.labels.table import read_label_table
from seedbed.data.layouts.voc import (
    read_annotation,
    read_cls_labels,
    read_sbd_mask,
    read_train_cls,
)
from seedbed.data.lists import image_numbers, read_list
from seedbed.data.rasters import open_raster
from seedbed.data.source import raise_problem
from seedbed.formats.cue_pickle import read_cue_labels, read_cue_pickle
from seedbed.formats.grey import read_grey
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask
from seedbed.formats.pickles import restricted as restricted_pickle
from seedbed.formats.pictures import MAX_PIXELS
from seedbed.formats.psa import read_cam, read_scores
from seedbed.formats.tables import read_tsv
from seedbed.formats.weights.files import read_tensors
from seedbed.models.weights import load_network
from seedbed.report.tables import read_metrics
from tests.fuzz import seeds
from tests.fuzz.guard import attempt

ANIMALS = ClassTable.of(["cat", "dog"])
SIZE = (6, 8)  # of the images that the seeds belong to
PNG, GZIP = b"\x89PNG\r\n\x1a\n", b"\x1f\x8b"

torch.set_num_threads(1)


def caffemodel(data: bytes) -> None:
    """Caffe's models."""
    attempt(read_tensors, "net.caffemodel", data)


def params(data: bytes) -> None:
    """MXNet's parameters."""
    attempt(read_tensors, "net.params", data)


def tensorflow_1(data: bytes) -> None:
    """TensorFlow's checkpoints of version 1."""
    with mock.patch("seedbed.formats.weights.sstable.masked_crc32c", return_value=mock.ANY):
        attempt(read_tensors, "model.ckpt", data)


def tensorflow_2(data: bytes) -> None:
    """TensorFlow's checkpoints of version 2: the index, then SHARD_BYTES of its data file."""
    index, shard = data[: -seeds.SHARD_BYTES], data[-seeds.SHARD_BYTES :]

    def read_both(path: Path) -> None:
        beside = path.with_name("model.data-00000-of-00001")
        beside.write_bytes(shard)
        try:
            read_tensors(path)
        finally:
            beside.unlink()

    with (
        mock.patch("seedbed.formats.weights.sstable.masked_crc32c", return_value=mock.ANY),
        mock.patch("seedbed.formats.weights.tensorflow.masked_crc32c", return_value=mock.ANY),
    ):
        attempt(read_both, "model.index", index)


def safetensors(data: bytes) -> None:
    """Safetensors."""
    attempt(read_tensors, "net.safetensors", data)


def npz(data: bytes) -> None:
    """NumPy's archives of weights."""
    with mock.patch("zipfile.ZipExtFile._update_crc", return_value=None):
        attempt(read_tensors, "net.npz", data)


def pth(data: bytes) -> None:
    """PyTorch's files: published ones, and this program's own, which people hand on."""
    attempt(read_tensors, "net.pth", data)
    attempt(load_network, "weights.pt", data)


def pickle(data: bytes) -> None:
    """Pickles: DSRG's localisation cues, packed or not, and any other."""

    def cues(path: Path) -> None:
        read_cue_pickle(path, num_classes=3, grid=4)

    name = "cues.pickle.gz" if data.startswith(GZIP) else "cues.pickle"
    for read in (cues, read_cue_labels, restricted_pickle.load):
        attempt(read, name, data)


def npy(data: bytes) -> None:
    """NumPy's files: weights, PSA's class maps, scores and labels."""

    def cls_labels(path: Path) -> None:
        read_cls_labels(path, ANIMALS)

    for read in (read_tensors, read_cam, read_scores, cls_labels):
        attempt(read, "some.npy", data)


def mat(data: bytes) -> None:
    """SBD's masks."""
    attempt(read_sbd_mask, "mask.mat", data)


def xml(data: bytes) -> None:
    """VOC's annotations."""

    def labels(path: Path) -> None:
        ANIMALS.labels_named(read_annotation(path), path)

    attempt(labels, "image.xml", data)


def png(data: bytes) -> None:
    """Masks, and maps of saliency and attention."""

    def mask(path: Path) -> None:
        ANIMALS.mask_of(read_mask(path), path)

    for read in (mask, read_grey):
        attempt(read, "image.png", mend_png(data))


def photo(data: bytes) -> None:
    """Images of all kinds, and masks in the same formats."""
    for read in (read_image, read_mask):
        attempt(read, "image.jpg", mend_png(data))


def tiff(data: bytes) -> None:
    """Large TIFFs, of which some rows are read at a time; small ones count as large here."""

    def rows(path: Path) -> None:
        image = open_raster(path)
        for top in range(0, min(image.size[0], 64), 3):
            image.rows(top, min(top + 3, image.size[0]))

    with (
        mock.patch("seedbed.data.rasters.MAX_PIXELS", 20),
        mock.patch("seedbed.data.rasters.MAX_IN_PARTS", MAX_PIXELS),
        mock.patch("seedbed.data.rasters.MAX_HELD", MAX_PIXELS),
    ):
        attempt(rows, "image.tif", data)


def labelme(data: bytes) -> None:
    """labelme's files, and the masks painted from them."""

    def paint(path: Path) -> None:
        draw_labelme(read_labelme(path), path, SIZE, AnnotationNames(ANIMALS.names))

    attempt(paint, "image.json", data)


def lists(data: bytes) -> None:
    """Lists of images, DSRG's with numbers, Group-WSSS' with classes, SPSM's with masks."""

    def input_list(path: Path) -> None:
        image_numbers(["a", "b"], path)

    def train_cls(path: Path) -> None:
        read_train_cls(path, ANIMALS)

    def kept(path: Path) -> None:
        kept_images([], path.parent, path)

    for read in (read_list, input_list, train_cls, kept):
        attempt(read, "list.txt", data)


def table(data: bytes) -> None:
    """Tables: a user's of labels, this program's own of figures."""

    def labels(path: Path) -> None:
        read_label_table(path, classes=None, on_problem=raise_problem)

    for read in (labels, read_tsv):
        attempt(read, "labels.csv", data)


def json(data: bytes) -> None:
    """The index, and the final figures."""

    def index(path: Path) -> None:
        found = Index.load(path)
        for split in SPLITS:
            found.split(split)

    for read in (index, read_metrics):
        attempt(read, "index.json", data)


def coco(data: bytes) -> None:
    """COCO's instances, and the masks painted from them."""

    def paint(path: Path) -> None:
        source = coco_source(path, path.parent, keep_negatives=True, on_problem=raise_problem)
        for image_id in source.splits:
            source.mask(image_id, SIZE)

    attempt(paint, "instances.json", data)


def maps(data: bytes) -> None:
    """HDF5 files of maps."""

    def read_all(path: Path) -> None:
        with Maps(path) as found:
            for image_id in found:
                found.floats(image_id)
                found.attributes(image_id)
            found.file_attributes()

    attempt(read_all, "maps.h5", data)


def mend_png(data: bytes) -> bytes:
    """Set the checksum of every chunk of a PNG; other files stay as they are."""
    if not data.startswith(PNG):
        return data
    fixed, place = bytearray(data), len(PNG)
    while place + 12 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(fixed)


class Target(NamedTuple):
    """A reader, and small files that it reads."""

    read: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


READERS = (
    *(caffemodel, params, tensorflow_1, tensorflow_2, safetensors, npz, pth, pickle, npy),
    *(mat, xml, png, photo, tiff, labelme, lists, table, json, coco, maps),
)
TARGETS = {read.__name__: Target(read, getattr(seeds, read.__name__)) for read in READERS}
