"""Maps, masks, cues and weights that are given instead of being made."""

import json
import pickle
import shutil
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from seedbed.data.index import Index
from seedbed.formats.maps import write_maps
from seedbed.formats.masks import write_mask
from seedbed.models import build
from seedbed.models.weights import save_network
from stages.affinity_scores import affinity_scores
from stages.cam import cam
from stages.command import run_stage
from stages.crf import crf
from stages.evaluate import evaluate
from stages.group_cam import group_cam
from stages.masks import masks
from stages.pseudo_labels import pseudo_labels
from stages.saliency import saliency
from stages.seeds import seeds
from stages.targets import targets
from stages.train_classifier import train_classifier
from tests.bad_input.case import CAT, CONVERT, DOG, HEIGHT, WIDTH, Bad, case
from tests.support.saliency_model import saliency_model
from tests.support.workflow_helpers import snakemake

SIZE = (HEIGHT, WIDTH)


def folder(bad: Bad, name: str) -> Path:
    (bad.data / name).mkdir(parents=True)
    return bad.data / name


def weights_of(bad: Bad, path: str) -> str:
    """What is said of a classifier's weights."""
    return bad.asked("weights_file", "classifier.weights", path)


def common(bad: Bad, **settings: object) -> list[object]:
    """Arguments that all stages have."""
    return ["--index", bad.make_index(), "--params", json.dumps(settings)]


def sharded(bad: Bad) -> list[object]:
    return ["--shard", "1-of-1", "--output", bad.root / "out.h5"]


@case("a file or folder that a key names is missing")
def _(bad: Bad) -> str:
    return bad.asked("saliency_inputs", None, saliency={"maps": "salient"})


@case("a file instead of a folder, or a folder instead of a file")
def _(bad: Bad) -> str:
    folder(bad, "maps")
    line = weights_of(bad, "maps")
    assert line == (
        "data/maps: is a folder, and classifier.weights names a file; put it there, or change "
        "classifier.weights in the config"
    )
    (bad.data / "maps.zip").write_bytes(b"PK")
    return bad.asked("saliency_inputs", None, saliency={"maps": "maps.zip"})


@case("a link to nothing, or a file that may not be read, in a folder that a key names")
def _(bad: Bad) -> str:
    (folder(bad, "salient") / "t1.png").symlink_to("gone.png")
    return bad.dry_run(saliency={"maps": "salient"})


@case("pretrained weights of timm that are not there")
def _(bad: Bad) -> str:
    network = {"network": "timm:resnet50.a1_in1k/cls", "weights": "pretrained"}
    blocks = {"classifier": network, "group": {"weights": None}, "training": {"weights": None}}
    return bad.asked("published_weights", "classifier", **blocks)


@case("weights of zero bytes")
def _(bad: Bad) -> str:
    (folder(bad, "weights") / "a.pth").write_bytes(b"")
    return weights_of(bad, "weights/a.pth")


def weights_refused(bad: Bad, content: object, network: str = "tiny_cls") -> str:
    """The line in which a training refuses initial weights; bytes are written as they are."""
    path = folder(bad, "weights") / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    brief = {"network": network, "iterations": 1, "batch": 1, "crop": 32, "learning_rate": 0.1}
    outputs = ["--weights", bad.root / "weights.pt", "--log", bad.root / "log.tsv"]
    return bad.refused(train_classifier, *common(bad, **brief), *outputs, "--initial", path)


@case("weights that cannot be read")
def _(bad: Bad) -> str:
    return weights_refused(bad, b"PK\3\4 cut short")


@case("a Git LFS pointer instead of weights")
def _(bad: Bad) -> str:
    return weights_refused(bad, b"version https://git-lfs.github.com/spec/v1\n")


@case("a web page instead of weights")
def _(bad: Bad) -> str:
    return weights_refused(bad, b"<!DOCTYPE html><html><title>Quota exceeded</title>")


@case("a pickled module instead of weights")
def _(bad: Bad) -> str:
    return weights_refused(bad, {"model": torch.nn.Sequential(torch.nn.ReLU())})


