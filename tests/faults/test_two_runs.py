"""Two runs of Snakemake at once on one folder, and a run that was killed and left its lock."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.test_disk_full import artefacts, run_snakemake
from tests.support.workflow_helpers import finished_run

TARGET = "results/masks.h5"
LOG = "results/logs/masks.log"


@pytest.fixture
def project(tmp_path, tmp_path_factory) -> Path:
    """A project whose last masks are to be made."""
    finished = finished_run(tmp_path_factory.getbasetemp())
    project = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    (project / TARGET).unlink()
    (project / LOG).unlink()
    return project


@pytest.fixture
def expected(tmp_path_factory) -> dict[str, bytes]:
    return artefacts(finished_run(tmp_path_factory.getbasetemp()))


@pytest.fixture
def first(project) -> Iterator[subprocess.Popen]:
    """A run that has begun its job and is held there."""
    call = [sys.executable, "-m", "snakemake", "--nocolor", "--cores", "1", TARGET]
    with (project / "first.txt").open("w") as messages:
        run = subprocess.Popen(
            call, cwd=project, stdout=messages, stderr=messages, start_new_session=True
        )
    while not (project / LOG).exists():
        assert run.poll() is None, (project / "first.txt").read_text()
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGSTOP)
    yield run
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def test_the_second_run_is_told_and_the_first_unharmed(project, expected, first):
    status, messages = run_snakemake(project, "--cores", "1", TARGET)
    assert status == 1 and "LockException" in messages
    assert "--unlock" in messages  # what to do if no other is running
    os.killpg(first.pid, signal.SIGCONT)
    assert first.wait(300) == 0, (project / "first.txt").read_text()
    assert artefacts(project) == expected
    assert not list(project.glob(".snakemake/locks/*"))


@pytest.mark.soak
def test_a_run_after_one_that_was_killed(project, expected, first):
    first.kill()
    first.wait()
    os.killpg(first.pid, signal.SIGCONT)  # its job goes on without it
    status, messages = run_snakemake(project, "--cores", "1", TARGET)
    assert status == 1 and "LockException" in messages
    assert run_snakemake(project, "--unlock")[0] == 0
    status, messages = run_snakemake(project, "--cores", "1", TARGET)
    assert status == 0, messages
    assert artefacts(project) == expected
