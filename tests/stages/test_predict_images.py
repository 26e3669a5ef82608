import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data import rasters
from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats import overlay as overlay_format
from seedbed.formats import tiff_segments
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.overlay import overlay
from seedbed.models import build
from seedbed.models.weights import load_network, save_network
from seedbed.runtime.errors import UserError
from stages.command import run_stage
from stages.crf import crf
from stages.predict import predict
from stages.predict_images import check_tiling, predict_images
from stages.settings import (
    MaskCRFSettings,
    PredictImagesSettings,
    PredictSettings,
    RoundSettings,
)
from stages.train_round import train_round

torch.set_num_threads(1)

CLASSES = ["background", "cat", "dog", "red panda"]
SOURCE_IDS = [0, 8, 12, 40]
SIZES = {"a.png": (20, 28), "b.jpg": (31, 17), "c d.bmp": (24, 24)}


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name, (height, width) in SIZES.items():
        coarse = random.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(tmp_path / "photos" / name)
    return tmp_path


def weights_of(path, name="tiny_seg", source_ids=SOURCE_IDS, **options):
    torch.manual_seed(0)
    model = build(name, len(CLASSES), **options)
    if name == "tiny_seg":  # sure of itself, in each place of something else
        torch.nn.init.normal_(model.head.classes.weight, std=3)
    save_network(path, model, name, len(CLASSES), options, CLASSES, source_ids)
    return path


@pytest.fixture
def weights(folder):
    return weights_of(folder / "weights.pt")


@pytest.fixture
def call(folder, weights):
    def call(*arguments, **options):
        paths = {"weights": weights, "images": folder / "photos", "out": folder / "masks"}
        given = {**paths, **options}
        words = [
            word
            for key, value in given.items()
            if value is not None and value is not False
            for word in ([f"--{key}"] if value is True else [f"--{key}", str(value)])
        ]
        run_stage(predict_images, [*words, "--device", "cpu", *arguments])

    return call


@pytest.fixture
def refused(call, capsys):
    """What the command says before it ends with status 1."""

    def refused(*arguments, **options):
        with pytest.raises(SystemExit) as end:
            call(*arguments, **options)
        if isinstance(end.value.code, str):  # its interpreter prints it, and exits with 1
            return [*capsys.readouterr().err.splitlines(), end.value.code]
        raise AssertionError(f"exit status {end.value.code}")

    return refused


def mask(folder, name):
    with Image.open(folder / "masks" / f"{name}.png") as image:
        assert image.mode == "P" and len(image.getpalette()) == 768
        return np.array(image)


def labels_of_the_pipeline(folder, weights, split, labels, prediction, refinement):
    """What the stages predict and crf give for the images, as images of a split."""
    entries = [
        ImageEntry(name.split(".")[0], f"photos/{name}", *size, labels, split, False, "")
        for name, size in SIZES.items()
    ]
    classes = tuple(map(ClassInfo, CLASSES[1:], SOURCE_IDS[1:]))
    Index(classes, tuple(entries), "annotations").save(folder / "index.json")
    shared = {"index": folder / "index.json", "round": 0, "split": split, "shard": "1-of-1"}
    predict(
        **shared,
        weights=weights,
        output=folder / "p.h5",
        settings=prediction,
        data=folder,
        device="cpu",
        workers=1,
    )
    crf(
        **shared,
        predictions=folder / "p.h5",
        output=folder / "m.h5",
        settings=refinement,
        data=folder,
        workers=1,
    )
    return Maps([folder / "p.h5"]), Maps([folder / "m.h5"])


