"""Locks of imaginary GPUs, held by real processes that are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedbed.runtime import gpu_locks
from seedbed.runtime.errors import UserError
from seedbed.runtime.gpu_locks import lock_device, selection_lock

ROOT = Path(__file__).parents[3]
JOB = """
import os, sys, time
from pathlib import Path
from seedbed.runtime import gpu_locks
gpu_locks.POLL_SECONDS = 0.02
folder, *devices = sys.argv[1:]
"""
TAKE = "print(gpu_locks.lock_device(devices, Path(folder)), flush=True)\n"
STAY = "time.sleep(60)\n"


@pytest.fixture
def job(tmp_path):
    """Starts a process that runs some lines with a folder of locks and some devices."""
    started = []

    def start(code, *devices):
        command = [sys.executable, "-c", JOB + code, str(tmp_path / "locks"), *devices]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Release after each test what this process has locked."""
    monkeypatch.setattr(gpu_locks, "POLL_SECONDS", 0.02)
    yield
    gpu_locks._release_all()


def test_jobs_lock_free_devices(job, tmp_path, capsys):
    first, second = job(TAKE + STAY, "GPU-a", "GPU-b"), None
    assert first.stdout.readline() == "0\n"
    second = job(TAKE + STAY, "GPU-a", "GPU-b")
    assert second.stdout.readline() == "1\n"
    # The name counts, not the position, which depends on CUDA_VISIBLE_DEVICES.
    assert lock_device(["GPU-b", "GPU-c", "GPU-a"], tmp_path / "locks") == 1
    assert capsys.readouterr().err == ""


def test_one_process_locks_a_device_once(tmp_path):
    files = len(list(Path("/proc/self/fd").iterdir()))
    assert [lock_device(["a", "b", "c"], tmp_path) for _ in range(3)] == [0, 1, 2]
    assert len(list(Path("/proc/self/fd").iterdir())) == files + 3


def test_a_job_waits_until_the_holder_is_killed_and_says_so_once(job):
    holder = job(TAKE + STAY, "GPU-a")
    assert holder.stdout.readline() == "0\n"
    waiting = job(TAKE, "GPU-a")
    assert waiting.stderr.readline() == "the GPU is in use by other jobs: waiting\n"
    time.sleep(0.1)
    assert waiting.poll() is None
    holder.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=10) == ("0\n", "")


def test_the_message_says_how_many_are_in_use(job):
    for number in "01":
        assert job(TAKE + STAY, "a", "b").stdout.readline() == f"{number}\n"
    waiting = job(TAKE, "a", "b")
    assert waiting.stderr.readline() == "all 2 GPUs are in use by other jobs: waiting\n"


def test_the_orphan_of_a_killed_job_holds_nothing(job, tmp_path, capsys):
    # The child prints, because on a busy machine it may not run before its parent dies.
    forks = "if os.fork() == 0: print(os.getpid(), flush=True); time.sleep(60)\n"
    holder = job(TAKE + forks + STAY, "a")
    assert holder.stdout.readline() == "0\n"
    orphan = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    try:
        os.kill(orphan, 0)  # it lives
        assert lock_device(["a"], tmp_path / "locks") == 0
        assert capsys.readouterr().err == ""
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_jobs_that_lock_several_do_not_deadlock(job):
    slow = "gpu_locks.lock_device(devices, Path(folder)); time.sleep(0.2)\n    "
    both = "with gpu_locks.selection_lock(Path(folder)):\n    " + 2 * slow + "print('both')\n"
    jobs = [job(both, "a", "b") for _ in range(3)]
    for one in jobs:
        out, _ = one.communicate(timeout=20)
        assert out == "both\n"


def test_one_job_at_a_time_chooses_devices(job, tmp_path):
    with selection_lock(tmp_path / "locks"):
        waiting = job(f"with gpu_locks.selection_lock(Path(folder)): {TAKE}", "a")
        assert waiting.stderr.readline() == "other jobs wait for a GPU too: waiting\n"
        assert waiting.poll() is None
    assert waiting.communicate(timeout=10)[0] == "0\n"


def test_the_folder_must_be_ours(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"link: not a folder of this user"):
        lock_device(["a"], tmp_path / "link")
    lock_device(["a"], tmp_path / "locks")
    assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with pytest.raises(UserError, match=r"locks: not a folder of this user"):
        lock_device(["b"], tmp_path / "locks")


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    (tmp_path / "a.lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        lock_device(["a"], tmp_path)
    assert not target.exists()