@case("torchvision's VGG-16 for a network that takes Caffe's")
def _(bad: Bad) -> str:
    with torch.device("meta"):
        layers = build("vgg16_cam", 1).state_dict()
    state = {name: torch.zeros(value.shape) for name, value in layers.items()}
    state = {name: value for name, value in state.items() if name.startswith("features.")}
    state["classifier.0.weight"] = torch.zeros(1, 1)
    return weights_refused(bad, state, network="vgg16_cam")


@case("weights of a deeper network with the same names")
def _(bad: Bad) -> str:
    with torch.device("meta"):
        state = build("tiny_cls", 2).state_dict()
    state = {name: torch.zeros(value.shape) for name, value in state.items()}
    names = [*state]
    names.insert(names.index("features.5.0.weight"), "features.6.0.weight")
    return weights_refused(bad, {name: state.get(name, torch.zeros(1)) for name in names})


@case("an HDF5 file of Keras' or an ONNX model instead of weights")
def _(bad: Bad) -> str:
    line = weights_refused(bad, b"\x08\x07\x12\x07pytorch")
    assert line == (
        "weights data/weights/a.pth are an ONNX model; name the file that it was made from"
    )
    shutil.rmtree(bad.data)
    return weights_refused(bad, b"\x89HDF\r\n\x1a\n")


@case("a packed file instead of weights")
def _(bad: Bad) -> str:
    line = weights_refused(bad, b"\x1f\x8b")
    assert line == "weights data/weights/a.pth are a gzip archive; unpack it"
    shutil.rmtree(bad.data)
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        archive.writestr("w.pth", b"weights")
    return weights_refused(bad, content.getvalue())


@case("weights of another format than their name says")
def _(bad: Bad) -> None:
    bad.when.add("train_classifier")
    path = folder(bad, "weights") / "epoch=3-step=10.ckpt"
    torch.save({"state_dict": build("tiny_cls", 2).state_dict()}, path)
    brief = {"network": "tiny_cls", "iterations": 1, "batch": 1, "crop": 32, "learning_rate": 0.1}
    files = ["--weights", bad.root / "weights.pt", "--log", bad.root / "log.tsv"]
    arguments = [*common(bad, **brief), *files, "--initial", path, "--data", bad.data]
    run_stage(train_classifier, [*map(str, arguments)])
    assert (bad.root / "weights.pt").exists()


@case("two networks in a file of weights")
def _(bad: Bad) -> str:
    state = build("tiny_cls", 2).state_dict()
    return weights_refused(bad, {"student": state, "teacher": state})


def read_saliency(bad: Bad) -> str:
    return bad.refused(saliency, *common(bad, maps="salient"), *sharded(bad))


@case("a saliency map of another size")
def _(bad: Bad) -> str:
    path = folder(bad, "salient") / "t1.png"
    Image.new("L", (WIDTH + 1, HEIGHT)).save(path)
    return read_saliency(bad)


@case("a saliency map of 32 bits")
def _(bad: Bad) -> str:
    Image.new("F", (WIDTH, HEIGHT)).save(folder(bad, "salient") / "t1.png", "TIFF")
    return read_saliency(bad)


@case("saliency maps of 0 and 1, or of 0 to 255 in files of 16 bits")
def _(bad: Bad) -> str:
    path = folder(bad, "salient") / "t1.png"
    levels = np.arange(HEIGHT * WIDTH).reshape(SIZE) * 5
    Image.fromarray(np.uint16(levels)).save(path)
    line = read_saliency(bad)
    (bad.data / "images").rename(bad.data / "old")
    Image.fromarray(np.uint8(levels > 100)).save(path)
    assert read_saliency(bad) == line
    return line


@case("a saliency map in colours, of a palette or not")
def _(bad: Bad) -> str:
    path = folder(bad, "salient") / "t1.png"
    write_mask(path, np.eye(*SIZE, dtype=np.uint8))
    line = read_saliency(bad)
    (bad.data / "images").rename(bad.data / "old")
    Image.open(path).convert("RGB").save(path)
    assert read_saliency(bad) == line
    return line


