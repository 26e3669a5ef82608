"""The stages from a synthetic data set to the score, without Snakemake, on both devices."""

import tempfile
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu.rows import Outcome, Row, Setup
from seedbed.data.classes import ClassTable
from seedbed.data.index import Index
from seedbed.data.mini.animals import CLASSES
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.maps import Maps
from seedbed.runtime.pools import available_cpus
from stages.cam import cam
from stages.convert import convert
from stages.crf import crf
from stages.masks import masks
from stages.mini_dataset import mini_dataset
from stages.predict import predict
from stages.saliency import saliency
from stages.seeds import seeds
from stages.settings import (
    CamSettings,
    ClassifierSettings,
    ConvertSettings,
    MaskCRFSettings,
    MiniSettings,
    PredictSettings,
    RoundSettings,
    SaliencySettings,
    SeedSettings,
)
from stages.train_classifier import train_classifier
from stages.train_round import train_round

TOLERANCE = 0.03
MINI = Path("mini-0")
DEVKIT = MINI / "VOCdevkit/VOC2012"
CONVERT = {
    "devkit": str(DEVKIT),
    "sbd": str(MINI / "benchmark_RELEASE/dataset"),
    "label_source": "train_cls",  # defusedxml, which the annotations need, may not be installed
    "classes": list(CLASSES),
}
TRAINING = {
    "batch": 16,
    "view": {"scale": [0.8, 1.25], "rotate": 10, "jitter": 0.1, "padding": "image_mean"},
    "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "one_cycle"},
}
SEEDS = {
    "foreground_fraction": 0.02,
    "conflict": "bg_over_fg",
    "foreground_saliency": 0.3,
}
CRF = {"bilateral_weight": 4, "bilateral_sxy": 40}


class Sizes:
    """Of the data set and the trainings: cut from the default run, and cut again to rehearse."""

    def __init__(self, small: bool) -> None:
        self.mini = MiniSettings(train=12, val=6, size=32) if small else MiniSettings()
        self.crop = self.mini.size
        self.iterations = (
            (4, 4) if small else (600, 500)
        )  # of classifier and round; with half, another number of threads alone changes it by 0.06

    def classifier(self) -> ClassifierSettings:
        """Settings of the classifier."""
        return ClassifierSettings(
            network="tiny_cls",
            iterations=self.iterations[0],
            crop=self.crop,
            learning_rate=0.005,
            pooling={"top_weight": 1.0, "top_fraction": 0.02},
            **TRAINING,
        )

    def round(self) -> RoundSettings:
        """Settings of DSRG."""
        return RoundSettings(
            network="tiny_seg",
            weights="classifier",
            iterations=self.iterations[1],
            crop=self.crop,
            learning_rate=0.01,
            supervise="seeds",
            method="dsrg",
            dsrg={"crf": {"bilateral_weight": 2, "bilateral_sxy": 3, "bilateral_srgb": 8}},
            **TRAINING,
        )


def list_tags(devkit: Path) -> None:
    """Write the tags of the annotations as Group-WSSS' train_cls.txt: "id c1 c2", from 0."""
    table = ClassTable.of(CLASSES, keep_order=True)
    numbers = {info.name: info.source_id - 1 for info in table.classes}
    lines = []
    for path in sorted((devkit / "Annotations").glob("*.xml")):
        found = {numbers[name.text] for name in ElementTree.parse(path).iterfind("object/name")}
        lines.append(" ".join([path.stem, *map(str, sorted(found))]) + "\n")
    (devkit / "ImageSets/Segmentation/train_cls.txt").write_text("".join(lines))


def prepare(folder: Path, sizes: Sizes) -> dict[str, Path]:
    """The data set and its index: what both devices start from."""
    mini_dataset(root=folder / MINI, seed=0, settings=sizes.mini)
    list_tags(folder / DEVKIT)
    paths = {"index": folder / "index.json", "masks": folder / "truth.h5"}
    convert(
        **paths,
        input_list=folder / "list.txt",
        mask_folder=folder / "truth",
        summary=folder / "summary.tsv",
        settings=ConvertSettings(**CONVERT),
        data=folder,
        workers=available_cpus(),
    )
    saliency(
        index=paths["index"],
        shard="1-of-1",
        output=folder / "saliency.h5",
        settings=SaliencySettings(),
        data=folder,
        workers=available_cpus(),
    )
    return paths


def score(folder: Path, out: Path, sizes: Sizes, device: str) -> float:
    """The mean IoU on val of classifier, CAM, seeds, DSRG, prediction and CRF on a device."""
    out.mkdir()
    index, workers = folder / "index.json", available_cpus()
    shared = {"index": index, "data": folder}
    where = {"device": device, "threads": min(workers, 8), "deterministic": 1}
    paths = {name: out / name for name in ("classifier.pt", "cam.h5", "cues.h5", "round.pt")}
    train_classifier(
        **shared,
        **where,
        weights=paths["classifier.pt"],
        log=out / "classifier/log.tsv",
        settings=sizes.classifier(),
    )
    cam(
        **shared,
        device=device,
        workers=workers,
        shard="1-of-1",
        output=paths["cam.h5"],
        settings=CamSettings(scales=[1.0, 0.75, 1.5], power=0.5),
        weights=paths["classifier.pt"],
    )
    seeds(
        **shared,
        cues=paths["cues.h5"],
        pickle=out / "cues.pickle",
        preview=out / "preview",
        settings=SeedSettings(grid=sizes.crop // 4, **SEEDS),
        cams=[paths["cam.h5"]],
        saliency=[folder / "saliency.h5"],
    )
    train_round(
        **shared,
        **where,
        weights=paths["round.pt"],
        log=out / "round/log.tsv",
        settings=sizes.round(),
        cues=paths["cues.h5"],
        initial=paths["classifier.pt"],
    )
    return predicted(folder, out, paths["round.pt"], device)


def predicted(folder: Path, out: Path, weights: Path, device: str) -> float:
    """The mean IoU on val of a network's predictions after the CRF."""
    shared = {"index": folder / "index.json", "split": "val"}
    work = {"data": folder, "workers": available_cpus(), "round": 0, "shard": "1-of-1"}
    predict(
        **shared,
        **work,
        weights=weights,
        device=device,
        output=out / "predictions.h5",
        settings=PredictSettings(),
    )
    crf(
        **shared,
        **work,
        predictions=out / "predictions.h5",
        output=out / "refined.h5",
        settings=MaskCRFSettings(**CRF),
    )
    masks(**shared, output=out / "masks.h5", folder=out / "masks", refined=[out / "refined.h5"])
    # Not the stage evaluate, which draws with matplotlib.
    classes = Index.load(folder / "index.json").num_classes
    confusion = ConfusionMatrix(classes)
    with Maps(out / "masks.h5") as found, Maps(folder / "truth.h5") as truth:
        for image_id in found:
            confusion.update(truth[image_id], found[image_id])
    return confusion.miou()


def chain(setup: Setup) -> Outcome:
    """The score on the device and on the CPU."""
    sizes = Sizes(setup.small)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, sizes)
        device = setup.device.type
        found = score(folder, folder / "device", sizes, device)
        expected = score(folder, folder / "cpu", sizes, "cpu")
    text = f"mIoU {found:.3f} on {device}, {expected:.3f} on the CPU"
    values = {"device": found, "cpu": expected}
    return Outcome(text, abs(found - expected) <= TOLERANCE, values)


ROWS = (Row("chain of the stages to mIoU, DSRG", f"within {TOLERANCE}", chain, limit=240),)
