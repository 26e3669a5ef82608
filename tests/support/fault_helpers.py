"""Runs that are killed and started again, and what two runs must have in common."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from tests.support.workflow_helpers import snakemake

WHAT = ("stage", "snakemake", "group")
PAUSE = 0.1
PATIENCE = 180  # seconds
ASIDE = {"logs", "benchmarks", "tensorboard", ".snakemake_timestamp", "provenance.json"}
TIME_AND_NAME = re.compile(
    rb"<table>\s*<caption>Time and memory</caption>.*?</table>|<title>.*?</title>|<h1>.*?</h1>"
    rb"|<details><summary>pathvars</summary>.*?</details>",
    re.DOTALL,
)

# Goes below seedbed/training/loop.py of a project: where each training went on, and when.
TELLING = """

_restore = Checkpoint.restore


def _restore_and_tell(self, *arguments):
    step = _restore(self, *arguments)
    with open("restored.tsv", "a") as file:
        file.write(f"{self.path}\\t{step}\\t{time.time()}\\n")
    return step


Checkpoint.restore = _restore_and_tell
"""


def short(stage: str) -> str:
    """A stage's module and what it writes."""
    written = re.findall(r"--(?:output|weights) (\S+)", stage)
    return " ".join([stage.split()[0], *written])


def artefacts(folder: Path) -> dict[str, str]:
    """Digests of all files under a folder by name, but of what tells the time; "" of folders."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")))
    return {str(name): digest(folder / name) for name in names if not ASIDE & {*name.parts}}


def digest(path: Path) -> str:
    return "" if path.is_dir() else hashlib.sha256(content(path)).hexdigest()


def content(path: Path) -> bytes:
    """A file's bytes; the page's without the times of the jobs and the name of the folder."""
    found = path.read_bytes()
    return TIME_AND_NAME.sub(b"", found) if path.name == "report.html" else found


class Run:
    """A `snakemake` in a session of its own; its messages go to a file."""

    def __init__(self, project: Path, *arguments: str) -> None:
        self.messages = project.parent / "killed.txt"
        call = [sys.executable, "-m", "snakemake", "--nocolor", "--rerun-incomplete", *arguments]
        with self.messages.open("w") as stream:
            self.process = subprocess.Popen(
                call, cwd=project, stdout=stream, stderr=stream, start_new_session=True
            )
        self.begun = time.time()

    def lives(self) -> bool:
        return self.process.poll() is None

    def stages(self) -> dict[str, psutil.Process]:
        """The stages that run, without their workers, by module and options."""
        found: dict[str, psutil.Process] = {}
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    _, *options = process.cmdline() or [""]
                    if options[:1] == ["-m"] and options[1].startswith("stages."):
                        found.setdefault(" ".join(options[1:]), process)  # parents come first
        return found

    def end(self) -> None:
        """Wait until it has made everything."""
        assert self.process.wait() == 0, self.messages.read_text()[-4000:]

    def members(self) -> list[psutil.Process]:
        """What still runs of its session: itself, its jobs, or orphans of theirs."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                ours = os.getsid(process.pid) == self.process.pid
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@contextmanager
def running(project: Path, *arguments: str) -> Iterator[Run]:
    """A run of which nothing is left should the test fail."""
    run = Run(project, *arguments)
    try:
        yield run
    except BaseException:
        for process in run.members():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise


Moment = Callable[[Run], bool]


@dataclass(frozen=True)
class Kill:
    """What is killed, and when: the first time that `due` says so of a run."""

    what: str
    due: Moment


