import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps, write_maps
from seedbed.training import loop
from seedbed.training.samples import Samples
from seedbed.training.supervision import AffinitySupervision, CueSupervision, MaskSupervision


@pytest.fixture
def batches_until(make_batch):
    """batches(start) of 33 steps, interrupted before one or with NaN at one."""

    def make(stop=None, spoilt=None):
        def batches(start):
            for step in range(start, 33):
                if step == stop:
                    raise KeyboardInterrupt
                generator = torch.Generator().manual_seed(step)
                images = torch.randn(8, 3, 2, 2, generator=generator)
                yield make_batch(images * (float("nan") if step == spoilt else 1))

        return batches

    return make


@pytest.fixture
def checkpoint_every_step(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


@pytest.fixture
def make_samples(tmp_path):
    """Samples of one picture (H, W, 3), supervised by a mask, cues or scores if given."""

    def maps(name, array):
        with write_maps(tmp_path / f"{name}.h5") as file:
            file.put("a", array)
        return Maps(tmp_path / f"{name}.h5")

    def supervise(mask, cues, scores, *, stride=1, sampling="half_pixel", grid=0):
        if mask is not None:
            return MaskSupervision(maps=maps("mask", mask), stride=stride, sampling=sampling)
        if cues is not None:
            return CueSupervision(maps=maps("cues", cues), grid=grid)
        return AffinitySupervision(maps=maps("scores", scores)) if scores is not None else None

    def make(picture, view, *, seed=0, mask=None, cues=None, scores=None, copies=1, **options):
        Image.fromarray(picture).save(tmp_path / "a.png")
        entry = ImageEntry("a", "a.png", *picture.shape[:2], (2,), "train", True, "")
        supervision = supervise(mask, cues, scores, **options)
        return Samples(
            [entry] * copies, tmp_path, view, num_classes=4, seed=seed, supervision=supervision
        )

    return make
