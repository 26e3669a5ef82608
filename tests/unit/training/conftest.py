import multiprocessing
import os
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError
from seedbed.training import loop
from seedbed.training.processes import ProcessGroup
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


@pytest.fixture
def in_group(tmp_path):
    """function(group) in each of several processes: what each gave back, or its error's text."""
    fork = multiprocessing.get_context("fork")

    def member(function, rank, size, rendezvous, answers):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=size)
        try:
            answers.put((rank, function(ProcessGroup(rank, size))))
        except (UserError, RuntimeError) as error:
            answers.put((rank, f"{type(error).__name__}: {error}"))
        answers.close()
        answers.join_thread()
        os._exit(0)  # not the tests' own end

    def start(function, size=2):
        answers = fork.Queue()
        rendezvous = tmp_path / f"rendezvous-{time.monotonic_ns()}"
        members = [
            fork.Process(target=member, args=(function, rank, size, rendezvous, answers))
            for rank in range(size)
        ]
        for process in members:
            process.start()
        found = dict(answers.get(timeout=60) for _ in members)
        for process in members:
            process.join()
        return [found[rank] for rank in range(size)]

    return start