@case("a saliency map is missing, or of zero bytes")
def _(bad: Bad) -> str:
    (folder(bad, "salient") / "t1.png").write_bytes(b"")
    line = read_saliency(bad)
    assert line == "cannot read the map data/salient/t1.png (it is empty): get it again"
    (bad.data / "salient/t1.png").rename(bad.data / "t1.png")
    (bad.data / "images").rename(bad.data / "old")
    return read_saliency(bad)


def learn_saliency(bad: Bad) -> str:
    return bad.refused(saliency, *common(bad, model="a.onnx"), *sharded(bad))


@case("a saliency model without onnxruntime")
def _(bad: Bad) -> str:
    bad.data.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        return learn_saliency(bad)


@case("a saliency model that is no ONNX file")
def _(bad: Bad) -> str:
    bad.data.mkdir()
    (bad.data / "a.onnx").write_bytes(b"<html>too many downloads</html>")
    return learn_saliency(bad)


@case("a saliency model with another input than U²-Net's")
def _(bad: Bad) -> str:
    bad.data.mkdir()
    saliency_model(bad.data / "a.onnx", (1, 1, 1), shape=(1, 3, 1024, 1024))
    return learn_saliency(bad)


@case("a saliency model whose output is not in [0, 1]")
def _(bad: Bad) -> str:
    bad.data.mkdir()
    saliency_model(bad.data / "a.onnx", (9, 9, 9), activation="Identity")
    return learn_saliency(bad)


@case("an image that is too small for the network")
def _(bad: Bad) -> str:
    name, classes = "squeezenet1_0_cls", ["cat", "dog"]
    save_network(bad.root / "weights.pt", build(name, 2), name, 2, {}, classes)
    weights = ["--weights", bad.root / "weights.pt"]
    return bad.refused(cam, *common(bad, scales=[0.5]), *sharded(bad), *weights)


def read_cams(bad: Bad, content: object) -> str:
    np.save(folder(bad, "cams") / "t1.npy", content, allow_pickle=True)
    return bad.refused(cam, *common(bad, maps="cams"), *sharded(bad))


@case("PSA's maps of another size")
def _(bad: Bad) -> str:
    return read_cams(bad, {CAT - 1: np.zeros((HEIGHT, WIDTH + 1))})


@case("PSA's maps without a class of the image")
def _(bad: Bad) -> str:
    return read_cams(bad, {DOG - 1: np.zeros(SIZE)})


@case("IRN's maps of several sizes")
def _(bad: Bad) -> str:
    maps = [np.zeros(SIZE), np.zeros((2, 2))]
    return read_cams(bad, {"keys": np.array([CAT - 1, DOG - 1]), "high_res": maps})


@case("IRN's maps without those of the image's size")
def _(bad: Bad) -> str:
    return read_cams(bad, {"keys": np.array([CAT - 1]), "cam": np.zeros((1, 2, 2))})


@case("a .npy without maps by class")
def _(bad: Bad) -> str:
    return read_cams(bad, np.zeros(SIZE))


@case("PSA's scores of another size")
def _(bad: Bad) -> str:
    for name in ("low", "high"):
        scores = {0: np.zeros((3, 3)), CAT: np.zeros((3, 3))}
        np.save(folder(bad, name) / "t1.npy", scores, allow_pickle=True)
    return bad.refused(affinity_scores, *common(bad, low="low", high="high"), *sharded(bad))


@case("an image without an attention map")
def _(bad: Bad) -> str:
    folder(bad, "attention")
    arguments = [*common(bad, maps="attention"), *sharded(bad), "--group-size", 3]
    return bad.refused(group_cam, *arguments)


def read_cues(bad: Bad, *cells: tuple[int, int, int], grid: int = 41) -> str:
    content = {"0_labels": np.array([CAT]), "0_cues": np.array(cells).T}
    path = bad.root / "localization_cues.pickle"
    path.write_bytes(pickle.dumps(content, protocol=2))
    outputs = ["--cues", bad.root / "c.h5", "--pickle", bad.root / "c.pickle"]
    files = [*outputs, "--preview", bad.root / "preview", "--cue-pickle", path]
    return bad.refused(seeds, *common(bad, grid=grid), *files)


