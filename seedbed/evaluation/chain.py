"""The steps of a run that label pixels, in their order: one definition for scores and pictures."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps

REFINED = " + crf"  # ends the name of a step whose masks the CRF has refined


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


def pseudo_label_steps(files: ChainFiles) -> Iterator[Step]:
    """Pseudo labels as they are stored."""
    if files.pseudo_labels:
        yield Step("pseudo_labels", "train", Maps(files.pseudo_labels), stored_mask)


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
            yield Step(f"predictions{REFINED}", split, refined[key], refined_mask, round_)


def by_round_and_split(paths: Sequence[Path]) -> dict[tuple[int, str], Maps]:
    """Group map files by the attributes `round` and `split` ("train" if absent), sorted."""
    groups: dict[tuple[int, str], list[Path]] = defaultdict(list)
    for path in paths:
        attributes = Maps(path).file_attributes()
        groups[attributes["round"], attributes.get("split", "train")].append(path)
    return {key: Maps(groups[key]) for key in sorted(groups)}


def stored_mask(masks: Maps, entry: ImageEntry) -> np.ndarray:
    """The mask as it is stored."""
    return masks[entry.id]


def kept_target(targets: Maps, entry: ImageEntry) -> np.ndarray | None:
    """The target mask if the round is trained on it, else None."""
    return targets[entry.id] if targets.attributes(entry.id)["kept"] else None


def best_class(predictions: Maps, entry: ImageEntry) -> np.ndarray:
    """The most probable of all classes at each pixel."""
    return _argmax_class(*predictions.log_probabilities(entry.id))


def best_tag(predictions: Maps, entry: ImageEntry) -> np.ndarray:
    """The most probable class at each pixel, of background and the image's tags."""
    log_probabilities, classes = predictions.log_probabilities(entry.id)
    tagged = np.isin(classes, [0, *entry.labels])
    return _argmax_class(log_probabilities[tagged], classes[tagged])


def _argmax_class(log_probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    # Bit patterns of float16 ≤ 0 sort opposite to their values, and integers compare faster.
    return classes[log_probabilities.view(np.uint16).argmin(axis=0)]


def refined_mask(masks: Maps, entry: ImageEntry) -> np.ndarray:
    """Labels after the CRF, without their confidence."""
    return masks[entry.id][0]
