"""Pseudo labels of one image from artefacts of a few pixels."""

import numpy as np
import pytest

from seedbed.artefacts import Maps, write_maps
from seedbed.data.index import ImageEntry
from stages.pseudo_labels import label
from stages.settings import PseudoLabelSettings

ENTRY = ImageEntry("a", "a.png", 1, 4, (2, 5), "train", True, "")


def stored(path, values):
    with write_maps(path, levels=255) as maps:
        maps.put("a", np.uint8(values))
    return Maps([path])


@pytest.fixture
def made(tmp_path):
    """Label `ENTRY` from two sources of attention and from saliency."""
    one = stored(tmp_path / "one.h5", [[[255, 0, 0, 255]], [[0, 102, 0, 0]]])
    two = stored(tmp_path / "two.h5", [[[0, 0, 0, 0]], [[0, 0, 255, 255]]])
    saliency = stored(tmp_path / "saliency.h5", [[255, 40, 255, 255]])

    def run(**settings):
        chosen = PseudoLabelSettings(attention="maximum", **settings)
        return label(ENTRY, sources=[one, two], saliency=saliency, settings=chosen).tolist()

    return run


def test_argmax_of_the_stronger_of_two_sources(made):
    assert made(rule="argmax", background_score=0.3) == [[2, 5, 5, 2]]
    assert made(rule="argmax", background_score=0.5) == [[2, 0, 5, 2]]


def test_saliency_guided_thresholds_are_passed_on(made):
    """The second pixel is background of saliency 40, the last one claimed by both classes."""
    assert made(saliency_threshold=32) == [[2, 255, 5, 255]]
    assert made(saliency_threshold=41) == [[2, 0, 5, 255]]
    assert made(saliency_threshold=41, attention_threshold=0.3) == [[2, 255, 5, 255]]
    assert made(saliency_threshold=41, conflict_threshold=1.0) == [[2, 0, 5, 2]]
    assert made(minimum_foreground=0.6) == [[255, 255, 255, 255]]
