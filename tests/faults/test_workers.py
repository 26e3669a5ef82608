"""Processes that die at work: workers of a map, readers of a training, and the stage itself."""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_sharer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from seedbed.data.index import Index
from seedbed.formats.maps import write_maps
from seedbed.runtime import pools as device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from seedbed.training import loop, network
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.sampler import batch_requests
from seedbed.training.samples import Batch, Samples, loader
from stages import saliency, train_classifier
from stages.command import run_stage
from stages.convert import convert
from stages.mini_dataset import mini_dataset
from stages.settings import ClassifierSettings, ConvertSettings, MiniSettings, SaliencySettings
from tests.support.workflow_helpers import CONFIG, ROOT

torch.set_num_threads(1)
TRAINING = ClassifierSettings(
    iterations=6,
    batch=2,
    crop=64,
    network="tiny_cls",
    learning_rate=0.005,
    optimizer={"kind": "adamw"},
)


@dataclass(frozen=True)
class Entry:
    id: str


@pytest.fixture
def two_cpus(monkeypatch):
    monkeypatch.setattr(device, "available_cpus", lambda: 2)


def make_data(folder: Path) -> Path:
    """A synthetic data set of six train images with its index; gives the index."""
    root, index = folder / "mini-0", folder / "dataset/index.json"
    mini = MiniSettings(train=6, val=2, size=64).model_dump_json()
    run_stage(mini_dataset, ["--params", mini, "--root", str(root), "--seed", "0"])
    files = {"index": "index.json", "input-list": "l.txt", "masks": "m.h5", "summary": "s.tsv"}
    options = [text for name, file in files.items() for text in (f"--{name}", index.parent / file)]
    settings = ConvertSettings(**CONFIG["convert"]).model_dump_json()
    options += ["--mask-folder", index.parent / "m", "--params", settings, "--data", folder]
    run_stage(convert, list(map(str, options)))
    return index


@pytest.fixture(scope="session")
def index(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def in_child(work: Callable[..., None], *arguments: object) -> Ended:
    """What became of work in a process of its own: cheaper than another interpreter."""
    names = [os.memfd_create(name) for name in ("out", "err")]

    def run():
        for number, name in enumerate(names, 1):
            os.dup2(name, number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, closefd=False) for n in (1, 2))
        try:
            work(*arguments)
        except SystemExit as end:
            print(end.code, file=sys.stderr)
            os._exit(1)  # as a program does: without waiting for what it had still to do

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(120)
    assert child.exitcode is not None, "it hangs"
    texts = [os.pread(name, 1 << 20, 0).decode() for name in names]
    for name in names:
        os.close(name)
    return Ended(child.exitcode, *texts)


def the_line(ended: Ended) -> str:
    """The one line on stderr of a stage that ended with status 1."""
    assert ended.status == 1 and ended.err.count("\n") == 1, ended
    return ended.err.strip().partition("error: ")[2]


@pytest.mark.parametrize(
    ("death", "how", "remedy"),
    [
        (signal.SIGKILL, "was killed (SIGKILL)", "lower --cores or raise run.shards"),
        (signal.SIGSEGV, "was killed (SIGSEGV)", "correct that image"),
        (3, "ended with status 3", "run the same command again"),
    ],
)
def test_a_dead_worker_is_told_with_its_image(two_cpus, tmp_path, death, how, remedy):
    def work(entry):
        if entry.id == "2007_000005":
            time.sleep(0.05)  # the other worker is past its own by then
            if isinstance(death, signal.Signals):
                faulthandler.disable()  # pytest's
                os.kill(os.getpid(), death)
            os._exit(death)
        return np.zeros((2, 2), np.uint8)

    entries = [Entry(f"2007_{number:06}") for number in range(40)]
    with pytest.raises(UserError) as told, write_maps(tmp_path / "a.h5") as maps:
        for entry, found in zip(entries, ordered_map(work, entries, 2), strict=True):
            maps.put(entry.id, found)
    message = str(told.value)
    assert message.startswith(f"a worker process {how} at work on 2007_000005")
    assert remedy in message and "\n" not in message
    assert not any(tmp_path.iterdir())
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_worker_that_was_asked_to_end_is_told_too(two_cpus, request, handler):
    """Whatever the process that made it does at such a request."""
    before = signal.signal(signal.SIGTERM, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))

    def work(item):
        if item == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        time.sleep(0.1)
        return item

    with pytest.raises(UserError, match=r"was killed \(SIGTERM\) at work on .*1.*: run the same"):
        list(ordered_map(work, range(30), 2))


def test_a_worker_that_dies_between_two_items(two_cpus):
    def work(_):
        time.sleep(0.1)  # the other worker is not through before the death is noticed
        return os.getpid()

    results = ordered_map(work, range(30), 2)
    os.kill(next(results), signal.SIGKILL)
    with pytest.raises(UserError, match=r"a worker process was killed \(SIGKILL\)"):
        list(results)


