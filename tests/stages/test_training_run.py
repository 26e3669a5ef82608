"""The settings of a training as arguments of the library."""

import dataclasses

import numpy as np
import pytest
import torch

from seedbed.data.index import Index
from seedbed.formats.maps import write_maps
from seedbed.formats.tables import write_tsv
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from seedbed.training.network import NetworkSpec
from seedbed.training.optimisation import (
    SGD,
    AdamW,
    Constant,
    MultiStep,
    OneCycle,
    Optimisation,
    Poly,
    Step,
)
from seedbed.training.views import CropView, WarpView
from stages.settings import ClassifierSettings, GroupSettings, RoundSettings, TrainingSettings
from stages.train_classifier import train_classifier
from stages.train_group import train_group
from stages.train_round import train_round
from stages.training_run import make_optimisation, make_view
from tests.support.training_helpers import SHORT

torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["tiny_seg", "vgg16_largefov"])
def test_padding_with_the_networks_mean_is_preprocessed_to_zero(name):
    settings = TrainingSettings(**{**SHORT, "network": name}, view={"padding": "network_mean"})
    with torch.device("meta"):
        model = build(name, 3)
    colour = torch.tensor(make_view(settings, model).padding)
    assert 100 < colour[2] < colour[1] < colour[0] < 125
    inputs = model.preprocess(colour.view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert inputs.abs().max() < 1e-5


def test_the_view_is_the_settings_one():
    values = {
        "long_side": (40, 50),
        "scale": (0.5, 1.5),
        "rotate": 3,
        "flip": False,
        "jitter": 0.2,
        "hue": 0.1,
        "scale_resampling": "tf_legacy",
        "placement": "top_left",
        "flip_before_padding": False,
    }
    model = build("tiny_seg", 3)
    black = {"kind": "crop", "padding": "black", **values}
    expected = CropView(crop=33, padding=(0, 0, 0), **values)
    assert make_view(TrainingSettings(**SHORT, view=black), model) == expected
    legacy = {"padding": "image_mean", "resampling": "tf_legacy"}
    warped = make_view(TrainingSettings(**SHORT, view=legacy), model)
    assert isinstance(warped, WarpView)
    assert warped.padding is None and warped.resampling == "tf_legacy"


def test_the_optimisation_is_the_settings_one():
    sgd = {"momentum": 0.8, "nesterov": True, "weight_decay": 3e-4, "decay_biases": True}
    multi_step = {"milestones": [2, 5], "factor": 0.3}
    values = {
        "iterations": 7,
        "batch": 6,
        "accumulation": 3,
        "precision": "bfloat16",
        "learning_rate": 0.02,
        "multipliers": (1, 2, 10, 20),
    }
    blocks = {"optimizer": {"kind": "sgd", **sgd}, "schedule": {"kind": "multi_step", **multi_step}}
    optimisation = make_optimisation(TrainingSettings(**{**SHORT, **values, **blocks}))
    assert optimisation == Optimisation(
        optimizer=SGD(**sgd), schedule=MultiStep(**multi_step), **values
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "constant"}, Constant()),
        ({"kind": "poly", "power": 0.7}, Poly(power=0.7)),
        ({"kind": "step", "every": 9, "factor": 0.2}, Step(every=9, factor=0.2)),
        ({"kind": "one_cycle"}, OneCycle()),
    ],
)
def test_schedules_have_the_settings_values(schedule, expected):
    optimisation = make_optimisation(TrainingSettings(**{**SHORT, "schedule": schedule}))
    assert optimisation.schedule == expected
    assert optimisation.optimizer == AdamW(weight_decay=0.01, decay_biases=False)


