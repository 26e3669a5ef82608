"""Checkpoints: which are used, and the lock that keeps one process at a time on a training."""

import multiprocessing
import time

import pytest
import torch

from seedbed.runtime.errors import UserError
from seedbed.training.checkpoint import Checkpoint
from tests.support.training_helpers import run_toy, same_training, sgd

torch.set_num_threads(1)


def test_a_checkpoint_of_another_digest_is_ignored(batches_until, tmp_path, checkpoint_every_step):
    expected = run_toy(batches_until(), tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run_toy(batches_until(stop=9), tmp_path / "b", digest="other", optimizer=sgd())
    assert Checkpoint(tmp_path / "b", "d").load() is None
    assert same_training(run_toy(batches_until(), tmp_path / "b"), expected)


def test_a_damaged_checkpoint_is_ignored(batches_until, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "w", "d")
    assert checkpoint.load() is None
    checkpoint.save(3, {})
    assert checkpoint.load() == {"digest": "d", "step": 3}
    whole = checkpoint.path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        checkpoint.path.write_bytes(damaged)
        assert checkpoint.load() is None
    torch.save([1, 2], checkpoint.path)
    assert checkpoint.load() is None


def _lock(path, begin, answers):
    assert begin.wait(60)
    with Checkpoint(path, "other").lock():
        answers.put("locked")
        answers.put("released")


def test_the_lock_admits_one_process_at_a_time(tmp_path):
    path, fork = tmp_path / "new" / "w", multiprocessing.get_context("fork")
    begin, answers = fork.Event(), fork.SimpleQueue()
    others = [fork.Process(target=_lock, args=(path, begin, answers)) for _ in range(3)]
    for other in others:
        other.start()
    with Checkpoint(path, "d").lock():
        begin.set()
        others[0].join(0.5)
        assert answers.empty() and all(other.is_alive() for other in others)
    for other in others:
        other.join()
    assert [answers.get() for _ in range(6)] == ["locked", "released"] * 3  # one after the other
    assert not list(path.parent.iterdir())


def test_the_checkpoint_is_removed_when_the_training_succeeds(tmp_path):
    checkpoint = Checkpoint(tmp_path / "w", "d")
    with pytest.raises(UserError), checkpoint.lock():
        checkpoint.save(1, {})
        raise UserError("a reason")
    assert {path.name for path in tmp_path.iterdir()} == {"w.checkpoint"}
    with checkpoint.lock():
        assert checkpoint.restore({}) == 1
    assert not list(tmp_path.iterdir())


def _restore_when_free(path, begin, steps):
    assert begin.wait(60)
    checkpoint = Checkpoint(path, "d")
    with checkpoint.lock():
        steps.put(checkpoint.restore({}))
        checkpoint.save(9, {})


def test_the_checkpoint_stays_for_a_process_that_waits(tmp_path, capfd):
    """So that it does not start again when the process of a killed run has finished."""
    path, fork = tmp_path / "w", multiprocessing.get_context("fork")
    begin, steps = fork.Event(), fork.SimpleQueue()
    others = [fork.Process(target=_restore_when_free, args=(path, begin, steps)) for _ in range(2)]
    for other in others:
        other.start()
    output, deadline = "", time.monotonic() + 60
    with Checkpoint(path, "d").lock():
        begin.set()
        while output.count("waits for another process") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            output += capfd.readouterr().out
        time.sleep(0.3)  # the message comes before the lock of the queue
        Checkpoint(path, "d").save(5, {})
    for other in others:
        other.join()
    assert sorted(steps.get() for _ in others) == [5, 9]
    assert not list(tmp_path.iterdir())
