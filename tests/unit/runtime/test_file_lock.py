"""Locks on disks that have none, and where no lock file can be made."""

import errno
import fcntl
import os

import pytest
import torch

from seedbed.runtime import gpu_locks
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError, warn_once
from seedbed.runtime.fetching.download import alone
from seedbed.runtime.file_lock import try_lock
from seedbed.runtime.gpu_locks import lock_device, selection_lock
from seedbed.runtime.queue_lock import QueueLock
from seedbed.training.checkpoint import Checkpoint


@pytest.fixture(autouse=True)
def fresh():
    """Let each test see its warnings, and release what it has locked."""
    warn_once.cache_clear()
    yield
    gpu_locks._release_all()


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def disk_without_locks(request, monkeypatch):
    def flock(file: object, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("disk_without_locks")
def test_a_training_goes_on_without_locks_and_says_so_once(tmp_path, capsys):
    layer, target = torch.nn.Linear(2, 2), tmp_path / "weights.pt"
    checkpoint = Checkpoint(target, "digest")
    with pytest.raises(ZeroDivisionError), checkpoint.lock():
        checkpoint.save(3, {"model": layer})
        raise ZeroDivisionError
    with checkpoint.lock():
        assert checkpoint.restore({"model": layer}) == 3
    assert list(tmp_path.iterdir()) == []
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if ".lock" in line]
    assert warning.startswith(f"warning: {target}.lock: this disk has no file locks (")


@pytest.mark.usefixtures("disk_without_locks")
def test_gpus_and_files_are_used_without_locks(tmp_path, capsys):
    with selection_lock(tmp_path / "locks"):
        assert lock_device(["a", "b"], tmp_path / "locks") == 0
    assert "a.lock: this disk has no file locks" in capsys.readouterr().err
    with atomic(tmp_path / "file") as path:
        path.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.usefixtures("disk_without_locks")
def test_a_file_is_fetched_without_locks_and_this_is_said(tmp_path, capsys):
    with alone(tmp_path / "a.lock"):
        pass
    assert "a.lock: this disk has no file locks" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_gpu_is_used_where_no_lock_file_can_be_made(tmp_path, monkeypatch, capsys, number):
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with selection_lock(tmp_path):
        assert lock_device(["a"], tmp_path) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert warnings == [
        f"warning: {tmp_path}: no lock can be made there ({os.strerror(number)}); run one job on a"
        " GPU"
    ]


def test_another_error_of_the_lock_is_raised(tmp_path, monkeypatch):
    def flock(file: object, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"), QueueLock(tmp_path / "a.lock").hold():
        pass
    with pytest.raises(UserError, match=r"a\.lock: Input/output error"), alone(tmp_path / "a.lock"):
        pass


def test_a_held_lock_is_not_taken(tmp_path, capsys):
    path = tmp_path / "lock"
    with path.open("w") as one, path.open("w") as other:
        assert try_lock(one.fileno(), path, wait=False)
        assert not try_lock(other.fileno(), path, wait=False)
    assert capsys.readouterr().err == ""
