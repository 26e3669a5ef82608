"""The classifier's training from files, and what all training stages have in common."""

import pytest
import torch

from seedbed.runtime.errors import UserError
from seedbed.training import loop
from seedbed.training.log import EventLog
from stages.settings import ClassifierSettings
from stages.train_classifier import train_classifier
from tests.support.training_helpers import CROPPED

torch.set_num_threads(1)

SHORT_CUT = {**CROPPED, "network": "tiny_cls"}


def test_a_classifier_trains_on_cut_images(project):
    network, rows = project(train_classifier, ClassifierSettings(**SHORT_CUT))
    assert network(torch.zeros(1, 3, 33, 33)).shape == (1, 2) and float(rows[-1]["loss"]) < 5


def test_events_lie_beside_the_log(project, monkeypatch):
    asked = []

    def record(folder, rows, step):
        asked.append((folder, step))
        return EventLog(None, rows, step)

    monkeypatch.setattr(loop, "EventLog", record)
    project(train_classifier, ClassifierSettings(**SHORT_CUT))
    assert asked == [(project.folder / "tensorboard", 0)]


def test_out_of_memory_beside_the_batch_is_one_line(project, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd so on.")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(UserError, match=r"^GPU out of memory beside the batch.*larger GPU$"):
        project(train_classifier, ClassifierSettings(**SHORT_CUT))
