import json
import re
import runpy
import sys

import pytest

from seedbed.formats.tables import read_tsv, write_tsv
from seedbed.report.comparison import chains
from seedbed.runtime.errors import UserError
from stages.compare import compare, read_folder
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
        *("run", "split", "images", "variant", "miou", "seconds", "max_rss", "ceiling"),
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


def step_tables(page: str) -> dict[str, list[list[str]]]:
    """The tables of mIoU by step: caption, and the cells of each row as text."""
    by_step = page[page.index("<h2>mIoU by step</h2>") :]
    tables = {}
    for table in re.findall(r"<table.*?</table>", by_step, re.S):
        caption, rows = table.split("</caption>")
        cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in rows.split("<tr>")[2:]]
        text = [[re.sub(r"<.*?>", "", cell) for cell in row] for row in cells]
        tables[re.sub(r"<.*?>", "|", caption.split("<caption>")[1])] = text
    return tables


def test_the_page_tells_on_how_many_images_each_step_was_scored(tmp_path):
    rows = {
        "a": [("train", "cam", 240, 0.5), ("train", "targets", 12, 0.75), ("val", "cam", 80, 0.5)],
        "b": [("train", "cam", 240, 0.25), ("val", "cam", 80, 0.125)],
        "c": [("val", "cam", 9, 0.375)],
    }
    for name, scores in rows.items():
        columns = ("list", "step", "images", "miou")
        steps = [dict(zip(columns, score, strict=True)) for score in scores]
        write_tsv(tmp_path / name / "quality.tsv", steps)
    page, table = tmp_path / "p.html", tmp_path / "t.tsv"

    def tables_of(*names: str) -> dict[str, list[list[str]]]:
        compare(runs=[tmp_path / name for name in names], page=page, table=table)
        return step_tables(page.read_text())

    assert tables_of("a", "b") == {
        "train|12 to 240 images|": [
            ["cam", "240 images 0.500", "240 images 0.250"],
            ["targets", "12 images 0.750", "–"],
        ],
        "val|80 images|": [["cam", "0.500", "0.125"]],
    }
    assert tables_of("b", "c") == {
        "train|240 images|": [["cam", "0.250", "–"]],
        "val|9 to 80 images|": [["cam", "80 images 0.125", "9 images 0.375"]],
    }


def test_unfinished_runs_are_compared_by_the_files_they_have(project):
    (project / "results/<other> run/metrics.json").unlink()
    compare(runs=[project / "results/<other> run"])
    (row,) = read_tsv(project / "results/compare.tsv")
    assert row["miou"] == "" and row["train: seeds"] == "0.125"
    assert "No run has scored" not in (project / "results/compare.html").read_text()


def test_folders_without_a_run_are_refused(project):
    with pytest.raises(UserError, match="name folders of finished runs"):
        compare(runs=[project / "results/cam", project / "nowhere"])


def write_chain(folder, last, **steps):
    """Write a run of two rounds whose last one has the score `last` on val after the CRF."""
    rows = [(step.replace("_crf", " + crf"), "", "train", miou) for step, miou in steps.items()]
    rows += [("cam", "", "train (held out)", 0.25), ("predictions", 0, "train (held out)", 0.9)]
    rows += [("predictions", 10, "train (held out)", 0.5), ("predictions", 9, "val", 0.9)]
    rows += [("predictions", 10, "val", 0.125), ("predictions + crf", 10, "val", last)]
    folder.mkdir(parents=True)
    lines = [f"{name}\t{number}\t{step}\t9\t{miou}" for step, number, name, miou in rows]
    (folder / "quality.tsv").write_text("\n".join(["list\tround\tstep\timages\tmiou", *lines]))


def test_the_chain_of_each_run_and_its_share_of_the_ceiling(tmp_path):
    write_chain(tmp_path / "a", 0.5, cam=0.75, pseudo_labels_crf=0.375)
    write_chain(tmp_path / "ceiling", 0.8)
    page, table = tmp_path / "p.html", tmp_path / "t.tsv"
    runs = [tmp_path / "a", tmp_path / "ceiling"]
    compare(runs=runs, page=page, table=table, ceiling=runs[1])
    assert [row["ceiling"] for row in read_tsv(table)] == ["0.625", "1"]
    ours, bound = chains([read_folder(run) for run in runs], read_folder(runs[1]))
    assert (ours.ceiling, bound.ceiling) == (0.625, 1)
    assert ours.train["cam"] == 0.25 and ours.train["pseudo_labels"] is None
    assert ours.train["last round"] == 0.5 and ours.train["last round + crf"] is None
    assert ours.val == {"last round": 0.125, "last round + crf": 0.5}
    assert "The images are those of train (held out) and val" in page.read_text()
    compare(runs=runs, page=page, table=table)
    assert [row["ceiling"] for row in read_tsv(table)] == ["", ""]


def test_where_a_run_holds_out_no_images_all_train_images_are_compared(tmp_path, project):
    write_chain(tmp_path / "a", 0.5, cam=0.75)
    (ours, other) = chains([read_folder(tmp_path / "a"), read_folder(tmp_path / "results")])
    assert ours.train["cam"] == 0.75 and other.train["cam"] == 0.5


def test_a_ceiling_without_a_score_on_val_is_refused(project):
    with pytest.raises(UserError, match=r"--ceiling .*finish that run"):
        compare(runs=[project / "results"], ceiling=project / "results/<other> run")
    with pytest.raises(UserError, match=r"--ceiling .*finish that run"):
        compare(runs=[project / "results"], ceiling=project / "nowhere")


def test_the_cost_of_shared_steps_counts(project):
    folder, elsewhere = project / "results", project / "results/other"
    write_tsv(elsewhere / "benchmarks/classifier.tsv", [{"s": 100.0, "max_rss": 900.0}])
    write_tsv(elsewhere / "benchmarks/cam/1-of-1.tsv", [{"s": 1.0, "max_rss": 9.0}])
    paths = ["results/other/benchmarks/classifier.tsv", "results/other/benchmarks/cam"]
    (folder / "provenance.json").write_text(json.dumps({"benchmarks": paths}))
    run = read_folder(folder)
    assert (run.seconds, run.megabytes) == (3.5 + 100 + 1, 900)
    (elsewhere / "benchmarks/classifier.tsv").unlink()
    assert read_folder(folder).seconds is None  # not a part of it
    (folder / "provenance.json").write_text("[]")
    with pytest.raises(UserError, match=r"cannot read .*provenance\.json"):
        read_folder(folder)
