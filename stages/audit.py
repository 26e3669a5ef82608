"""Every step's masks against the truth, with the same code, so that the steps can be compared."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
from skimage.transform import resize

from seedbed.crf import dense_crf, unary_from_probabilities
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.maps import Maps
from seedbed.formats.tables import write_tsv
from seedbed.methods.group_wsss.pseudo_labels import argmax_labels
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import AuditSettings, CRFSettings

VOID = 255
Labeller = Callable[[ImageEntry], np.ndarray | None]


@dataclass(frozen=True)
class Step:
    """A step of the chain: how it labels an image (H, W) uint8, or None where it has no mask."""

    name: str
    split: str
    label: Labeller
    round: int | None = None


def audit(
    *,
    index: Annotated[Path, "dataset/index.json"],
    truth: Annotated[Path, "dataset/masks.h5"],
    output: Annotated[Path, "to write: a row a step"],
    settings: AuditSettings,
    crf: Annotated[str, "settings of the CRF that every step is given alike, as JSON"],
    data: Data,
    workers: Workers,
    cams: Annotated[list[Path], "cam/*.h5"] = (),
    saliency: Annotated[list[Path], "saliency/*.h5"] = (),
    cues: Annotated[list[Path], "seeds/cues.h5"] = (),
    pseudo_labels: Annotated[list[Path], "pseudo_labels.h5"] = (),
    targets: Annotated[list[Path], "targets.h5 of the rounds"] = (),
    predictions: Annotated[list[Path], "predictions of all rounds and splits"] = (),
    refined: Annotated[list[Path], "masks of all rounds and splits"] = (),
) -> None:
    """Score the steps whose artefacts are given, on every list of the data set."""
    dataset = Index.load(index)
    refine = Refine(data, CRFSettings.model_validate_json(crf), settings.label_confidence)
    steps = [
        *cue_steps(Maps(cams), Maps(saliency), Maps(cues), settings, refine),
        *label_steps("pseudo_labels", None, Maps(pseudo_labels), refine),
        *round_steps(targets, predictions, refined),
    ]
    write_tsv(output, scored(dataset, steps, Maps([truth]), workers))


@dataclass
class Sum:
    """The confusion matrix of a step's masks on a list, and of how many."""

    matrix: ConfusionMatrix
    images: int = 0

    def add(self, matrix: ConfusionMatrix) -> None:
        """Add one image's."""
        self.matrix.merge(matrix)
        self.images += 1


def scored(
    dataset: Index, steps: Sequence[Step], truth: Maps, workers: int
) -> list[dict[str, object]]:
    """A row for each step and list; an image is scored once, for all of them."""
    lists = {step.split: scored_lists(dataset, step.split) for step in steps}
    sums = {
        (number, name): Sum(ConfusionMatrix(dataset.num_classes))
        for number, step in enumerate(steps)
        for name in lists[step.split]
    }
    for split, its_lists in lists.items():
        its_steps = {n: step for n, step in enumerate(steps) if step.split == split}
        ids = {name: {entry.id for entry in entries} for name, entries in its_lists.items()}
        work = partial(confusions, steps=its_steps, truth=truth, num_classes=dataset.num_classes)
        entries = its_lists.get(split, [])
        for entry, found in zip(entries, ordered_map(work, entries, workers), strict=True):
            for number, name in product(found, ids):
                if entry.id in ids[name]:
                    sums[number, name].add(found[number])
    return [
        figures(steps[number], name, total.images, total.matrix, dataset.class_names)
        for (number, name), total in sums.items()
        if total.images
    ]


def scored_lists(dataset: Index, split: str) -> dict[str, list[ImageEntry]]:
    """The lists of a split whose images have true masks; VOC's own train list apart."""
    entries = [entry for entry in dataset.split(split) if entry.has_mask]
    lists = {split: entries} if entries else {}
    own = set(dataset.audit_list)
    if split == "train" and own and own != {entry.id for entry in entries}:
        lists["train (VOC's own list)"] = [entry for entry in entries if entry.id in own]
    return lists


def confusions(
    entry: ImageEntry, *, steps: Mapping[int, Step], truth: Maps, num_classes: int
) -> dict[int, ConfusionMatrix]:
    """One image's confusion matrices, by the numbers of the steps that have a mask of it."""
    true = truth[entry.id]
    found = {}
    for number, step in steps.items():
        mask = step.label(entry)
        if mask is not None:
            found[number] = ConfusionMatrix(num_classes)
            found[number].update(true, mask)
    return found


def figures(
    step: Step, name: str, images: int, matrix: ConfusionMatrix, classes: list[str]
) -> dict[str, object]:
    """A row: void as a miss, then on labelled pixels alone, then IoU by class."""
    foreground = matrix.counts[:, 1:-1]
    correct = np.diag(matrix.counts[1:, 1:-1]).sum()
    row = {
        "list": name,
        "round": step.round,
        "step": step.name,
        "images": images,
        "miou": matrix.miou(),
        "miou_labelled": matrix.labelled().miou(),
        "coverage": matrix.coverage(),
        "precision": float(np.nanmean(matrix.precision())),
        "recall": float(np.nanmean(matrix.recall())),
        "foreground_precision": correct / max(foreground.sum(), 1),
        "foreground_recall": correct / max(matrix.counts[1:].sum(), 1),
    }
    ious = (None if np.isnan(v) else float(v) for v in matrix.iou())
    return {**row, **{f"iou {c}": v for c, v in zip(classes, ious, strict=True)}}


