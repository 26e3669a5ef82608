"""The steps of a run that label pixels, in their order: one definition for scores and pictures."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from skimage.transform import resize

from seedbed.data.index import ImageEntry
from seedbed.evaluation.common_crf import CommonCRF
from seedbed.formats.maps import Maps
from seedbed.formats.masks import VOID
from seedbed.methods.group_wsss.pseudo_labels import argmax_labels


@dataclass(frozen=True)
class ChainFiles:
    """HDF5 map files of a run by artefact; a recipe that skips a step has none of its files."""

    cams: Sequence[Path] = ()
    saliency: Sequence[Path] = ()
    cues: Sequence[Path] = ()
    pseudo_labels: Sequence[Path] = ()
    targets: Sequence[Path] = ()
    predictions: Sequence[Path] = ()
    refined: Sequence[Path] = ()


@dataclass(frozen=True)
class Step:
    """A step of the chain on one split.

    `maps` holds the step's artefact; `label_image` computes from it an image's mask (H, W) uint8,
    class ids and 255 = void, or None if the step has no mask of that image. `round` is None for
    the steps before the rounds.
    """

    name: str
    split: str
    maps: Maps
    label_image: Callable[[Maps, ImageEntry], np.ndarray | None]
    round: int | None = None

    def __contains__(self, entry: ImageEntry) -> bool:
        return entry.split == self.split and entry.id in self.maps

    def mask(self, entry: ImageEntry) -> np.ndarray | None:
        """Mask (H, W) uint8 of an image of the step's split; None if the step has none."""
        return self.label_image(self.maps, entry)


def cue_steps(
    files: ChainFiles, *, cam_background: float, saliency_threshold: float, crf: CommonCRF
) -> Iterator[Step]:
    """CAM, CAM with CRF, saliency × tags, and seeds.

    `cam_background` is the constant score of background against the CAMs, `saliency_threshold`
    the least saliency of foreground, both in [0, 1].
    """
    if files.cams:
        cams = Maps(files.cams)
        yield Step("cam", "train", cams, partial(cam_mask, background=cam_background))
        refine = partial(refined_cam_mask, background=cam_background, crf=crf)
        yield Step("cam + crf", "train", cams, refine)
    if files.saliency:
        label = partial(saliency_mask, threshold=saliency_threshold)
        yield Step("saliency × tags", "train", Maps(files.saliency), label)
    if files.cues:
        yield Step("seeds", "train", Maps(files.cues), seed_mask)


def pseudo_label_steps(files: ChainFiles, *, crf: CommonCRF | None = None) -> Iterator[Step]:
    """Pseudo labels, and, given a CRF, pseudo labels refined by it."""
    if not files.pseudo_labels:
        return
    masks = Maps(files.pseudo_labels)
    yield Step("pseudo_labels", "train", masks, stored_mask)
    if crf:
        refine = partial(refined_stored_mask, crf=crf)
        yield Step("pseudo_labels + crf", "train", masks, refine)


def round_steps(files: ChainFiles) -> Iterator[Step]:
    """The targets of all rounds, then round by round the predictions before and after the CRF."""
    for (round_, split), masks in by_round_and_split(files.targets).items():
        yield Step("targets", split, masks, kept_target, round_)
    predictions, refined = map(by_round_and_split, (files.predictions, files.refined))
    for key in sorted({*predictions, *refined}):
        round_, split = key
        if key in predictions:
            yield Step("predictions", split, predictions[key], best_class, round_)
        if key in predictions and split == "train":
            yield Step("predictions within tags", split, predictions[key], best_tag, round_)
        if key in refined:
            yield Step("predictions + crf", split, refined[key], refined_mask, round_)


def by_round_and_split(paths: Sequence[Path]) -> dict[tuple[int, str], Maps]:
    """Group map files by the attributes `round` and `split` ("train" if absent), sorted."""
    groups: dict[tuple[int, str], list[Path]] = defaultdict(list)
    for path in paths:
        attributes = Maps(path).file_attributes()
        groups[attributes["round"], attributes.get("split", "train")].append(path)
    return {key: Maps(groups[key]) for key in sorted(groups)}


def cam_mask(cams: Maps, entry: ImageEntry, *, background: float) -> np.ndarray:
    """The class with the highest CAM, or background where none exceeds the score `background`."""
    return argmax_labels(dict(zip(entry.labels, cams.floats(entry.id), strict=True)), background)


def refined_cam_mask(
    cams: Maps, entry: ImageEntry, *, background: float, crf: CommonCRF
) -> np.ndarray:
    """As `cam_mask`, with the CRF applied to the CAMs and the constant background score."""
    maps = cams.floats(entry.id)
    return crf.refine_scores(entry, np.concatenate([np.full_like(maps[:1], background), maps]))


def saliency_mask(saliency: Maps, entry: ImageEntry, *, threshold: float) -> np.ndarray:
    """Salient pixels as the image's first tag, the others as background."""
    salient = saliency.floats(entry.id) >= threshold
    return np.where(salient, entry.labels[0], 0).astype(np.uint8)


def seed_mask(cues: Maps, entry: ImageEntry) -> np.ndarray:
    """Cues (C, g, g) enlarged to the image; cells of no class or of several are void."""
    grid = cues[entry.id]
    mask = np.where(grid.sum(0) == 1, grid.argmax(0), VOID).astype(np.uint8)
    size = (entry.height, entry.width)
    enlarged = resize(mask, size, order=0, preserve_range=True, anti_aliasing=False)
    return enlarged.astype(np.uint8)


def stored_mask(masks: Maps, entry: ImageEntry) -> np.ndarray:
    """The mask as it is stored."""
    return masks[entry.id]


def refined_stored_mask(masks: Maps, entry: ImageEntry, *, crf: CommonCRF) -> np.ndarray:
    """The stored mask, refined by the CRF."""
    return crf.refine_labels(entry, masks[entry.id])


def kept_target(targets: Maps, entry: ImageEntry) -> np.ndarray | None:
    """The target mask if the round is trained on it, else None."""
    return targets[entry.id] if targets.attributes(entry.id)["kept"] else None


def best_class(predictions: Maps, entry: ImageEntry) -> np.ndarray:
    """The most probable of all classes at each pixel."""
    return _argmax_class(*_probabilities(predictions, entry))


def best_tag(predictions: Maps, entry: ImageEntry) -> np.ndarray:
    """The most probable class at each pixel, of background and the image's tags."""
    classes, probabilities = _probabilities(predictions, entry)
    tagged = np.isin(classes, [0, *entry.labels])
    return _argmax_class(classes[tagged], probabilities[tagged])


def _probabilities(predictions: Maps, entry: ImageEntry) -> tuple[np.ndarray, np.ndarray]:
    """Class ids (C',) uint8 and their probabilities (C', H, W) float16."""
    classes = np.asarray(predictions.attributes(entry.id)["classes"], dtype=np.uint8)
    return classes, np.asarray(predictions[entry.id], dtype=np.float16)


def _argmax_class(classes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    # Bit patterns of non-negative float16 sort like their values, and integers compare faster.
    return classes[probabilities.view(np.uint16).argmax(axis=0)]


def refined_mask(masks: Maps, entry: ImageEntry) -> np.ndarray:
    """Labels after the CRF, without their confidence."""
    return masks[entry.id][0]
