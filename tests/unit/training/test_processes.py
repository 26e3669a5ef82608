"""Trainings in several processes: forked here over gloo, and once by torchrun."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.formats.tables import read_tsv
from seedbed.models.weights import load_network
from seedbed.runtime.errors import UserError
from seedbed.training import log, loop
from seedbed.training import network as network_module
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.loop import train
from seedbed.training.processes import (
    LOST_PEER,
    SINGLE_PROCESS,
    ProcessGroup,
    launched_process_group,
)
from stages import torchrun
from stages.settings import ClassifierSettings, GroupSettings
from stages.train_classifier import train_classifier
from stages.train_group import train_group
from tests.support.training_helpers import Collector, adamw, optimisation, sgd

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
STEPS = 12


def test_collectives(in_group):
    def communicate(group):
        tensors = [torch.full((2,), 3.0 + group.rank), torch.tensor(6.0 * group.rank)]
        group.average(tensors)
        group.barrier()
        gathered = group.gather([group.rank] * group.rank)
        asked = [group.any(group.rank == 2), group.any(False)]
        return [tensor.tolist() for tensor in tensors], gathered, asked, group.is_main

    expected = [[4.0, 4.0], 6.0], [1, 2, 2], [True, False]
    assert in_group(communicate, 3) == [(*expected, True), (*expected, False), (*expected, False)]


def test_all_tensors_of_a_dtype_are_averaged_by_one_exchange(in_group, monkeypatch):
    exchanged = []
    exchange = dist.all_reduce
    monkeypatch.setattr(
        dist, "all_reduce", lambda tensor, **_: (exchanged.append(tensor.dtype), exchange(tensor))
    )

    def communicate(group):
        grid = torch.arange(24.0).view(1, 2, 3, 4) * (1 + group.rank)
        grid = grid.contiguous(memory_format=torch.channels_last)
        number = torch.tensor(4.0 * group.rank, dtype=torch.double)
        group.average([grid, number, torch.zeros(0)])
        return grid.tolist(), float(number), list(map(str, exchanged)), grid.stride()

    grid = torch.arange(24.0).view(1, 2, 3, 4) * 1.5
    strides = grid.contiguous(memory_format=torch.channels_last).stride()
    expected = grid.tolist(), 2.0, ["torch.float32", "torch.float64"], strides
    assert in_group(communicate) == [expected, expected]


def test_a_single_process_exchanges_nothing():
    tensor = torch.tensor(0.1)
    SINGLE_PROCESS.average([tensor])
    SINGLE_PROCESS.barrier()
    assert (
        tensor == torch.tensor(0.1) and SINGLE_PROCESS.gather([1]) == [1] and SINGLE_PROCESS.is_main
    )
    assert SINGLE_PROCESS.any(True) and not SINGLE_PROCESS.any(False)
    with launched_process_group() as group:
        assert group == SINGLE_PROCESS


def test_shares_are_neighbours_and_together_the_batch():
    batches = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    shares = [list(ProcessGroup(rank, 3).shard(iter(batches))) for rank in range(3)]
    assert shares == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]
    assert list(SINGLE_PROCESS.shard(iter(batches))) == batches


# ------------------------------------------------------------------------------- the training


class Plain(nn.Module):
    """Frozen in one part, unused in another."""

    new_parts = ()

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1))
        self.body[1].bias.requires_grad = False
        self.unused = nn.Linear(2, 2)

    def forward(self, images):
        return self.body(images)[:, 0]


class Normed(Plain):
    """With the statistics of its own share."""

    def __init__(self):
        super().__init__()
        self.body.insert(1, nn.BatchNorm1d(12))


class Regression(Collector):
    """Squared error; collects positions, and fails where `fails` raises."""

    def __init__(self, fails=lambda step, batch: None):
        super().__init__()
        self.fails = fails
        self.shown = []

    def __call__(self, model, batch, step):
        self.fails(step, batch)
        self.shown.append(batch.index.tolist())
        self.pending += batch.index.tolist()
        error = model(batch.images) - batch.images.sum((1, 2, 3))
        return {"loss": error.square().mean(), "bias": error.mean()}


@pytest.fixture
def run(make_batch, tmp_path):
    """A training of twelve steps by one process of a group, with the state that it leaves."""

    def run(
        group,
        *,
        name="w",
        model=Plain,
        objective=Regression,
        spoilt=None,
        preview=None,
        events=None,
        **options,
    ):
        def batches(start):
            for step in range(start, STEPS):
                images = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(step))
                if step == spoilt:
                    images[-1] = float("nan")  # in the share of the last process
                (places,) = group.shard(iter([list(range(8))]))
                yield make_batch(images[places], index=places)

        torch.manual_seed(0)
        network, minimised = model(), objective()
        options = {"optimizer": adamw(weight_decay=0.01), **options}
        rows = train(
            network,
            minimised,
            batches,
            optimisation(
                STEPS, learning_rate=0.03, **{"optimizer": adamw(weight_decay=0.01), **options}
            ),
            device=CPU,
            checkpoint=Checkpoint(tmp_path / name, "d"),
            seed=5,
            threads=1,
            preview=preview,
            events=events,
            processes=group,
        )
        state = {key: value.tolist() for key, value in network.state_dict().items()}
        return {"rows": rows, "state": state, "kept": minimised.kept, "shown": minimised.shown}

    return run


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)


def close(one, other):
    assert one["rows"] == [pytest.approx(row, abs=1e-4) for row in other["rows"]]
    for key, value in one["state"].items():
        assert np.allclose(value, other["state"][key], atol=1e-4), key
    assert one["kept"] == other["kept"]


@pytest.mark.parametrize(
    ("size", "optimizer", "accumulation", "parts"),
    [(2, adamw(), 1, 1), (2, sgd(), 2, 1), (2, adamw(), 4, 2), (4, sgd(), 2, 1)],
)
def test_processes_learn_what_one_does(in_group, run, size, optimizer, accumulation, parts):
    options = {"optimizer": optimizer, "accumulation": accumulation}
    alone = run(SINGLE_PROCESS, name="alone", **options)
    first, *others = in_group(lambda group: run(group, **options), size)
    close(first, alone)
    assert first["kept"] == [list(range(8))] * STEPS
    for other in others:
        assert other["state"] == first["state"] and other["rows"] == first["rows"]
    count = 8 // size // parts
    cut = [list(range(k * count, (k + 1) * count)) for k in range(parts)]
    assert first["shown"] == cut * STEPS


class Drawing(Regression):
    """Records a random number of each call."""

    def __call__(self, model, batch, step):
        figures = super().__call__(model, batch, step)
        self.shown[-1] = float(torch.rand(()))
        return figures


def test_statistics_are_averaged_and_each_process_has_its_own_dropout(in_group, run):
    options = {"model": Normed, "objective": Drawing}
    alone = run(SINGLE_PROCESS, name="alone", **options)
    first, second = in_group(lambda group: run(group, **options))
    assert first["state"] == second["state"]
    mean = "body.1.running_mean"
    assert first["state"][mean] == pytest.approx(alone["state"][mean], abs=1e-6)
    assert first["state"]["body.1.num_batches_tracked"] == STEPS
    assert first["shown"] == alone["shown"]
    assert not set(first["shown"]) & set(second["shown"])


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2), (4, 2)])
def test_another_number_of_processes_resumes_a_training(in_group, run, often, before, after):
    def broken(group):
        def fails(step, batch):
            if step == 7 and group.rank == group.size - 1:
                raise UserError("killed")

        return run(group, objective=lambda: Regression(fails))

    def start(function, size):
        return in_group(function, size) if size > 1 else [function(SINGLE_PROCESS)]

    if before == 1:
        with pytest.raises(UserError, match="killed"):
            broken(SINGLE_PROCESS)
    else:
        ends = in_group(broken, before)
        assert ends[-1] == "UserError: killed" and all(isinstance(end, str) for end in ends)
    first, *_ = start(run, after)
    assert len(first["shown"]) == STEPS - 7
    undisturbed, *_ = start(lambda group: run(group, name="undisturbed"), before)
    if before == after:
        assert {**undisturbed, "shown": 0} == {**first, "shown": 0}
    close(first, undisturbed)


def test_out_of_memory_in_one_process_makes_the_parts_of_all_smaller(in_group, run, often):
    def full(group):
        def fails(step, batch):
            if group.rank == 1 and step == 5 and len(batch.images) > 2:
                raise torch.OutOfMemoryError

        return run(group, objective=lambda: Regression(fails))

    found, _ = in_group(full)
    close(found, run(SINGLE_PROCESS, name="alone"))
    assert found["shown"][5:9] == [[0, 1, 2, 3], [0, 1], [2, 3], [0, 1]]
    assert found["kept"] == [list(range(8))] * STEPS


def test_out_of_memory_for_one_image_ends_all(in_group, run):
    def full(group):
        def fails(step, batch):
            if group.rank == 1:
                raise torch.OutOfMemoryError

        return run(group, objective=lambda: Regression(fails))

    for end in in_group(full):
        assert end.startswith("UserError: GPU out of memory at iteration 1, though")


def test_a_loss_that_is_not_finite_in_one_share_ends_all(in_group, run, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "LOG_EVERY", 1)
    for end in in_group(lambda group: run(group, spoilt=6)):
        assert end.startswith("UserError: the loss is not finite at iteration 7; no checkpoint")


def test_only_the_main_process_writes_and_prints(in_group, run, often, monkeypatch, tmp_path):
    class Preview:
        def refresh(self, model):
            done.append("refresh")

        def write(self, model):
            done.append("write")

    def watched(group):
        run(group, preview=Preview(), events=tmp_path / "events")
        return sorted(set(done))

    done = []
    monkeypatch.setattr(Checkpoint, "save", lambda *_: done.append("save"))
    monkeypatch.setattr(loop, "progress", lambda items, **_: [done.append("say"), *items][1:])
    monkeypatch.setattr(loop, "EventLog", lambda path, *_: Events(done, path))
    assert in_group(watched) == [["events", "refresh", "save", "say", "write"], []]


class Events:
    """Records that events are wanted."""

    def __init__(self, done, path):
        done += ["events"] if path else []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def write(self, rows):
        return None


# ------------------------------------------------------------------------------- the stages


@pytest.fixture
def project(tmp_path):
    """An index of four images, and the options of a training on them."""
    rng = np.random.default_rng(0)
    entries = []
    for number, name in enumerate("abcd"):
        pixels = rng.integers(0, 256, (40, 36, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        labels = (1 + number % 2,)
        entries.append(ImageEntry(name, f"{name}.png", 40, 36, labels, "train", True, ""))
    classes = (ClassInfo("cat", 8), ClassInfo("dog", 12))
    Index(classes, tuple(entries), "annotations").save(tmp_path / "index.json")
    return {"index": tmp_path / "index.json", "data": tmp_path, "device": "cpu"}


TORCHRUN = [sys.executable, "-m", "stages.torchrun", "--standalone", "--nproc-per-node", "2"]
BRIEF = {
    "network": "tiny_cls",
    "iterations": 3,
    "batch": 4,
    "crop": 32,
    "learning_rate": 1e-4,
    "optimizer": {"kind": "adamw"},
}
HALVES = {"accumulation": 2}  # what one process needs to normalise over the shares of two


def test_torchrun_trains_what_one_process_does(project, tmp_path):
    settings = {**BRIEF, "options": {"dropout": 0.0}}
    options = [f"--{name}={value}" for name, value in project.items()]
    options += ["--params", json.dumps(settings), "--threads", "1"]
    options += ["--weights", str(tmp_path / "two.pt"), "--log", str(tmp_path / "two.tsv")]
    command = [*TORCHRUN, "-m", "--", "stages.train_classifier", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    files = {"weights": tmp_path / "one.pt", "log": tmp_path / "one.tsv"}
    chosen = ClassifierSettings(**settings, **HALVES)
    train_classifier(**project, **files, settings=chosen, threads=1, deterministic=1)
    rows = [read_tsv(tmp_path / f"{name}.tsv") for name in ("one", "two")]
    assert float(rows[1][-1]["loss"]) == pytest.approx(float(rows[0][-1]["loss"]), abs=1e-4)
    one, two = (load_network(tmp_path / f"{name}.pt")[0] for name in ("one", "two"))
    for first, second in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=0)
    left = {path.name for path in tmp_path.iterdir()}
    assert not any(name.endswith((".checkpoint", ".lock")) for name in left)


@pytest.mark.parametrize("missing", "ad")
def test_a_failing_process_ends_all_with_its_line(project, tmp_path, missing):
    (tmp_path / f"{missing}.png").unlink()
    options = [f"--{name}={value}" for name, value in project.items()]
    options += ["--params", json.dumps(BRIEF), "--threads", "1"]
    options += ["--weights", str(tmp_path / "w.pt"), "--log", str(tmp_path / "w.tsv")]
    command = [*TORCHRUN, "-m", "--", "stages.train_classifier", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    assert f"{missing}.png is missing: put it there" in ended.stderr


@pytest.mark.parametrize(
    ("exits", "line"),
    [
        ((1, LOST_PEER), ""),
        ((LOST_PEER, 1), ""),
        ((-signal.SIGTERM, 1), ""),
        ((LOST_PEER, -signal.SIGKILL), "one was killed (SIGKILL): "),
        ((-signal.SIGSEGV, -signal.SIGTERM), "one was killed (SIGSEGV): "),
        ((LOST_PEER, -signal.SIGTERM), "they lost each other: "),
    ],
)
def test_the_message_about_processes_that_died_silently(monkeypatch, exits, line):
    failures = {rank: ProcessFailure(rank, 0, code, "") for rank, code in enumerate(exits)}

    def failing():
        raise ChildFailedError("a stage", failures)

    monkeypatch.setattr(torchrun, "torchrun", failing)
    monkeypatch.setattr(torchrun.logging, "disable", lambda level: None)
    with pytest.raises(SystemExit) as end:
        torchrun.launch()
    assert line in end.value.code if line else end.value.code == 1


@pytest.mark.soak
def test_whichever_process_is_killed_the_next_run_goes_on(project, tmp_path):
    seed, kills = 0, 6
    rng = np.random.default_rng(seed)
    (tmp_path / "train.py").write_text(
        "from seedbed.training import loop as training\nfrom stages.command import run_stage\n"
        "from stages.train_classifier import train_classifier\n"
        "training.CHECKPOINT_SECONDS = -1\nrun_stage(train_classifier)\n"
    )
    options = [f"--{name}={value}" for name, value in project.items()]
    options += ["--params", json.dumps({**BRIEF, "iterations": 400}), "--threads", "1"]

    def start(name):
        files = ["--weights", str(tmp_path / f"{name}.pt"), "--log", str(tmp_path / f"{name}.tsv")]
        command = [*TORCHRUN, "--", str(tmp_path / "train.py"), *options, *files]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)

    assert start("calm").wait() == 0
    checkpoint = Checkpoint(tmp_path / "w.pt", "")
    steps = [0]
    while len(steps) <= kills:
        started = start("w")
        while step_of(checkpoint.path) < steps[-1] + 12:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.3))
        members = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        os.kill(int(rng.choice(members)), signal.SIGKILL)
        _, errors = started.communicate()
        assert started.returncode == 1 and errors.endswith(b"from the last checkpoint\n")
        assert errors.count(b"\n") == 1 and b"one was killed (SIGKILL)" in errors
        steps.append(step_of(checkpoint.path))
    assert start("w").wait() == 0
    for suffix in ("pt", "tsv"):
        assert (tmp_path / f"w.{suffix}").read_bytes() == (tmp_path / f"calm.{suffix}").read_bytes()
    print(f"kills of one of two processes {kills}, at iterations {steps[1:]}, differing 0, {seed=}")


def step_of(checkpoint):
    """The iteration that a checkpoint holds, 0 if there is none."""
    if not checkpoint.exists():
        return 0
    return torch.load(io.BytesIO(checkpoint.read_bytes()), weights_only=True)["step"]


@contextmanager
def as_launched(group):
    yield group


def test_maps_of_all_processes_are_accumulated(project, tmp_path, in_group, monkeypatch):
    # Each process has its own dropout.
    monkeypatch.setattr("seedbed.models.heads.group.graph_dropout", lambda states: states)
    early = {"group_size": 2, "accumulate_from_epoch": 0, "accumulate_score": 0}

    def mine(group, name, **options):
        monkeypatch.setattr(network_module, "launched_process_group", lambda: as_launched(group))
        files = {key: tmp_path / f"{name}-{key}" for key in ("weights", "log", "maps")}
        chosen = GroupSettings(**{**BRIEF, "network": "tiny_group"}, **early, **options)
        train_group(**project, **files, settings=chosen, threads=1, deterministic=1)

    mine(SINGLE_PROCESS, "one", **HALVES)
    in_group(lambda group: mine(group, f"two{group.rank}"))
    one, two = (Maps(tmp_path / f"{name}-maps") for name in ("one", "two0"))
    assert one.keys() == two.keys() == set("abcd")
    for key in one:
        assert one[key].any() and np.abs(one[key].astype(int) - two[key]).max() <= 1
    assert {path.name for path in tmp_path.glob("two*")} == {
        "two0-weights",
        "two0-log",
        "two0-maps",
    }


def test_the_processes_must_divide_the_batch(project, tmp_path, monkeypatch):
    monkeypatch.setattr(
        network_module, "launched_process_group", lambda: as_launched(ProcessGroup(1, 3))
    )
    files = {"weights": tmp_path / "w.pt", "log": tmp_path / "l.tsv"}
    given = {"settings": ClassifierSettings(**BRIEF), "threads": 1, "deterministic": 1}
    with pytest.raises(UserError, match=r"training_processes: 3 must divide the batch of 4: "):
        train_classifier(**project, **files, **given)