@dataclass(frozen=True)
class Refine:
    """The CRF that every step is given alike, so that their masks can be compared."""

    data: Path
    crf: CRFSettings
    confidence: float

    def scores(self, entry: ImageEntry, scores: np.ndarray) -> np.ndarray:
        """Labels (H, W) of scores (background and the image's tags, H, W)."""
        probs = scores / np.maximum(scores.sum(0, keepdims=True), 1e-12)
        image = read_image(self.data / entry.path)
        posterior = dense_crf(image, unary_from_probabilities(probs), self.crf.model_dump())
        return np.array([0, *entry.labels], np.uint8)[posterior.argmax(0)]

    def labels(self, entry: ImageEntry, mask: np.ndarray) -> np.ndarray:
        """Labels (H, W) of a mask: its labels are sure to a degree, its void says nothing."""
        classes = np.array([0, *entry.labels])
        same = mask == classes[:, None, None]
        rest = (1 - self.confidence) / (len(classes) - 1)
        scores = np.where(same, self.confidence, rest)
        return self.scores(entry, np.where(mask == VOID, 1.0, scores).astype(np.float32))


def cue_steps(
    cams: Maps, saliency: Maps, cues: Maps, settings: AuditSettings, refine: Refine
) -> Iterator[Step]:
    """CAM, CAM with CRF, saliency × tags and seeds."""
    background = settings.cam_background

    def cam(entry: ImageEntry) -> np.ndarray:
        maps = dict(zip(entry.labels, cams.floats(entry.id), strict=True))
        return argmax_labels(maps, background)

    def cam_crf(entry: ImageEntry) -> np.ndarray:
        maps = cams.floats(entry.id)
        return refine.scores(entry, np.concatenate([np.full_like(maps[:1], background), maps]))

    def saliency_by_tag(entry: ImageEntry) -> np.ndarray:
        salient = saliency.floats(entry.id) >= settings.saliency_threshold
        return np.where(salient, entry.labels[0], 0).astype(np.uint8)

    def seeds(entry: ImageEntry) -> np.ndarray:
        return seed_mask(cues[entry.id], entry.height, entry.width)

    if len(cams):
        yield Step("cam", "train", cam)
        yield Step("cam + crf", "train", cam_crf)
    if len(saliency):
        yield Step("saliency × tags", "train", saliency_by_tag)
    if len(cues):
        yield Step("seeds", "train", seeds)


def seed_mask(cues: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cues (C, g, g) as a mask (height, width); cells with none or several classes are void."""
    mask = np.where(cues.sum(0) == 1, cues.argmax(0), VOID).astype(np.uint8)
    return resize(mask, (height, width), order=0, preserve_range=True, anti_aliasing=False).astype(
        np.uint8
    )


def label_steps(name: str, round: int | None, masks: Maps, refine: Refine) -> Iterator[Step]:
    """Masks as they are, and with the CRF."""
    if len(masks):
        yield Step(name, "train", lambda entry: masks[entry.id], round)
        yield Step(
            f"{name} + crf", "train", lambda entry: refine.labels(entry, masks[entry.id]), round
        )


def round_steps(
    targets: Sequence[Path], predictions: Sequence[Path], refined: Sequence[Path]
) -> Iterator[Step]:
    """Each round's targets, predictions (as they are, and within the tags) and masks."""
    for path in targets:
        yield Step("targets", "train", partial(kept_target, masks=Maps([path])), _round_of(path))
    raw, crf = by_round_and_split(predictions), by_round_and_split(refined)
    for (round, split), maps in raw.items():
        yield Step("predictions", split, partial(best_class, maps=maps, tags=False), round)
        if split == "train":
            within = partial(best_class, maps=maps, tags=True)
            yield Step("predictions within tags", split, within, round)
        if (round, split) in crf:
            masks = crf[round, split]
            yield Step("predictions + crf", split, lambda e, m=masks: m[e.id][0], round)


def by_round_and_split(paths: Sequence[Path]) -> dict[tuple[int, str], Maps]:
    """Map files by the round and split in their attributes, train before val in each round."""
    groups: dict[tuple[int, str], list[Path]] = defaultdict(list)
    for path in paths:
        about = Maps([path]).file_attributes()
        groups[about["round"], about["split"]].append(path)
    return {key: Maps(groups[key]) for key in sorted(groups)}


def _round_of(path: Path) -> int:
    return Maps([path]).file_attributes()["round"]


def kept_target(entry: ImageEntry, *, masks: Maps) -> np.ndarray | None:
    """A target that is trained on."""
    return masks[entry.id] if masks.attributes(entry.id)["kept"] else None


def best_class(entry: ImageEntry, *, maps: Maps, tags: bool) -> np.ndarray:
    """The most probable class of each pixel, of all or of background and the image's tags."""
    classes = np.asarray(maps.attributes(entry.id)["classes"], dtype=np.uint8)
    probabilities = maps.floats(entry.id)
    if tags:
        tagged = np.isin(classes, [0, *entry.labels])
        classes, probabilities = classes[tagged], probabilities[tagged]
    return classes[probabilities.argmax(0)]


if __name__ == "__main__":
    run_stage(audit)