@case("a cue outside the grid")
def _(bad: Bad) -> str:
    return read_cues(bad, (0, 0, 0), (CAT, 40, 41))


@case("a cue of a class that is not a tag of the image")
def _(bad: Bad) -> str:
    return read_cues(bad, (DOG, 0, 0))


def label_pixels(bad: Bad, *files: object, **settings: object) -> str:
    names = ("output", "folder", "summary")
    outputs = [part for name in names for part in (f"--{name}", bad.root / name)]
    return bad.refused(pseudo_labels, *common(bad, **settings), *files, *outputs)


def read_masks(bad: Bad) -> str:
    return label_pixels(bad, masks="given")


@case("a provided mask of another size")
def _(bad: Bad) -> str:
    write_mask(folder(bad, "given") / "t1.png", np.zeros((HEIGHT, WIDTH + 1), np.uint8))
    return read_masks(bad)


@case("a provided mask with an index that is not a class")
def _(bad: Bad) -> str:
    write_mask(folder(bad, "given") / "t1.png", np.full(SIZE, 21, np.uint8))
    return read_masks(bad)


@case("provided masks of the values 0 and 255 alone")
def _(bad: Bad) -> str:
    write_mask(folder(bad, "given") / "t1.png", np.full(SIZE, 255, np.uint8))
    return read_masks(bad)


def more_images(bad: Bad, *values: int) -> str:
    """What is said of provided masks of these values; their images show cat and dog in turn."""
    dataset = Index.load(bad.make_index())
    first = dataset.entry("t1")
    images = [replace(first, id=f"t{k}", labels=(2 - k % 2,)) for k, _ in enumerate(values, 1)]
    index, given = bad.root / "more.json", folder(bad, "given")
    replace(dataset, images=tuple(images)).save(index)
    for entry, value in zip(images, values, strict=True):
        write_mask(given / f"{entry.id}.png", np.full(SIZE, value, np.uint8))
    arguments = ["--index", index, "--params", json.dumps({"masks": "given"})]
    names = ("output", "folder", "summary")
    outputs = [part for name in names for part in (f"--{name}", bad.root / name)]
    return bad.refused(pseudo_labels, *arguments, *outputs)


@case("provided masks with the ids that `predict_images` writes without `--ids source`")
def _(bad: Bad) -> str:
    return more_images(bad, 1, 2)


@case("provided masks with the classes in another order than the data set has them")
def _(bad: Bad) -> str:
    return more_images(bad, DOG, CAT)


@case("provided masks of which more than half show no class of their images' labels")
def _(bad: Bad) -> str:
    return more_images(bad, DOG, CAT, DOG, DOG, CAT)


def no_targets(bad: Bad, *arguments: object, **settings: object) -> str:
    """The line that the stage targets ends with."""
    names = ("output", "folder", "selection")
    outputs = [part for name in names for part in (f"--{name}", bad.root / name)]
    given = [*common(bad, supervise="pseudo_labels", **settings), "--round", 0, *arguments]
    return bad.refused(targets, *given, *outputs)


@case("a list of masks that names no train image")
def _(bad: Bad) -> str:
    folder(bad, "given")
    (bad.data / "list.txt").write_text("/JPEGImages/other.jpg /proxy/other.png\n")
    return no_targets(bad, masks="given", mask_list="list.txt")


@case("a round whose targets are void in every pixel")
def _(bad: Bad) -> str:
    path = bad.root / "pseudo_labels.h5"
    with write_maps(path) as maps:
        for name in ("t1", "t2"):
            maps.put(name, np.full(SIZE, 255, np.uint8))
    return no_targets(bad, "--masks", path)


def gather(bad: Bad, path: Path) -> str:
    arguments = ["--index", bad.make_index(), "--split", "val", "--refined", path]
    outputs = ["--output", bad.root / "masks.h5", "--folder", bad.root / "masks"]
    return bad.refused(masks, *arguments, *outputs)


