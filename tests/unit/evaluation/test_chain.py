"""The steps of the chain, on images of a few pixels computed by hand."""

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.evaluation.chain import (
    ChainFiles,
    best_class,
    best_tag,
    by_round_and_split,
    cue_steps,
    kept_target,
    pseudo_label_steps,
    round_steps,
    seed_mask,
)
from seedbed.evaluation.common_crf import CommonCRF
from seedbed.formats.maps import Maps, write_maps
from stages.settings import CRFSettings

ENTRY = ImageEntry("a", "a.png", 1, 4, (2,), "train", True, "")


def stored(path, array, file_attributes=None, **attributes):
    with write_maps(path, **(file_attributes or {})) as maps:
        maps.put("a", np.asarray(array), **attributes)
    return path


@pytest.fixture
def crf(tmp_path):
    """Make a common CRF with so many iterations; the image is black."""
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(tmp_path / "a.png")

    def make(iterations):
        return CommonCRF(tmp_path, CRFSettings(iterations=iterations).model_dump(), 0.7)

    return make


def test_best_class_of_all_classes_and_of_the_tags(tmp_path):
    # background, a class that is no tag and the tag: the second leads in the first two pixels
    probabilities = [[[0.3, 0.1, 0.8, 0.2]], [[0.5, 0.6, 0.1, 0.2]], [[0.2, 0.3, 0.1, 0.6]]]
    maps = Maps(stored(tmp_path / "p.h5", np.float16(probabilities), classes=[0, 1, 2]))
    assert best_class(maps, ENTRY).tolist() == [[1, 1, 0, 2]]
    assert best_tag(maps, ENTRY).tolist() == [[0, 2, 0, 2]]


def test_best_class_has_the_highest_probability(tmp_path):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), (6, 5)).transpose(2, 0, 1)
    probabilities = probabilities.astype(np.float16)
    maps = Maps(stored(tmp_path / "p.h5", probabilities, classes=[0, 3, 7, 20]))
    expected = np.array([0, 3, 7, 20])[probabilities.astype(float).argmax(0)]
    assert best_class(maps, ENTRY).tolist() == expected.tolist()


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
    steps = list(cue_steps(files, cam_background=0.2, saliency_threshold=0.5, crf=crf(0)))
    assert [step.name for step in steps] == ["cam", "cam + crf", "saliency × tags"]
    for step in steps:  # 60/255 > 0.2 > 40/255; without an iteration the CRF gives the unary's best
        assert step.mask(ENTRY).tolist() == [[2, 2, 0, 0]]


def test_pseudo_labels_are_a_step_with_and_without_crf(tmp_path, crf):
    files = ChainFiles(pseudo_labels=[stored(tmp_path / "l.h5", np.uint8([[2, 2, 255, 2]]))])
    plain, refined = pseudo_label_steps(files, crf=crf(10))
    assert plain.mask(ENTRY).tolist() == [[2, 2, 255, 2]]
    assert refined.name == "pseudo_labels + crf"
    assert refined.mask(ENTRY).tolist() == [
        [2, 2, 2, 2]
    ]  # void joins its neighbours of equal colour
    assert [step.name for step in pseudo_label_steps(files)] == ["pseudo_labels"]


def test_hard_labels_survive_a_crf_without_iterations(crf):
    assert crf(0).refine_labels(ENTRY, np.uint8([[2, 0, 2, 0]])).tolist() == [[2, 0, 2, 0]]


def test_targets_that_are_not_trained_on_have_no_mask(tmp_path):
    mask = np.uint8([[0, 2, 2, 255]])
    kept = Maps(stored(tmp_path / "k.h5", mask, kept=True))
    dropped = Maps(stored(tmp_path / "d.h5", mask, kept=False))
    assert kept_target(kept, ENTRY).tolist() == mask.tolist()
    assert kept_target(dropped, ENTRY) is None


def test_rounds_in_their_order(tmp_path):
    def artefact(round_, split, kind):
        mask = np.uint8([[[0, 2, 2, 0]], [[255] * 4]])
        values = np.float16([[[1, 0, 0, 1]], [[0, 1, 1, 0]]]) if kind == "predictions" else mask
        about = {"round": round_, "split": split}
        return stored(tmp_path / f"{kind}-{round_}-{split}.h5", values, about, classes=[0, 2])

    places = [(1, "val"), (1, "train"), (0, "val"), (0, "train")]
    target = stored(tmp_path / "t.h5", np.uint8([[0, 2, 2, 0]]), {"round": 1}, kept=True)
    steps = list(
        round_steps(
            ChainFiles(
                targets=[target],
                predictions=[artefact(*place, "predictions") for place in places],
                refined=[artefact(*place, "refined") for place in places],
            )
        )
    )
    of_train = ["predictions", "predictions within tags", "predictions + crf"]
    assert [(step.round, step.split, step.name) for step in steps] == [
        (1, "train", "targets"),
        *((0, "train", name) for name in of_train),
        *((0, "val", name) for name in of_train[::2]),
        *((1, "train", name) for name in of_train),
        *((1, "val", name) for name in of_train[::2]),
    ]
    assert all(step.mask(ENTRY).tolist() == [[0, 2, 2, 0]] for step in steps)
    assert [ENTRY in step for step in steps] == [step.split == "train" for step in steps]


def test_shards_are_joined_by_round_and_split(tmp_path):
    about = [{"round": 1, "split": "val"}, {"round": 0, "split": "train"}, {"round": 0}]
    paths = [stored(tmp_path / f"{i}.h5", np.uint8([[i]]), a) for i, a in enumerate(about[:2])]
    assert list(by_round_and_split(paths)) == [(0, "train"), (1, "val")]
    with write_maps(tmp_path / "2.h5", **about[2]) as maps:
        maps.put("b", np.uint8([[2]]))
    assert len(by_round_and_split([*paths, tmp_path / "2.h5"])[0, "train"]) == 2