def test_weights_of_the_same_network_with_other_classes_need_a_new_head(tmp_path):
    def spec(*classes):
        return NetworkSpec(name="tiny_seg", options={}, classes=classes, precision="float32")

    path, cats_first = tmp_path / "w.pt", spec("background", "cat", "dog")
    start = {"seed": 0, "initial": path}
    cats_first.save(path, cats_first.build(seed=1, initial=None, new_head=False))
    cats_first.build(**start, new_head=False)
    dogs_first = spec("background", "dog", "cat")
    dogs_first.build(**start, new_head=True)
    with pytest.raises(UserError, match=r"of the classes background, cat, dog.*set new_head"):
        dogs_first.build(**start, new_head=False)


def test_weights_of_affinities_fit_other_classes(tmp_path):
    """AffinityNet compares pairs of cells: none of its outputs belongs to a class."""
    spec = NetworkSpec(
        name="mobilenet_v2_affinity", options={}, classes=("a", "b"), precision="float32"
    )
    spec.save(tmp_path / "w.pt", spec.build(seed=1, initial=None, new_head=False))
    other = dataclasses.replace(spec, classes=("a", "c"))
    again = other.build(seed=0, initial=tmp_path / "w.pt", new_head=False).state_dict()
    saved = spec.build(seed=1, initial=None, new_head=False).state_dict()
    assert all(torch.equal(again[name], saved[name]) for name in saved)


def test_a_new_head_does_not_take_the_files_weights(tmp_path):
    torch.manual_seed(5)
    torch.save(build("tiny_seg", 3).state_dict(), tmp_path / "w.pth")
    spec = NetworkSpec(
        name="tiny_seg",
        options={},
        classes=["background", "cat", "dog"],
        precision="float32",
    )
    whole, new_head = (
        spec.build(seed=0, initial=tmp_path / "w.pth", new_head=new).state_dict()
        for new in (False, True)
    )
    same = {name for name in whole if torch.equal(whole[name], new_head[name])}
    assert {name for name in whole if name.startswith("features.")} <= same
    assert "head.classes.weight" not in same


@pytest.mark.parametrize(
    ("stage", "make_settings", "kind", "classes"),
    [
        (train_classifier, ClassifierSettings, "cls", ["cat", "dog"]),
        (train_group, GroupSettings, "group", ["cat", "dog"]),
        (train_round, RoundSettings, "seg", ["background", "cat", "dog"]),
    ],
)
def test_a_checkpoint_belongs_to_settings_code_and_inputs(
    project, monkeypatch, stage, make_settings, kind, classes
):
    """What a training goes on from was made from the same; and its samples have its seed."""
    found = []

    def record(model, objective, samples, *_, checkpoint, log, save, **__):
        found.append((checkpoint.digest, samples.seed))
        write_tsv(log, [])
        save(model)

    monkeypatch.setattr(f"{stage.__module__}.train_network", record)
    name, weights = f"tiny_{kind}", project.folder / "initial.pt"
    inputs = {"targets": project.folder / "targets.h5"} if kind == "seg" else {}
    of_round = {"supervise": "pseudo_labels"} if kind == "seg" else {}
    outputs = {"maps": project.folder / "maps.h5"} if kind == "group" else {}

    def digest(*, seed=0, **others):
        settings = make_settings(**{**SHORT, "network": name, "crop": 32}, **of_round, seed=seed)
        project(stage, settings, initial=weights, **inputs, **outputs, **others)
        assert found[-1][1] == seed
        return found[-1][0]

    def other_weights(seed):
        torch.manual_seed(seed)
        network = build(name, len(classes))
        save_network(weights, network, name, len(classes), {}, classes)

    def other_index():
        index = Index.load(project.folder / "index.json")
        dataclasses.replace(index, images=index.images[:2]).save(project.folder / "index.json")

    other_weights(0)
    digests = [digest(), digest(seed=1), digest(code="changed")]
    assert digest() == digests[0]
    other_weights(1)
    digests.append(digest())
    other_index()
    digests.append(digest())
    for path in inputs.values():
        with write_maps(path) as maps:
            for image_id in "ab":
                maps.put(image_id, np.zeros((40, 36), np.uint8))
        digests.append(digest())
    assert len(set(digests)) == len(digests)
