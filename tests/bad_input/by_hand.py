"""Stages called by hand without an input that they need, or with another one."""

import json

from seedbed.models import build
from seedbed.models.weights import save_network
from stages.audit import audit
from stages.cam import cam
from stages.compare import compare
from stages.export import export
from stages.import_masks import import_masks
from stages.predict_images import predict_images
from stages.pseudo_labels import pseudo_labels
from stages.seeds import seeds
from stages.targets import targets
from stages.train_round import train_round
from stages.voc_subset import voc_subset
from tests.bad_input.case import Bad, case


def arguments(bad: Bad, *names: str, **settings: object) -> list[object]:
    """The index, the settings, and outputs by the names of their options."""
    outputs = [part for name in names for part in (f"--{name}", bad.root / name)]
    return ["--index", bad.make_index(), "--params", json.dumps(settings), *outputs]


@case("a target stage without the masks or maps that `supervise` asks for")
def _(bad: Bad) -> str:
    given = arguments(bad, "output", "folder", "selection", supervise="ground_truth")
    return bad.refused(targets, *given, "--round", 0)


@case("cues without maps or a file of cues")
def _(bad: Bad) -> str:
    return bad.refused(seeds, *arguments(bad, "cues", "pickle", "preview"))


@case("a list of cues without the file of cues")
def _(bad: Bad) -> str:
    given = arguments(bad, "cues", "pickle", "preview")
    return bad.refused(seeds, *given, "--cue-list", bad.root / "input_list.txt")


@case("one map file for the maximum of two")
def _(bad: Bad) -> str:
    given = arguments(bad, "output", "folder", "summary", attention="maximum")
    return bad.refused(pseudo_labels, *given, "--attention", bad.root / "cam.h5")


@case("a round's training without targets")
def _(bad: Bad) -> str:
    training = {"iterations": 1, "batch": 1, "crop": 32, "learning_rate": 0.01}
    settings = {"supervise": "predictions", "network": "tiny_seg", **training}
    return bad.refused(train_round, *arguments(bad, "weights", "log", **settings))


@case("a network of another kind")
def _(bad: Bad) -> str:
    weights = bad.root / "weights.pt"
    save_network(weights, build("tiny_seg", 3), "tiny_seg", 3, {}, ["background", "cat", "dog"])
    given = arguments(bad, "output")
    return bad.refused(cam, *given, "--shard", "1-of-1", "--weights", weights)


@case("an audit of no step")
def _(bad: Bad) -> str:
    return bad.refused(audit, *arguments(bad, "output", "truth"), "--crf", "{}")


@case("settings that are not JSON")
def _(bad: Bad) -> str:
    return bad.refused(audit, *arguments(bad, "output", "truth"), "--crf", "iterations: 5")


def tiles(bad: Bad, *arguments: object, network: str = "tiny_seg", **options: object) -> str:
    """The line that predict_images refuses tiles with."""
    weights = bad.root / "weights.pt"
    model = build(network, 2, **options)
    save_network(weights, model, network, 2, options, ["background", "cat"])
    (bad.root / "photos").mkdir()
    given = ["--weights", weights, "--images", bad.root / "photos", "--out", bad.root / "out"]
    return bad.refused(predict_images, *given, *arguments)


@case("tiles that are too small, or an overlap of more than half of them")
def _(bad: Bad) -> str:
    return tiles(bad, "--tile", 128, "--overlap", 65)


@case("tiles of images that `size` would scale")
def _(bad: Bad) -> str:
    return tiles(bad, "--tile", 1024, "--params", '{"size": 321}')


@case("tiles for a network whose cells they would shift")
def _(bad: Bad) -> str:
    return tiles(bad, "--tile", 1024, network="vgg16_aspp", padding="tf")


@case("outlines with a tolerance that is no distance")
def _(bad: Bad) -> str:
    given = ["--what", "labelme", "--maps", bad.root / "masks.h5", "--folder", bad.root / "out"]
    return bad.refused(export, *given, "--index", bad.make_index(), "--tolerance", -1)


def corrected(bad: Bad, name: str, content: object) -> str:
    """The line that import_masks refuses a file with."""
    path = bad.root / "corrected" / name
    path.parent.mkdir()
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    source = path.parent if name == "t1.json" else path
    given = ["--index", bad.make_index(), "--annotations", source, "--masks", bad.root / "out"]
    line = bad.refused(import_masks, *given)
    assert not (bad.root / "out").exists(), "written after all"
    return line


def shape(**changes: object) -> dict[str, object]:
    """labelme's file of one polygon, and what shall be otherwise."""
    polygon = {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [4, 1], [4, 4]]}
    return {"imagePath": "t1.jpg", "shapes": [{**polygon, **changes}]}


@case("a file that labelme did not write")
def _(bad: Bad) -> str:
    return corrected(bad, "t1.json", "[")


@case("a corrected mask with a label that is no class")
def _(bad: Bad) -> str:
    return corrected(bad, "t1.json", shape(label="cta"))


@case("a corrected mask with a line or a point")
def _(bad: Bad) -> str:
    return corrected(bad, "t1.json", shape(shape_type="linestrip"))


@case("a corrected mask of an image that the data set does not have")
def _(bad: Bad) -> str:
    return corrected(bad, "t1.json", {**shape(), "imagePath": "x.jpg"})


@case("a corrected mask of another size")
def _(bad: Bad) -> str:
    return corrected(bad, "t1.json", {**shape(), "imageHeight": 9})


@case("a corrected COCO file with an object that has no region")
def _(bad: Bad) -> str:
    content = {
        "images": [{"id": 1, "file_name": "t1.jpg"}],
        "categories": [{"id": 8, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 8, "bbox": [0, 0, 3, 3]}],
    }
    return corrected(bad, "coco.json", content)


def subset(bad: Bad, *options: object) -> str:
    """The line that making a subset of a devkit and of an empty SBD ends with."""
    bad.make_devkit()
    (bad.data / "benchmark_RELEASE/dataset/cls").mkdir(parents=True)
    for name in ("train_aug", "val"):
        (bad.root / f"{name}.txt").write_bytes(bad.listing(name).read_bytes())
    return bad.refused(voc_subset, "--data", bad.data, "--lists", bad.root, *options)


@case("an image of the subset of VOC without a mask")
def _(bad: Bad) -> str:
    return subset(bad)


@case("a subset of VOC where there is a folder already")
def _(bad: Bad) -> str:
    (bad.data / "mine").mkdir(parents=True)
    return subset(bad, "--output", "mine")


@case("a ceiling without a score on val")
def _(bad: Bad) -> str:
    (bad.root / "run").mkdir()
    (bad.root / "run/quality.tsv").write_text("list\tround\tstep\timages\tmiou\n")
    return bad.refused(compare, "--runs", bad.root / "run", "--ceiling", bad.root / "run")
