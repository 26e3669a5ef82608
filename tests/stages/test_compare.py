import re
import runpy
import sys

import pytest

from seedbed.formats.tables import read_tsv
from seedbed.runtime.errors import UserError
from stages.compare import compare
from tests.support.report_helpers import CLASSES, tables
from tests.support.workflow_helpers import ROOT


def write_other(folder):
    """Write a run with another class and another step, without benchmarks."""
    folder.mkdir(parents=True)
    figures = (
        '{"miou": 0.75, "split": "train", "images": 9, "variant": "psa", "iou": {"cat": null}}'
    )
    (folder / "metrics.json").write_text(figures)
    (folder / "quality.tsv").write_text(
        "list\tround\tstep\timages\tmiou\tiou cat\n"
        "train\t\tseeds\t9\t0.125\t0.5\ntrain\t0\tpredictions\t9\t0.375\t\n"
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables(tmp_path / "results")
    write_other(tmp_path / "results/<other> run")
    (tmp_path / "results/cam").mkdir()
    return tmp_path


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["compare", *arguments])
    runpy.run_path(str(ROOT / "stages/compare.py"), run_name="__main__")


def test_a_row_for_each_run_with_the_columns_of_all(project, monkeypatch):
    folders = sorted(map(str, (project / "results").iterdir()))
    call(
        monkeypatch,
        "results",
        "results/../results",
        *[path[len(str(project)) + 1 :] for path in folders],
    )
    first, other = read_tsv(project / "results/compare.tsv")
    assert (first["run"], other["run"]) == ("results", "results/<other> run")
    assert [*first] == [
        *("run", "split", "images", "variant", "miou", "seconds", "max_rss"),
        *("iou background", f"iou {CLASSES[0]}", f"iou {CLASSES[1]}", "iou cat"),
        *("train: cam", "train: round 0: predictions", "train: round 1: targets", "train: seeds"),
        "val: round 0: predictions",
    ]
    assert (first["miou"], first["seconds"], first["max_rss"]) == ("0.5", "93.5", "700")
    assert first["iou cat"] == first["train: seeds"] == ""
    assert (other["miou"], other["images"], other["variant"]) == ("0.75", "9", "psa")
    assert (other["seconds"], other["max_rss"], other["iou cat"]) == ("", "", "")
    assert (other["train: seeds"], other["train: round 0: predictions"]) == ("0.125", "0.375")


def test_the_page_shows_all_runs_and_escapes_their_names(project, monkeypatch):
    call(monkeypatch, "results", "results/<other> run", "--page", "p.html", "--table", "t.tsv")
    page = (project / "p.html").read_text()
    assert "results/&lt;other&gt; run" in page and "<other>" not in page and "<script" not in page
    assert re.findall(r'<td class="number">([^<]*)</td>', page) == [
        *("0.500", "0:01:34", "700"),
        *("0.750", "–", "–"),
    ]
    seeds = page[page.index('<th scope="row">seeds') :]
    assert re.findall(r">([\d.–]+)</td>", seeds)[:2] == ["–", "0.125"]
    assert (project / "t.tsv").exists() and not (project / "results/compare.tsv").exists()


def test_unfinished_runs_are_compared_by_the_files_they_have(project):
    (project / "results/<other> run/metrics.json").unlink()
    compare(runs=[project / "results/<other> run"])
    (row,) = read_tsv(project / "results/compare.tsv")
    assert row["miou"] == "" and row["train: seeds"] == "0.125"
    assert "No run has scored" not in (project / "results/compare.html").read_text()


def test_folders_without_a_run_are_refused(project):
    with pytest.raises(UserError, match="name folders of finished runs"):
        compare(runs=[project / "results/cam", project / "nowhere"])
