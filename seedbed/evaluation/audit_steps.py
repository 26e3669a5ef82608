"""The whole chain as the audit scores it, with CAMs, saliency and seeds turned into masks.

Maps in [0, 1] are compared with thresholds as the 8-bit levels that they are stored as, exactly.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from skimage.transform import resize

from seedbed.data.index import ImageEntry
from seedbed.evaluation.chain import REFINED, ChainFiles, Step, pseudo_label_steps, round_steps
from seedbed.evaluation.common_crf import CommonCRF
from seedbed.formats.levels import fractions
from seedbed.formats.maps import Maps
from seedbed.formats.palette import VOID
from seedbed.methods.psa.pseudo_labels import argmax_labels


def audit_steps(
    files: ChainFiles, *, cam_background: float, saliency_threshold: float, crf: CommonCRF
) -> Iterator[Step]:
    """The steps whose files there are, in the order of the chain.

    CAMs, pseudo labels and their control, saliency × tags, come a second time, refined by `crf`.
    `cam_background` is the constant score of background against the CAMs, `saliency_threshold` the
    least saliency of foreground, both in [0, 1].
    """
    if files.cams:
        cams = Maps(files.cams)
        yield Step("cam", "train", cams, partial(cam_mask, background=cam_background))
        refine = partial(refined_cam_mask, background=cam_background, crf=crf)
        yield Step(f"cam{REFINED}", "train", cams, refine)
    if files.cues:
        yield Step("seeds", "train", Maps(files.cues), seed_mask)
    if files.cams and files.saliency:
        saliency = Maps(files.saliency)
        label = partial(saliency_mask, saliency=saliency, threshold=saliency_threshold)
        yield from _with_and_without_crf(
            Step("saliency × tags", "train", Maps(files.cams), label), crf
        )
    for step in pseudo_label_steps(files):
        yield from _with_and_without_crf(step, crf)
    yield from round_steps(files)


def _with_and_without_crf(step: Step, crf: CommonCRF) -> Iterator[Step]:
    """A step of hard masks, and the same masks refined by the CRF."""
    yield step
    refine = partial(mask_after_crf, label_image=step.label_image, crf=crf)
    yield Step(f"{step.name}{REFINED}", step.split, step.maps, refine)


def cam_mask(cams: Maps, entry: ImageEntry, *, background: float) -> np.ndarray:
    """The class with the highest CAM, or background where none exceeds the score `background`."""
    if not entry.labels:
        return entry.background()
    return argmax_labels(dict(zip(entry.labels, cams.levels(entry.id), strict=True)), background)


def refined_cam_mask(
    cams: Maps, entry: ImageEntry, *, background: float, crf: CommonCRF
) -> np.ndarray:
    """As `cam_mask`, with the CRF applied to the CAMs and the constant background score."""
    if not entry.labels:
        return entry.background()
    maps = cams.floats(entry.id)
    return crf.refine_scores(entry, np.concatenate([np.full_like(maps[:1], background), maps]))


def saliency_mask(cams: Maps, entry: ImageEntry, *, saliency: Maps, threshold: float) -> np.ndarray:
    """Salient pixels as the tag whose CAM is highest (the lowest id of equals), others background.

    A control of pseudo labels: saliency alone says where objects are, CAMs only which is which.
    """
    if not entry.labels:
        return entry.background()
    salient = fractions(saliency.levels(entry.id)) >= threshold
    strongest = np.array(entry.labels, np.uint8)[cams.levels(entry.id).argmax(axis=0)]
    return np.where(salient, strongest, np.uint8(0))


def seed_mask(cues: Maps, entry: ImageEntry) -> np.ndarray:
    """Cues (C, g, g) enlarged to the image; cells of no class or of several are void.

    The cells tile the image, as those of the segmentation networks here do. `make_cues` samples
    maps with aligned corners, as published, so at the border a cue lies up to half a cell nearer
    to the middle than the pixels that it was made from.
    """
    grid = cues[entry.id]
    mask = np.where(grid.sum(0) == 1, grid.argmax(0), VOID).astype(np.uint8)
    size = (entry.height, entry.width)
    enlarged = resize(mask, size, order=0, preserve_range=True, anti_aliasing=False)
    return enlarged.astype(np.uint8)


def mask_after_crf(
    maps: Maps,
    entry: ImageEntry,
    *,
    label_image: Callable[[Maps, ImageEntry], np.ndarray],
    crf: CommonCRF,
) -> np.ndarray:
    """The mask that `label_image` gives, refined by the CRF; without labels all background."""
    if not entry.labels:
        return entry.background()
    return crf.refine_labels(entry, label_image(maps, entry))