# Workers that take a while and say who they are.
ENDLESS = """
import os, time
from seedbed.runtime import pools as device
device.available_cpus = lambda: 3

def work(item):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(0.2)

list(device.ordered_map(work, range(10_000), 3))
"""


def test_workers_end_with_the_process_that_was_killed(tmp_path):
    """Else a rule's `| tee` would wait for their output, and Snakemake for it, for ever."""
    stage = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert len({stage.stdout.readline() for _ in range(6)}) == 3
    stage.kill()
    begun = time.monotonic()
    stage.communicate(timeout=10)  # until no process has the other end open
    assert time.monotonic() - begun < 5


def saliency_maps(index: Path, output: Path, fatal: str = "") -> None:
    """The stage, whose workers end when they come to an image."""
    before, parent = saliency.computed_map, os.getpid()

    def computed_map(entry, **options):
        if entry.id == fatal and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(entry, **options)

    saliency.computed_map = computed_map
    device.available_cpus = lambda: 2
    settings = SaliencySettings(superpixels=50).model_dump_json()
    options = ["--index", index, "--data", index.parents[1], "--params", settings]
    options += ["--shard", "1-of-1", "--workers", "2", "--output", output]
    run_stage(saliency.saliency, list(map(str, options)))


def test_a_stage_whose_worker_dies_leaves_nothing_and_can_be_run_again(index, tmp_path):
    fatal = Index.load(index).split("train")[3].id
    ended = in_child(saliency_maps, index, tmp_path / "a.h5", fatal)
    assert f"was killed (SIGKILL) at work on {fatal}, as" in the_line(ended)
    assert not any(tmp_path.iterdir())
    for name in ("a.h5", "b.h5"):
        assert in_child(saliency_maps, index, tmp_path / name) == (0, "", "")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def train(index: Path, folder: Path, readers: int, fatal: int = -1) -> None:
    """A training that prints each step after its checkpoint; a reader dies at step `fatal`."""
    read, load, parent = Samples.__getitem__, network.loader, os.getpid()
    save = Checkpoint.save

    def read_or_die(self, request):
        if request.step == fatal and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, request)

    def save_and_print(self, step, parts):
        save(self, step, parts)
        print(step)

    Samples.__getitem__, Checkpoint.save = read_or_die, save_and_print
    network.loader = lambda *given, **options: load(*given, **{**options, "workers": readers})
    loop.CHECKPOINT_SECONDS = -1
    options = ["--index", index, "--data", index.parents[1], "--device", "cpu", "--threads", 1]
    options += ["--params", TRAINING.model_dump_json(), "--weights", folder / "weights.pt"]
    run_stage(train_classifier.train_classifier, list(map(str, [*options, "--log", folder / "l"])))


def test_a_training_whose_reader_dies_goes_on_from_its_checkpoint(index, tmp_path):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    ended = in_child(train, index, cut, 1, 4)
    line = the_line(ended)
    assert line.startswith("DataLoader worker") and "run the same command again" in line
    done = len(ended.out.split())
    assert {path.suffix for path in cut.iterdir()} <= {".checkpoint", ".lock"}
    resumed = in_child(train, index, cut, 1)
    assert resumed.status == 0 and resumed.err == ""
    steps = list(map(int, resumed.out.split()))
    assert steps == list(range(steps[0], 7))
    assert steps[0] - done in (1, 2)  # the last step may not have been printed
    assert in_child(train, index, whole, 0).status == 0
    for name in ("weights.pt", "l"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


class Readable:
    def __getitem__(self, request):
        zero = torch.zeros(1)
        return Batch(zero, zero, zero, zero, None)


@pytest.mark.parametrize("fault", [ConnectionResetError, ConnectionRefusedError, EOFError])
def test_a_reader_that_dies_while_sending_a_batch_is_reported_as_dead(monkeypatch, fault):
    """The handles of its tensors come through a socket, which may break before SIGCHLD comes."""

    def broken(_):
        raise fault

    monkeypatch.setattr(resource_sharer._resource_sharer, "get_connection", broken)
    with pytest.raises(RuntimeError, match=r"^DataLoader worker ended"):
        list(loader(Readable(), batch_requests(4, 2, 0, 2, seed=0), workers=1))


class Broken:
    def __getitem__(self, request):
        raise UserError(f"cannot read the image {request.index}: correct it")


@pytest.mark.parametrize("readers", [0, 1])
def test_an_error_of_a_reader_is_one_line(readers):
    with pytest.raises(UserError, match=r"^cannot read the image \d: correct it$"):
        list(loader(Broken(), batch_requests(4, 2, 0, 2, seed=0), workers=readers))
