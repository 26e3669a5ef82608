"""`python -m benchmarks.gpu`: a row that fails costs itself alone; rows without a GPU."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import reference, table
from benchmarks.gpu.rows import Outcome, Row, Setup
from benchmarks.gpu.worker import compute
from seedbed.crf.backends import seedbed_lattice
from tests.support.workflow_helpers import ROOT

REHEARSAL = Setup(torch.device("cpu"), small=True, precision="bfloat16")
WORKER = """
import json, os, sys, time
for name in sys.argv[1:]:
    print(json.dumps({"begun": name}), flush=True)
    if name == "ends":
        os._exit(3)
    if name == "hangs":
        time.sleep(60)
    print(json.dumps({"row": name, "text": "fine", "ok": True, "seconds": 0.1}), flush=True)
"""


def row(name, work=None, limit=30.0):
    return Row(name, "equal", work, limit)


def run(rows, worker=WORKER, seconds=30):
    saved = []
    run = gpu.Run(
        rows, [sys.executable, "-c", worker], seconds, lambda found: saved.append(len(found))
    )
    run.all()
    return run, saved


def test_a_row_that_ends_its_process_or_hangs_costs_itself_alone(capsys):
    rows = [row("a"), row("ends"), row("b"), row("hangs", limit=0.3), row("c")]
    finished, saved = run(rows)
    texts = {name: found["text"] for name, found in finished.found.items()}
    fine = dict.fromkeys("abc", "fine")
    assert {name: texts[name] for name in fine} == fine
    assert texts["ends"] == "its process ended with status 3"
    assert texts["hangs"] == "given up after 0 s"
    assert saved == [1, 2, 3, 4, 5]
    assert [line.split(" | ")[3] for line in capsys.readouterr().out.splitlines()] == [
        "yes",
        "failed",
        "yes",
        "failed",
        "yes",
    ]
    assert table.shortfalls(rows, finished.found) == [
        "- ends: its process ended with status 3 (goal: equal)",
        "- hangs: given up after 0 s (goal: equal)",
    ]


def test_a_worker_that_cannot_start_loses_rows_and_ends():
    finished, _ = run([row("a"), row("b")], worker="raise SystemExit(2)")
    assert [found["ok"] for found in finished.found.values()] == [False, False]


def test_the_time_of_all_rows_is_bounded():
    began = time.monotonic()
    rows = [row("hangs"), row("a")]
    finished, _ = run(rows, seconds=0.5)
    assert time.monotonic() - began < 10
    assert [each.name for each in finished.left] == ["a"]
    assert "not run" in table.line(rows[1], None)
    assert table.shortfalls(rows, finished.found)[1] == "- a: not run"


def test_an_exception_is_a_failed_row():
    def work(setup):
        raise ValueError("no\nkernel")

    found = compute(row("a", work), REHEARSAL)
    assert found["failed"] and found["text"].startswith("ValueError: no kernel (")
    assert "test_gpu.py:" in found["text"] and "Traceback" in found["values"]["traceback"]
    found = compute(row("a", lambda setup: Outcome("3 ms", ok=False)), REHEARSAL)
    assert not found.get("failed") and "| no |" in table.line(row("a"), found)
    json.dumps(found)


def test_a_topic_that_cannot_be_imported_is_a_failed_row(monkeypatch):
    def missing(name):
        raise ImportError("no module h5py")

    monkeypatch.setattr(table, "import_module", missing)
    (only,) = table.rows_of(["step"])
    assert only.name == "step: all rows"
    assert compute(only, REHEARSAL)["text"].startswith("ImportError: no module h5py")


def test_names_are_unique():
    names = [each.name for each in table.rows_of()]
    assert len(set(names)) == len(names) > 40


QUICK = [r for r in table.rows_of(["equality", "step"]) if "images" not in r.name]


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.name)
def test_rehearsal(row):
    assert row.work(REHEARSAL).ok is not False


@pytest.mark.soak
def test_rehearsal_of_all_rows(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--out", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, timeout=480)
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert set(rows) == {each.name for each in table.rows_of()}


@pytest.mark.skipif(seedbed_lattice is None, reason="module not built")
def test_stored_labels_are_those_of_the_native_crf():
    assert reference.PATH.stat().st_size < 1e6
    case, labels = reference.load("grids")
    assert (reference.native_labels(case) == labels).mean() > 0.9999
    assert len(np.unique(labels)) == reference.LABELS


def test_other_inputs_than_the_stored_ones_are_noticed(monkeypatch):
    case = reference.grids()
    case.images[0, 0, 0, 0] ^= 1
    monkeypatch.setitem(reference.CASES, "grids", lambda: case)
    with pytest.raises(RuntimeError, match=r"differ from those of reference\.npz"):
        reference.load("grids")
