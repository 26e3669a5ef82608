"""The steps of the chain, on images of a few pixels computed by hand."""

import numpy as np

from seedbed.data.index import ImageEntry
from seedbed.evaluation.chain import (
    ChainFiles,
    best_class,
    best_tag,
    by_round_and_split,
    kept_target,
    round_steps,
)
from seedbed.formats.maps import LOG_PROBABILITIES, Maps, write_maps
from tests.support.predictions import logarithms

ENTRY = ImageEntry("a", "a.png", 1, 4, (2,), "train", True, "")


def stored(path, array, file_attributes=None, **attributes):
    with write_maps(path, **(file_attributes or {})) as maps:
        maps.put("a", np.asarray(array), **attributes)
    return path


def predicted(path, probabilities, classes, file_attributes=None):
    values = logarithms(probabilities)
    return stored(path, values, file_attributes, classes=classes, values=LOG_PROBABILITIES)


def test_best_class_of_all_classes_and_of_the_tags(tmp_path):
    # background, a class that is no tag and the tag: the second leads in the first two pixels
    probabilities = [[[0.3, 0.1, 0.8, 0.2]], [[0.5, 0.6, 0.1, 0.2]], [[0.2, 0.3, 0.1, 0.6]]]
    maps = Maps(predicted(tmp_path / "p.h5", probabilities, [0, 1, 2]))
    assert best_class(maps, ENTRY).tolist() == [[1, 1, 0, 2]]
    assert best_tag(maps, ENTRY).tolist() == [[0, 2, 0, 2]]


def test_tags_compete_though_another_class_is_certain(tmp_path):
    logs = np.float16([[[-40, -300, -9, -1]], [[0, 0, 0, 0]], [[-39, -301, -9, -20000]]])
    about = {"classes": [0, 1, 2], "values": LOG_PROBABILITIES}
    maps = Maps(stored(tmp_path / "p.h5", logs, **about))
    assert best_class(maps, ENTRY).tolist() == [[1, 1, 1, 1]]
    assert best_tag(maps, ENTRY).tolist() == [[2, 0, 0, 0]]


def test_best_class_has_the_highest_probability(tmp_path):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), (6, 5)).transpose(2, 0, 1)
    maps = Maps(predicted(tmp_path / "p.h5", probabilities, [0, 3, 7, 20]))
    expected = np.array([0, 3, 7, 20])[probabilities.argmax(0)]
    assert best_class(maps, ENTRY).tolist() == expected.tolist()


def test_targets_that_are_not_trained_on_have_no_mask(tmp_path):
    mask = np.uint8([[0, 2, 2, 255]])
    kept = Maps(stored(tmp_path / "k.h5", mask, kept=True))
    dropped = Maps(stored(tmp_path / "d.h5", mask, kept=False))
    assert kept_target(kept, ENTRY).tolist() == mask.tolist()
    assert kept_target(dropped, ENTRY) is None


def test_rounds_in_their_order(tmp_path):
    def artefact(round_, split, kind):
        path, about = tmp_path / f"{kind}-{round_}-{split}.h5", {"round": round_, "split": split}
        if kind == "predictions":
            return predicted(path, [[[1, 0, 0, 1]], [[0, 1, 1, 0]]], [0, 2], about)
        return stored(path, np.uint8([[[0, 2, 2, 0]], [[255] * 4]]), about)

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
