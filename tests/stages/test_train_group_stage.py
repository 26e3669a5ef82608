"""Group-wise mining from files: accumulated maps and partners."""

import numpy as np
import torch

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps
from seedbed.models import build
from seedbed.training.objectives.group import Accumulation
from stages import train_group as group_stage
from stages.settings import GroupSettings

torch.set_num_threads(1)

SHORT = {
    "network": "tiny_group",
    "learning_rate": 5e-3,
    "iterations": 4,
    "batch": 4,
    "crop": 32,
    "group_size": 2,
    "accumulate_from_epoch": 0,
    "accumulate_score": 0,
}


def test_maps_of_a_step_that_ran_out_of_memory_are_not_kept(project, monkeypatch, capsys):
    class Small(group_stage.GroupObjective):
        def __call__(self, model, batch, step):
            figures = super().__call__(model, batch, step)
            if len(batch.images) > 2 * 2:
                self.pending[0].maps.fill_(1e3)
                raise torch.OutOfMemoryError
            return figures

    def maps(name, settings):
        path = project.folder / f"{name}.h5"
        project(group_stage.train_group, GroupSettings(**settings), maps=path)
        kept = Maps(path)
        return {key: kept[key] for key in kept}

    wanted = maps("a", {**SHORT, "accumulation": 2})
    monkeypatch.setattr(group_stage, "GroupObjective", Small)
    found = maps("b", SHORT)
    assert "2 parts of 4 images" in capsys.readouterr().err
    assert wanted.keys() == found.keys() == set("abc")
    assert all(np.array_equal(wanted[key], found[key]) and found[key].any() for key in wanted)


def test_partners_are_drawn_as_the_settings_say(project, monkeypatch):
    asked = []

    class Recorded(group_stage.GroupIndex):
        def __init__(self, labels, draws=None):
            asked.append(draws)
            super().__init__(labels, draws)

    monkeypatch.setattr(group_stage, "GroupIndex", Recorded)
    brief = {**SHORT, "iterations": 1, "batch": 1, "partner_draws": 7}
    project(group_stage.train_group, GroupSettings(**brief), maps=project.folder / "maps.h5")
    assert asked == [7]


def test_the_objective_is_the_settings_one():
    """Of six images, in groups whose firsts are two a step: epochs begin at 0, 3 and 6."""
    entries = [ImageEntry(name, "", 40, 36, (1, 2), "train", True, "") for name in "abcdef"]
    chosen = {"accumulate_from_epoch": 1, "accumulate_score": 0.3, "before_weight": 0.6}
    chosen |= {"iterations": 9, "batch": 2, "group_size": 4}
    settings = GroupSettings(**{**SHORT, **chosen})
    objective = group_stage.make_objective(settings, entries, 3, build("tiny_group", 2))
    assert objective.accumulation == Accumulation(first_step=3, last_epoch_step=6, min_score=0.3)
    assert (objective.group_size, objective.before_weight) == (4, 0.6)
    assert objective.accumulator.min_score == 0.3
    assert objective.accumulator.maps(5, (1, 2)).shape == (2, 8, 8)
