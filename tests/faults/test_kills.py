"""Kill -9 of a stage, of Snakemake, or of both at once: the next run ends with the same bytes."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
import yaml

from seedbed.formats.maps import write_maps
from seedbed.runtime.atomic import MACHINE, atomic, atomic_folder
from tests.support.fault_helpers import (
    TELLING,
    WHAT,
    Kill,
    Run,
    after,
    artefacts,
    moment,
    running,
    survive,
    timeline,
)
from tests.support.workflow_helpers import PROJECT, ROOT, copy_project, finished_run

# Every iteration is kept, and takes long enough to be killed.
SLOWLY = (
    TELLING
    + """
CHECKPOINT_SECONDS = -1.0
_save = Checkpoint.save


def _save_slowly(self, *arguments):
    _save(self, *arguments)
    time.sleep(0.4)


Checkpoint.save = _save_slowly
"""
)
LAST_ROUND = (
    *("rounds/1/weights.pt", "rounds/1/log.tsv", "rounds/1/preview.png"),
    *("rounds/1/predictions/val", "rounds/1/masks/val"),
)
SECONDS = 30 + 15  # between checkpoints, and of a few iterations on a busy machine


def add_to_training(project: Path, text: str) -> Path:
    path = project / "seedbed/training/loop.py"
    path.write_text(path.read_text() + text)
    return project


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, tmp_path_factory):
    rng = random.Random(0)
    finished = finished_run(tmp_path_factory.getbasetemp())
    expected = artefacts(finished / "results")
    project = shutil.copytree(finished.parent, tmp_path / "killed") / PROJECT
    add_to_training(project, SLOWLY)
    for name in LAST_ROUND:
        remove(project / "results" / name)
    checkpoint = project / "results/rounds/1/weights.pt.checkpoint"

    def trained(run: Run) -> bool:
        return checkpoint.exists() and checkpoint.stat().st_mtime > run.begun

    def doing(name: str) -> Callable[[Run], bool]:
        return lambda run: any(stage.startswith(f"stages.{name} ") for stage in run.stages())

    kills = [
        Kill("group", after(rng.uniform(0, 0.5), trained)),
        Kill("snakemake", after(rng.uniform(0, 1), doing("predict"))),
        Kill("stage", after(rng.uniform(0, 1), doing("crf"))),
    ]
    only = ("results/rounds/1/masks/val/1-of-1.h5", "--cores", "2", "--rerun-triggers", "mtime")
    trainings = survive(
        project, kills, rng, *only, over=lambda: compare(artefacts(project / "results"), expected)
    )
    assert trainings.resumed == 1 and max(trainings.lost) < 10


def write_file(path: Path, text: str, kill: bool) -> None:
    with atomic(path / "file.txt") as temporary, temporary.open("w") as file:
        file.write(text[:2])
        file.flush()
        die(kill)
        file.write(text[2:])


def write_array(path: Path, text: str, kill: bool) -> None:
    with write_maps(path / "maps.h5", text=text) as maps:
        maps.put("one", np.zeros(3))
        die(kill)
        maps.put("two", np.zeros(3))


def write_folder(path: Path, text: str, kill: bool) -> None:
    with atomic_folder(path / "folder") as temporary:
        (temporary / "one").write_text(text)
        die(kill)
        (temporary / "two").write_text(text)


def die(kill: bool) -> None:
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("write", [write_file, write_array, write_folder])
def test_what_a_killed_process_has_half_written_is_not_taken_and_goes(write, tmp_path):
    texts, status, found = ["first", "second", "third"], [], []
    for text in texts:
        writer = get_context("fork").Process(target=write, args=(tmp_path, text, text == "second"))
        writer.start()
        writer.join()
        status.append(writer.exitcode)
        found.append(artefacts(tmp_path))
    assert status == [0, -signal.SIGKILL, 0]
    whole = {name: one for name, one in found[1].items() if not name.startswith(".")}
    assert whole == found[0] != found[1]
    assert found[2].keys() == found[0].keys() and found[2] != found[0]


def test_what_another_machine_may_be_writing_stays(tmp_path):
    other = "0" * 6 if MACHINE != "0" * 6 else "1" * 6
    for machine in (MACHINE, other):
        (tmp_path / f".maps.{machine}01234567.h5").touch()
    write_file(tmp_path, "first", kill=False)
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", f".maps.{other}01234567.h5"}


def write_slowly(path: Path, begun: Event, other: Event) -> None:
    with atomic(path) as temporary:
        temporary.write_text("first")
        begun.set()
        assert other.wait(60)


def test_what_a_living_process_has_half_written_stays(tmp_path):
    fork = get_context("fork")
    begun, other = fork.Event(), fork.Event()
    slow = fork.Process(target=write_slowly, args=(tmp_path / "slow.txt", begun, other))
    slow.start()
    assert begun.wait(60)
    quick = fork.Process(target=write_file, args=(tmp_path, "second", False))
    quick.start()
    quick.join()
    other.set()
    slow.join()
    assert (slow.exitcode, quick.exitcode) == (0, 0)
    assert artefacts(tmp_path).keys() == {"slow.txt", "file.txt"}


def compare(found: dict[str, str], expected: dict[str, str]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.soak
def test_the_default_run_survives_kills_at_random_moments(tmp_path):
    count = int(os.environ.get("SEEDBED_SOAK_KILLS", "20"))
    kill_at_random(tmp_path, yaml.safe_load((ROOT / "config.yaml").read_text()), count, seed=0)


def kill_at_random(folder: Path, config: dict, count: int, *, seed: int) -> None:
    still, project = (
        add_to_training(copy_project(folder / name, config), TELLING)
        for name in ("undisturbed", "killed")
    )
    with running(still, "--cores", "all") as run:
        stages = timeline(run)
        length = time.time() - run.begun
    expected = everything(still)
    rng = random.Random(seed)
    moments = sorted(rng.uniform(0, length) for _ in range(count))
    what = rng.sample([WHAT[k % len(WHAT)] for k in range(count)], count)
    kills = [Kill(w, moment(stages, m)) for w, m in zip(what, moments, strict=True)]
    finished = []

    def over() -> None:
        compare(everything(project), expected)
        finished.append(len(expected))
        for name in ("results", "data", ".snakemake"):
            remove(project / name)

    trainings = survive(project, kills, rng, "--cores", "all", over=over)
    kinds = ", ".join(f"{number} of {kind}" for kind, number in Counter(what).items())
    most = max(trainings.lost, default=0)
    print(
        f"\nkills tried {count} ({kinds}), runs finished {len(finished)}, artefacts compared "
        f"{sum(finished)}, differing 0, trainings resumed {trainings.resumed} of "
        f"{len(trainings.lost)} killed, at most {most:.0f} s lost, undisturbed {length:.0f} s, "
        f"seed {seed}"
    )
    assert most < SECONDS


def everything(project: Path) -> dict[str, str]:
    return {
        f"{name}/{path}": digest
        for name in ("data", "results")
        for path, digest in artefacts(project / name).items()
    }
