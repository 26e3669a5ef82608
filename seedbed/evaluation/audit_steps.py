"""The whole chain as the audit scores it, with CAMs, saliency and seeds turned into masks."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from skimage.transform import resize

from seedbed.data.index import ImageEntry
from seedbed.evaluation.chain import (
    ChainFiles,
    Step,
    pseudo_label_steps,
    round_steps,
    stored_mask,
)
from seedbed.evaluation.common_crf import CommonCRF
from seedbed.formats.maps import Maps
from seedbed.formats.masks import VOID
from seedbed.methods.psa.pseudo_labels import argmax_labels


def audit_steps(
    files: ChainFiles, *, cam_background: float, saliency_threshold: float, crf: CommonCRF
) -> Iterator[Step]:
    """The steps whose files there are, in the order of the chain.

    CAMs and pseudo labels come a second time, refined by `crf`. `cam_background` is the constant
    score of background against the CAMs, `saliency_threshold` the least saliency of foreground,
    both in [0, 1].
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
    for step in pseudo_label_steps(files):
        yield step
        refine = partial(refined_stored_mask, crf=crf)
        yield Step(f"{step.name} + crf", step.split, step.maps, refine)
    yield from round_steps(files)


def cam_mask(cams: Maps, entry: ImageEntry, *, background: float) -> np.ndarray:
    """The class with the highest CAM, or background where none exceeds the score `background`."""
    if not entry.labels:
        return entry.background()
    return argmax_labels(dict(zip(entry.labels, cams.floats(entry.id), strict=True)), background)


def refined_cam_mask(
    cams: Maps, entry: ImageEntry, *, background: float, crf: CommonCRF
) -> np.ndarray:
    """As `cam_mask`, with the CRF applied to the CAMs and the constant background score."""
    if not entry.labels:
        return entry.background()
    maps = cams.floats(entry.id)
    return crf.refine_scores(entry, np.concatenate([np.full_like(maps[:1], background), maps]))


def saliency_mask(saliency: Maps, entry: ImageEntry, *, threshold: float) -> np.ndarray:
    """Salient pixels as the image's first tag, the others as background."""
    if not entry.labels:
        return entry.background()
    salient = saliency.floats(entry.id) >= threshold
    return np.where(salient, entry.labels[0], 0).astype(np.uint8)


def seed_mask(cues: Maps, entry: ImageEntry) -> np.ndarray:
    """Cues (C, g, g) enlarged to the image; cells of no class or of several are void."""
    grid = cues[entry.id]
    mask = np.where(grid.sum(0) == 1, grid.argmax(0), VOID).astype(np.uint8)
    size = (entry.height, entry.width)
    enlarged = resize(mask, size, order=0, preserve_range=True, anti_aliasing=False)
    return enlarged.astype(np.uint8)


def refined_stored_mask(masks: Maps, entry: ImageEntry, *, crf: CommonCRF) -> np.ndarray:
    """The stored mask, refined by the CRF; without labels every pixel is background."""
    if not entry.labels:
        return entry.background()
    return crf.refine_labels(entry, stored_mask(masks, entry))