@case("an HDF5 file with links to other files, or data in them")
def _(bad: Bad) -> str:
    path = bad.root / "1-of-1.h5"
    (bad.root / "secret").write_bytes(bytes(HEIGHT * WIDTH))
    with h5py.File(path, "w") as file:
        outside = [(str(bad.root / "secret"), 0, HEIGHT * WIDTH)]
        file.create_dataset("v1", SIZE, np.uint8, external=outside)
    assert gather(bad, path) == "v1 in 1-of-1.h5 is not a plain map: remake it"
    (bad.data / "images").rename(bad.data / "old")
    path = bad.root / "2-of-2.h5"
    with h5py.File(path, "w") as file:
        file["v1"] = h5py.ExternalLink(bad.root / "secret", "v1")
    return gather(bad, path)


@case("an HDF5 file of CAMs or saliency that are not 8-bit levels")
def _(bad: Bad) -> str:
    path = bad.root / "cam.h5"
    with write_maps(path) as maps:
        maps.put("t1", np.ones((1, *SIZE), np.float32))
    return label_pixels(bad, "--attention", path, attention="cam", rule="argmax")


@case("predictions of an earlier version, which stored probabilities")
def _(bad: Bad) -> str:
    path = bad.root / "1-of-1.h5"
    with write_maps(path) as maps:
        maps.put("v1", np.full((2, *SIZE), 0.5, np.float16), classes=[0, 1])
    given = [*common(bad), *sharded(bad), "--round", 0, "--split", "val", "--predictions", path]
    return bad.refused(crf, *given)


@case("an HDF5 file that is damaged")
def _(bad: Bad) -> str:
    path = bad.root / "1-of-1.h5"
    with write_maps(path) as maps:
        maps.put("v1", np.zeros((2, *SIZE), np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    return gather(bad, path)


@case("no masks to score against")
def _(bad: Bad) -> str:
    settings = bad.make_folder("image,labels\na,cat\nb,cat\n")
    settings["folder"]["masks"] = None
    return bad.asked("audit_inputs", None, convert=settings, evaluate={"split": "train"})


@case("the evaluated split has no ground-truth masks")
def _(bad: Bad) -> str:
    names = ("masks", "truth", "report", "metrics", "confusion")
    files = [part for name in names for part in (f"--{name}", bad.root / name)]
    return bad.refused(evaluate, *common(bad, split="train"), *files)


@case("images that are gone, and jobs that read them")
def _(bad: Bad) -> str:
    """Of a data set that was converted: its artefacts are taken over by --touch."""
    bad.when.add("start")
    bad.make_devkit()
    dataset = bad.root / "results/dataset"
    (dataset / "masks").mkdir(parents=True)
    for name in ("input_list.txt", "masks.h5", "summary.tsv"):
        (dataset / name).touch()
    bad.make_index().rename(dataset / "index.json")
    overlay = bad.root / "overlay.yaml"
    changes = {
        "run": {"data": str(bad.data)},
        "convert": {**CONVERT, "sbd": None},
        "pathvars": {"results": str(bad.root / "results")},
    }
    overlay.write_text(yaml.safe_dump(changes))
    options = ("--cores", "1", "--configfile", "config.yaml", str(overlay))
    index, maps = str(dataset / "index.json"), str(bad.root / "results/saliency/1-of-1.h5")
    assert snakemake(bad.project(), *options, "--touch", "--", index)[0] == 0
    shutil.rmtree(bad.data / "images")
    status, messages = snakemake(bad.project(), *options, "--", maps)
    assert status == 1 and "Traceback" not in messages
    return bad.line(messages.splitlines()[-1])


@case("results of which neither `.snakemake` nor `provenance.json` says how they were made")
def _(bad: Bad) -> str:
    bad.when.add("start")
    target = "results/dataset/index.json"
    (bad.project() / target).parent.mkdir(parents=True)
    (bad.project() / target).write_text("{}")
    try:
        status, messages = snakemake(bad.project(), "--cores", "1", target)
    finally:
        shutil.rmtree(bad.project() / "results")
    assert status == 1 and "Traceback" not in messages
    return bad.line(messages.splitlines()[-1])