class Trainings:
    """Where trainings were when they were killed, and where they went on."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.told = project / "restored.tsv"
        self.awaited: dict[str, tuple[int, float]] = {}
        self.resumed = 0
        self.lost: list[float] = []

    def killed(self, stages: Sequence[str], begun: float, ended: float) -> None:
        """Those among the `stages` of a run that lasted from `begun` to `ended` were killed."""
        self.look()
        for stage in stages:
            if not stage.startswith("stages.train_"):
                continue
            path = re.search(r"--weights (\S+)", stage)[1] + ".checkpoint"
            restored = [at for _, at in self.restored(path, begun)]
            if not restored:  # it had not yet begun to train
                continue
            checkpoint = self.project / path
            kept = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
            self.lost.append(ended - max(restored[-1], kept))
            if kept:
                self.awaited[path] = torch.load(checkpoint)["step"], ended

    def look(self) -> None:
        """Each that has begun again went on from its checkpoint."""
        for path, (step, ended) in list(self.awaited.items()):
            if restored := self.restored(path, ended):
                assert restored[0][0] == step > 0, f"{path}: {step} kept, {restored[0][0]} taken up"
                self.resumed += 1
                del self.awaited[path]

    def restored(self, path: str, since: float) -> list[tuple[int, float]]:
        """The steps that a training began with, and when."""
        lines = self.told.read_text().splitlines() if self.told.exists() else []
        rows = [line.split("\t") for line in lines]
        return [
            (int(step), float(at)) for one, step, at in rows if one == path and float(at) > since
        ]


def timeline(run: Run) -> list[tuple[str, float]]:
    """The stages of an undisturbed run, which this waits for, and the seconds when each began."""
    begun: dict[str, float] = {}
    while run.lives():
        for stage in run.stages():
            begun.setdefault(stage, time.time() - run.begun)
        time.sleep(PAUSE)
    run.end()
    return list(begun.items())


def after(seconds: float, event: Callable[[Run], object]) -> Moment:
    """So long after the event is first seen in a run."""
    seen: dict[Run, float] = {}

    def due(run: Run) -> bool:
        if run not in seen and event(run):
            seen[run] = time.time()
        return run in seen and time.time() - seen[run] >= seconds

    return due


def moment(stages: Sequence[tuple[str, float]], seconds: float) -> Moment:
    """That of an undisturbed run's `seconds`, in the progress of another.

    It counts the time since the stage that had begun last, or since one after it if that one is
    already done; before the first stage, since the beginning.
    """
    before = [begun for _, begun in stages if begun <= seconds]
    if not before:
        return after(seconds, Run.lives)
    awaited = {stage for stage, _ in stages[len(before) - 1 :]}
    return after(seconds - before[-1], lambda run: awaited & run.stages().keys())


def survive(
    project: Path,
    kills: Sequence[Kill],
    rng: random.Random,
    *arguments: str,
    over: Callable[[], None],
) -> Trainings:
    """Make the targets through all the kills, after each of them as README says.

    `over` looks at what a finished run has left; should kills remain, it makes room for another.
    """
    trainings, waiting, runs = Trainings(project), list(kills), []
    while True:
        with running(project, *arguments) as run:
            runs.append(run)
            while waiting and run.lives() and not waiting[0].due(run):
                time.sleep(PAUSE)
            if waiting and run.lives() and strike(run, waiting[0].what, rng, trainings):
                if waiting.pop(0).what != "stage":
                    status, messages = snakemake(project, "--unlock")
                    assert status == 0, messages
                continue
            run.end()
        orphaned = time.time()
        while any(earlier.members() for earlier in runs):
            assert time.time() - orphaned < PATIENCE, "orphans outlive the run that came after"
            time.sleep(PAUSE)
        trainings.look()
        over()
        if not waiting:
            return trainings


def strike(run: Run, what: str, rng: random.Random, trainings: Trainings) -> bool:
    """Kill, and wait until Snakemake has ended; False if the run was over before."""
    while not (stages := run.stages()) and what == "stage":
        if not run.lives():
            return False
        time.sleep(PAUSE)
    if what == "stage":
        name, victim = rng.choice(list(stages.items()))
        killed = [name]
        with suppress(psutil.NoSuchProcess):
            victim.kill()  # its workers end by themselves
    elif what == "group":
        killed = list(stages)
        os.killpg(run.process.pid, signal.SIGKILL)
    else:
        killed = []  # the stages go on as orphans
        run.process.kill()
    ended = time.time()
    give_up(run)
    if run.process.returncode == 0:
        return False
    doing = ", ".join(map(short, stages)) or "no stage"
    print(f"after {ended - run.begun:.0f} s: {what} killed in {doing}", flush=True)
    trainings.killed(killed, run.begun, ended)
    return True


def give_up(run: Run) -> None:
    """Wait until Snakemake has ended, which no dead stage may keep it from."""
    busy = time.time()
    while run.lives():
        if run.stages():
            busy = time.time()
        assert time.time() - busy < PATIENCE, "Snakemake waits for a stage that is dead"
        time.sleep(PAUSE)