SETTINGS = [
    {},
    {"scales": [1.0, 0.5], "flip": False, "size": 32, "fuse": "max", "seed": 3},
    {"map_resampling": "scaled_then_nearest", "resampling": "tf_legacy", "fuse": "sum"},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("tags", [None, (1, 3)])
def test_masks_are_those_of_the_pipeline(folder, weights, call, settings, tags):
    refinement = {"iterations": 3, "bilateral_sxy": 5.0}
    split = "train" if tags else "val"
    probabilities, refined = labels_of_the_pipeline(
        folder,
        weights,
        split,
        tags or (1, 2, 3),
        PredictSettings(**settings),
        MaskCRFSettings(**refinement),
    )
    options = {"params": json.dumps({**settings, "crf": refinement})}
    if tags:
        rows = [f"{name},cat;red panda" for name in SIZES]
        (folder / "labels.csv").write_text("\n".join(["image,labels", *rows]))
        options["labels"] = folder / "labels.csv"
    seen = set()
    for refine in (1, 0):
        call(**options, crf=bool(refine))
        for name in refined:
            expected = refined[name][0]
            if not refine:
                maps, classes = probabilities[name], probabilities.attributes(name)["classes"]
                kept = np.isin(classes, [0, *tags]) if tags else classes >= 0
                expected = classes[kept][maps[kept].argmax(0)]
            np.testing.assert_array_equal(mask(folder, name), expected)
            seen |= set(expected.ravel().tolist())
    assert len(seen) > 2, "something to tell apart"


def test_a_dropout_that_stays_on_draws_what_it_draws_in_the_pipeline(folder, call):
    noisy = weights_of(folder / "noisy.pt", "vgg16_largefov", dropout_in_eval=True)
    settings = PredictSettings(flip=False, seed=2)
    refinement = MaskCRFSettings(iterations=0)
    _, refined = labels_of_the_pipeline(folder, noisy, "val", (1,), settings, refinement)
    params = {"flip": False, "seed": 2, "crf": {"iterations": 0}}
    call(weights=noisy, params=json.dumps(params), crf=True)
    for name in refined:
        np.testing.assert_array_equal(mask(folder, name), refined[name][0])


def test_a_label_that_is_nowhere_probable_still_counts(folder, call):
    model = build("tiny_seg", len(CLASSES))
    torch.nn.init.zeros_(model.head.classes.weight)
    model.head.classes.bias.data = torch.tensor([0.0, 6, 0, 1])
    save_network(folder / "cats.pt", model, "tiny_seg", len(CLASSES), {}, CLASSES)
    rows = "image,labels\na,red panda;dog\nb,dog\nc d,"
    (folder / "labels.csv").write_text(rows)
    call(weights=folder / "cats.pt", labels=folder / "labels.csv")
    assert np.unique(mask(folder, "a")).tolist() == [3]
    call(weights=folder / "cats.pt")
    assert np.unique(mask(folder, "a")).tolist() == [1]


def test_every_image_has_a_mask_of_its_size_and_an_overlay(folder, call, capsys):
    call(overlay=True, workers=2)
    assert capsys.readouterr().out.endswith(
        f"3 masks in {folder / 'masks'}: 0 background, 1 cat, 2 dog, 3 red panda\n"
    )
    found = sorted(p.relative_to(folder / "masks").as_posix() for p in folder.glob("masks/**/*.*"))
    names = ["a", "b", "c d"]
    assert found == [f"{n}.png" for n in names] + [f"overlays/{n}.jpg" for n in names]
    for name, size in SIZES.items():
        assert mask(folder, name.split(".")[0]).shape == size
    picture = np.array(Image.open(folder / "masks/overlays/a.jpg"), int)
    photo = np.array(Image.open(folder / "photos/a.png"))
    assert abs(picture - overlay(photo, mask(folder, "a"))).mean() < 8


def test_without_overlay_there_is_none(folder, call):
    call()
    assert sorted(p.name for p in folder.glob("masks/*")) == ["a.png", "b.png", "c d.png"]


def test_masks_in_the_data_sets_own_ids(folder, call):
    call()
    plain = mask(folder, "a")
    call(ids="source")
    np.testing.assert_array_equal(mask(folder, "a"), np.array(SOURCE_IDS)[plain])
    assert plain.max() > 0


def test_source_ids_that_the_weights_lack(folder, refused):
    old = weights_of(folder / "old.pt", source_ids=None)
    assert refused(weights=old, ids="source") == [
        f"python -m stages.predict_images: error: {old} does not know source ids: train it anew,"
        " or use --ids class"
    ]
    assert not (folder / "masks").exists()


def test_a_trained_round_knows_the_source_ids(folder, call):
    name, size = "a.png", SIZES["a.png"]
    entry = ImageEntry("a", f"photos/{name}", *size, (1,), "train", True, "")
    index = Index((ClassInfo("cat", 8), ClassInfo("dog", 12)), (entry,), "annotations")
    index.save(folder / "index.json")
    with write_maps(folder / "targets.h5") as maps:
        maps.put("a", np.full(size, 2, np.uint8), kept=True)
    settings = {
        "supervise": "ground_truth",
        "network": "tiny_seg",
        "iterations": 12,
        "batch": 1,
        "crop": 32,
        "learning_rate": 0.05,
        "optimizer": {"kind": "adamw"},
    }
    train_round(
        index=folder / "index.json",
        weights=folder / "trained.pt",
        log=folder / "log.tsv",
        settings=RoundSettings(**settings),
        data=folder,
        device="cpu",
        threads=1,
        deterministic=1,
        targets=folder / "targets.h5",
    )
    assert load_network(folder / "trained.pt")[1]["source_ids"] == [0, 8, 12]
    call(weights=folder / "trained.pt", ids="source")
    assert np.unique(mask(folder, "a")).tolist() == [12]


def test_a_broken_image_is_named_and_the_others_are_written(folder, refused):
    whole = (folder / "photos/a.png").read_bytes()
    (folder / "photos/bad.png").write_bytes(whole[: len(whole) // 2])
    (folder / "photos/worse.jpg").write_text("no image")
    for workers in ("1", "2"):
        *lines, last = [line for line in refused(workers=workers) if "it/s" not in line]
        assert [line.split(":")[0] for line in lines if "cannot read" in line] == [
            f"cannot read the image {folder / 'photos' / name}" for name in ("bad.png", "worse.jpg")
        ]
        assert last.endswith("2 of 5 images have no mask: see above")
        assert sorted(p.name for p in folder.glob("masks/*")) == ["a.png", "b.png", "c d.png"]


def test_in_tiles_a_small_image_has_the_mask_that_it_has_whole(folder, call):
    call(crf=True, overlay=True)
    whole = {path.name: path.read_bytes() for path in folder.glob("masks/**/*.*")}
    call(crf=True, overlay=True, tile=64, overlap=32, out=folder / "tiled", workers=2)
    assert {path.name: path.read_bytes() for path in folder.glob("tiled/**/*.*")} == whole


@pytest.fixture
def large(folder):
    """Images in a TIFF and a PNG, which count as large."""
    coarse = np.random.default_rng(1).integers(0, 256, (4, 5, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((200, 150))
    (folder / "large").mkdir()
    picture.save(folder / "large/a.tif")
    picture.save(folder / "large/b.png")
    return folder / "large"


@pytest.mark.parametrize(("stride", "options"), [(14, {}), (8, {"padding": "tf"})])
def test_tiles_whose_cells_would_lie_elsewhere_are_refused(stride, options):
    model = SimpleNamespace(feature_stride=stride)
    with pytest.raises(UserError, match="leave out --tile"):
        check_tiling(128, 64, PredictImagesSettings(), model, options)


def test_a_large_image_is_predicted_in_tiles(folder, large, call, monkeypatch):
    call(images=large, out=folder / "whole", crf=True)
    for module in (rasters, tiff_segments):
        monkeypatch.setattr(module, "MAX_PIXELS", 20_000)
    monkeypatch.setattr(overlay_format, "MAX_SIDE", 70)
    call(images=large, tile=128, overlap=64, crf=True, overlay=True, ids="source")
    masks = [mask(folder, name) for name in "ab"]
    assert masks[0].shape == (150, 200) and set(np.unique(masks[0])) <= set(SOURCE_IDS)
    np.testing.assert_array_equal(*masks)
    whole = np.array(SOURCE_IDS)[np.array(Image.open(folder / "whole/a.png"))]
    assert (masks[0] == whole).mean() > 0.6 > (np.roll(masks[0], 100, 1) == whole).mean() + 0.05
    picture = np.array(Image.open(folder / "masks/overlays/a.jpg"), int)
    photo = np.array(Image.open(large / "b.png"))[1::3, 1::3]
    assert abs(picture - overlay(photo, masks[0][1::3, 1::3])).mean() < 8


def test_of_an_image_that_is_too_large_tiles_are_named(folder, refused):
    Image.new("1", (9500, 9500)).save(folder / "photos/large.png")
    lines = refused()
    assert (
        f"cannot read the image {folder / 'photos/large.png'}: 9500 x 9500 pixels are more than "
        "90 megapixels, the limit; make it smaller, or cut it in tiles by --tile 1024" in lines
    )


def test_of_large_images_a_damaged_one_is_named(folder, large, refused, monkeypatch):
    for module in (rasters, tiff_segments):
        monkeypatch.setattr(module, "MAX_PIXELS", 20_000)
    whole = (large / "a.tif").read_bytes()
    (large / "a.tif").write_bytes(whole[:70_000])  # some rows of it
    lines = refused(images=large, tile=64, overlap=32)
    assert f"cannot read the image {large / 'a.tif'}" in lines[-2]
    assert [path.name for path in (folder / "masks").iterdir()] == ["b.png"]


def test_an_image_that_the_network_cannot_take_is_named(folder, refused):
    squeezed = folder / "squeezed.pt"
    save_network(squeezed, build("squeezenet1_0_seg", 2), "squeezenet1_0_seg", 2, {}, CLASSES[:2])
    Image.new("RGB", (3, 3)).save(folder / "photos/dot.png")
    lines = refused(weights=squeezed)
    assert any("dot.png does not go through the network" in line for line in lines)
    assert lines[-1].endswith("1 of 4 images have no mask: see above")
    assert (folder / "masks/a.png").exists() and not (folder / "masks/dot.png").exists()


def test_what_is_no_image_is_left_out(folder, call, capsys):
    (folder / "photos/notes.txt").write_text("")
    (folder / "photos/.hidden.png").write_text("")
    (folder / "photos/sub.png").mkdir()
    call(out=folder / "photos" / "masks")
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"1 files in {folder / 'photos'} are no images: notes.txt"
    call(out=folder / "photos" / "masks")  # its own masks are no input
    assert "3 masks in" in capsys.readouterr().out


def test_what_is_refused_before_any_work(folder, refused):
    def last(**options):
        return refused(**options)[-1].partition("error: ")[2]

    photos = folder / "photos"
    assert last(out=photos) == f"--out is {photos} itself: name another folder, or one inside it"
    assert (
        last(out=None) == last(images=None) == "give --images with --out, or --onnx, or all three"
    )
    classifier = weights_of(folder / "cls.pt", "tiny_cls")
    assert last(weights=classifier).startswith(f"{classifier} is tiny_cls, no segmentation network")
    assert "crf.iterations" in last(params='{"crf": {"iterations": -1}}')
    (folder / "empty").mkdir()
    assert last(images=folder / "empty").startswith(f"{folder / 'empty'} contains no image (.jpg")
    assert last(bits=20) == "--bits 20: give 8 to 16"
    for side, overlap in ((63, 0), (128, 65), (128, -1)):
        assert last(tile=side, overlap=overlap) == (
            f"--tile {side} --overlap {overlap}: give tiles of 64 pixels or more, and an overlap of"
            " at most half of that"
        )
    assert last(tile=64, overlap=32, params='{"size": 32}').endswith("set it to null")
    assert not (folder / "masks").exists()


def test_a_name_that_no_mask_can_have_stops_no_other_image(folder, refused):
    photos = folder / "photos"
    Image.new("L", (4, 4)).save(photos / "a.jpg")
    Image.new("L", (4, 4)).save(photos / "line\nfeed.png")
    broken = os.fsencode(photos) + b"/\xff\xfe.png"
    (photos / "b.jpg").rename(os.fsdecode(broken))
    (folder / "labels.csv").write_text("image,labels\na.jpg,cat\na.png,dog\nc d,cat\n")
    lines = refused(labels=folder / "labels.csv")
    assert [line for line in lines if "rename" in line] == [
        f"{photos} holds a.jpg and a.png, whose masks would have one name: rename one",
        f"{photos}/'line\\nfeed.png' has a name that no mask can have: rename it",
        f"{photos}/'\\udcff\\udcfe.png' has a name that no mask can have: rename it",
    ]
    assert lines[-1].endswith("3 of 4 images have no mask: see above")
    assert [path.name for path in (folder / "masks").iterdir()] == ["c d.png"]


def test_of_a_phones_two_files_of_an_image_the_readable_one_counts(folder, call, capsys):
    heic = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(50)
    (folder / "photos/a.HEIC").write_bytes(heic)
    (folder / "photos/older").mkdir()
    Image.new("L", (4, 4)).save(folder / "photos/older/x.png")
    call(images=folder / "photos")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 files are the same image as another and not read: a.HEIC"
    assert lines[1] == f"1 folders in {folder / 'photos'} have images and are not searched: older"
    assert mask(folder, "a").shape == SIZES["a.png"]


def test_images_of_twelve_bits_are_noted_and_read_by_an_option(folder, call, capsys):
    photos = folder / "photos"
    levels = np.arange(24 * 24).reshape(24, 24) * 7
    assert levels.max() < 4096
    (photos / "c d.bmp").unlink()
    Image.fromarray((levels >> 4).astype(np.uint8)).save(photos / "c d.png")
    call()
    plain = mask(folder, "c d")
    Image.fromarray(levels.astype(np.uint16)).save(photos / "c d.png")
    call()
    note = "note: 1 images of 16 bits a channel are read nearly black: give --bits if they have"
    assert any(line.startswith(note) for line in capsys.readouterr().out.splitlines())
    call(bits=12)
    assert "nearly black" not in capsys.readouterr().out
    np.testing.assert_array_equal(mask(folder, "c d"), plain)


@pytest.mark.parametrize("image", ["a.png", "a"])
def test_labels_restrict_each_image_to_its_own(folder, call, image):
    rows = f"\ufeffimage,labels\r\n{image},dog\r\nb.jpg,\r\n\r\nc d,cat; red panda\r\n"
    (folder / "labels.csv").write_bytes(rows.encode())
    call(labels=folder / "labels.csv")
    allowed = {"a": {0, 2}, "b": {0}, "c d": {0, 1, 3}}
    assert all(set(np.unique(mask(folder, n)).tolist()) <= allowed[n] for n in allowed)
    assert set(np.unique(mask(folder, "c d")).tolist()) & {1, 3}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,cat\nb,cow\nc d,dog", r"row 3 .*labels\.csv.*'cow'"),
        ("a,cat\nb,dog\nx,dog", r"row 4 .*labels\.csv.*'x'"),
        ("a,cat\nb,dog", r"labels\.csv has no row for c d\.bmp"),
    ],
)
def test_labels_that_fit_no_image_or_class(folder, refused, rows, message):
    (folder / "labels.csv").write_text(f"image,labels\n{rows}\n")
    (line,) = refused(labels=folder / "labels.csv")
    assert re.search(message, line), line
    assert not (folder / "masks").exists()


def test_the_network_alone_as_onnx(folder, call, capsys):
    pytest.importorskip("onnxruntime")
    call(images=None, out=None, onnx=folder / "net.onnx")
    assert "net.onnx: its logits differ by at most" in capsys.readouterr().out
    assert (folder / "net.onnx").stat().st_size > 100_000 and not (folder / "masks").exists()
