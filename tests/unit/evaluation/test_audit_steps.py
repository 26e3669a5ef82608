"""CAMs, saliency, seeds and pseudo labels as masks, on images of a few pixels."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.evaluation import common_crf
from seedbed.evaluation.audit_steps import audit_steps, seed_mask
from seedbed.evaluation.chain import ChainFiles
from seedbed.evaluation.common_crf import CommonCRF
from seedbed.formats.maps import Maps, write_maps
from stages.settings import CRFSettings

ENTRY = ImageEntry("a", "a.png", 1, 4, (2,), "train", True, "")
THRESHOLDS = {"cam_background": 0.2, "saliency_threshold": 0.5}


def stored(path, array, **attributes):
    with write_maps(path) as maps:
        maps.put("a", array, **attributes)
    return path


@pytest.fixture
def crf(tmp_path):
    """Make a common CRF with so many iterations; the image is black."""
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(tmp_path / "a.png")

    def make(iterations):
        return CommonCRF(tmp_path, CRFSettings(iterations=iterations).model_dump(), 0.7)

    return make


def test_seed_cells_of_no_class_or_several_are_void(tmp_path):
    cues = np.zeros((3, 2, 2), bool)
    cues[0, 0, 0] = cues[2, 0, 1] = cues[1, 1, 0] = cues[2, 1, 0] = True
    square = ImageEntry("a", "a.png", 4, 4, (1, 2), "train", True, "")
    expected = [[0, 0, 2, 2], [0, 0, 2, 2], [255] * 4, [255] * 4]
    assert seed_mask(Maps(stored(tmp_path / "c.h5", cues)), square).tolist() == expected


def test_cue_steps_by_hand(tmp_path, crf):
    files = ChainFiles(
        cams=[stored(tmp_path / "c.h5", np.uint8([[[255, 60, 40, 0]]]), classes=[2])],
        saliency=[stored(tmp_path / "s.h5", np.uint8([[255, 128, 127, 0]]))],
    )
    steps = list(audit_steps(files, **THRESHOLDS, crf=crf(0)))
    control = ["saliency × tags", "saliency × tags + crf"]
    assert [step.name for step in steps] == ["cam", "cam + crf", *control]
    for step in steps:  # 60/255 > 0.2 > 40/255; without an iteration the CRF gives the unary's best
        assert step.mask(ENTRY).tolist() == [[2, 2, 0, 0]]


def test_levels_that_equal_a_threshold_are_background_and_salient(tmp_path, crf):
    """51 / 255 is 0.2, no more than background; 153 / 255 is 0.6, enough for foreground."""
    files = ChainFiles(
        cams=[stored(tmp_path / "c.h5", np.uint8([[[51, 52, 0, 0]]]))],
        saliency=[stored(tmp_path / "s.h5", np.uint8([[153, 152, 154, 0]]))],
    )
    thresholds = {"cam_background": 0.2, "saliency_threshold": 0.6}
    masks = {s.name: s.mask(ENTRY).tolist() for s in audit_steps(files, **thresholds, crf=crf(0))}
    assert masks["cam"] == [[0, 2, 0, 0]]
    assert masks["saliency × tags"] == [[2, 0, 2, 0]]


def test_the_control_gives_salient_pixels_to_the_strongest_tag(tmp_path, crf):
    """Neither to the first tag, nor to one whose CAM is as high as that of a lower id."""
    entry = replace(ENTRY, labels=(2, 5, 7))
    cams = np.uint8([[[9, 3, 0, 255]], [[1, 7, 0, 0]], [[2, 7, 0, 9]]])
    files = ChainFiles(
        cams=[stored(tmp_path / "c.h5", cams)],
        saliency=[stored(tmp_path / "s.h5", np.uint8([[255, 128, 255, 127]]))],
    )
    steps = list(audit_steps(files, **THRESHOLDS, crf=crf(0)))[2:]
    assert [step.mask(entry).tolist() for step in steps] == 2 * [[[2, 5, 2, 0]]]


def test_the_control_with_crf_joins_pixels_of_one_colour(tmp_path, crf):
    files = ChainFiles(
        cams=[stored(tmp_path / "c.h5", np.uint8([[[255, 0, 0, 0]]]))],
        saliency=[stored(tmp_path / "s.h5", np.uint8([[255, 255, 255, 0]]))],
    )
    *_, plain, refined = audit_steps(files, **THRESHOLDS, crf=crf(10))
    assert plain.mask(ENTRY).tolist() == [[2, 2, 2, 0]]
    assert refined.mask(ENTRY).tolist() == [[2, 2, 2, 2]]


@pytest.mark.parametrize("missing", ["cams", "saliency"])
def test_without_cams_or_saliency_there_is_no_control(tmp_path, crf, missing):
    files = {
        "cams": [stored(tmp_path / "c.h5", np.uint8([[[255, 60, 40, 0]]]))],
        "saliency": [stored(tmp_path / "s.h5", np.uint8([[255, 128, 127, 0]]))],
    }
    steps = audit_steps(ChainFiles(**files | {missing: []}), **THRESHOLDS, crf=crf(0))
    assert not any(step.name.startswith("saliency") for step in steps)


def test_pseudo_labels_are_a_step_with_and_without_crf(tmp_path, crf):
    files = ChainFiles(pseudo_labels=[stored(tmp_path / "l.h5", np.uint8([[2, 2, 255, 2]]))])
    plain, refined = audit_steps(files, **THRESHOLDS, crf=crf(10))
    assert plain.mask(ENTRY).tolist() == [[2, 2, 255, 2]]
    assert refined.name == "pseudo_labels + crf"
    assert refined.mask(ENTRY).tolist() == [
        [2, 2, 2, 2]
    ]  # void joins its neighbours of equal colour


def test_a_mask_that_is_void_everywhere_stays_void(tmp_path, crf):
    """The CRF would make it background, the first of equally likely classes."""
    void = np.full((1, 4), 255, np.uint8)
    files = ChainFiles(pseudo_labels=[stored(tmp_path / "l.h5", void)])
    for step in audit_steps(files, **THRESHOLDS, crf=crf(10)):
        assert step.mask(ENTRY).tolist() == void.tolist(), step.name


def test_hard_labels_survive_a_crf_without_iterations(crf):
    assert crf(0).refine_labels(ENTRY, np.uint8([[2, 0, 2, 0]])).tolist() == [[2, 0, 2, 0]]


def test_the_rest_of_a_labels_probability_is_shared_by_the_other_classes(crf, monkeypatch):
    """0.7 for the label and 0.15 for either of the two others; where it is void, 1/3 each."""
    shares = []
    monkeypatch.setattr(
        common_crf, "crf_posterior", lambda image, scores, params: shares.append(scores) or scores
    )
    mask = crf(0).refine_labels(replace(ENTRY, labels=(2, 5)), np.uint8([[0, 2, 5, 255]]))
    assert mask[0, :3].tolist() == [0, 2, 5]
    expected = [[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7], [1 / 3] * 3]
    scores = shares[0][:, 0].T
    np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), expected, rtol=1e-5)
