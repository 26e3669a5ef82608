from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import write_maps
from seedbed.formats.tables import read_tsv
from seedbed.models.weights import load_network


@pytest.fixture
def project(tmp_path) -> Callable:
    """An index of three images with cues and masks, and how to run a training stage on them."""
    rng = np.random.default_rng(0)
    entries = []
    with write_maps(tmp_path / "targets.h5") as masks, write_maps(tmp_path / "cues.h5") as cues:
        for name in "abc":
            pixels = rng.integers(0, 256, (40, 36, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            masks.put(name, rng.integers(0, 3, (40, 36), np.uint8))
            cues.put(name, rng.integers(0, 2, (3, 8, 8), np.uint8))
            entries.append(ImageEntry(name, f"{name}.png", 40, 36, (1, 2), "train", True, ""))
    classes = (ClassInfo("cat", 8), ClassInfo("dog", 12))
    Index(classes, tuple(entries), "annotations").save(tmp_path / "index.json")

    def run_stage(stage, settings, **inputs):
        weights = tmp_path / f"{stage.__name__}.pt"
        stage(
            index=tmp_path / "index.json",
            weights=weights,
            log=tmp_path / "log.tsv",
            settings=settings,
            data=tmp_path,
            device="cpu",
            threads=1,
            deterministic=1,
            **inputs,
        )
        return load_network(weights)[0], read_tsv(tmp_path / "log.tsv")

    run_stage.folder = tmp_path
    return run_stage
