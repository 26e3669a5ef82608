"""The report's page, from a small synthetic run."""

import json
import re
from pathlib import Path

import jinja2
import pytest
import torch
from docutils.core import publish_doctree

from seedbed.formats.tables import write_tsv
from seedbed.runtime.errors import UserError
from stages.command import options_of
from stages.report import report
from stages.settings import ReportSettings
from tests.support.report_helpers import CLASSES, IDS, report_arguments, write_run
from tests.support.workflow_helpers import ROOT

torch.set_num_threads(1)
CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))
WHERE = {"workers": 1, "settings": ReportSettings()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def write_page(folder: Path, arguments: dict, **others) -> tuple[str, dict]:
    """Write the page in a folder of its own; returns its text and the content of its gallery."""
    page = folder / "report.html"
    where = {**WHERE, "output": page, "files": folder / "report_files"}
    report(**report_arguments(**{**arguments, **where, **others}))
    text = page.read_text()
    content = re.search(r'<script type="application/json" id="content">(.*?)</script>', text)
    return text, json.loads(content[1])


def test_the_page_shows_the_run(run, tmp_path):
    text, content = write_page(tmp_path, run)
    assert "No ground truth" not in text and "Errors:" in text
    assert ">0.500<" in text and "2 val images" in text
    assert content["columns"] == [
        *("photo", "CAM", "group CAM", "saliency", "seeds", "pseudo label"),
        *("round 0", "round 0 + CRF", "round 1 target", "round 1", "round 1 + CRF"),
        *("truth", "error"),
    ]
    assert [row["id"] for row in content["rows"]] == list(IDS)
    target = content["columns"].index("round 1 target")
    shown = [target in dict(row["masks"]) for row in content["rows"]]
    assert shown == [True, False, False, False]  # the second image is not trained on
    for row in content["rows"]:
        assert (tmp_path / "report_files" / f"{row['id']}.jpg").exists()
        assert (tmp_path / "report_files" / f"{row['id']}.png").exists()
    assert "0:01:30" in text and "700" in text  # cam: 70 s and 20 s
    assert text.count("<polyline") == 2 and ">round 0</figcaption>" in text
    assert text.count("<rect") == 4


def test_the_page_explains_the_control_where_there_is_one(run, tmp_path):
    explained = "every salient pixel gets the tag"
    assert explained not in write_page(tmp_path, run)[0]
    steps = ("saliency × tags", "saliency × tags + crf", "pseudo_labels")
    rows = [{"list": "train", "round": None, "step": step, "images": 2} for step in steps]
    write_tsv(tmp_path / "quality.tsv", rows)
    text, _ = write_page(tmp_path, run, quality=tmp_path / "quality.tsv")
    assert explained in text
    places = [text.index(f'<th scope="row">{step}</th>') for step in steps]
    assert places == sorted(places)


def test_the_page_tells_on_how_many_images_each_step_was_scored(run, tmp_path):
    counts = {"train": (240, 12, 1), "train (held out)": (216, 10, 1), "val": (80, 80, 80)}
    steps = [("", "cam"), ("0", "targets"), ("1", "targets")]
    rows = [
        {"list": name, "round": number, "step": step, "images": images}
        for name, of_list in counts.items()
        for (number, step), images in zip(steps, of_list, strict=True)
    ]
    write_tsv(tmp_path / "quality.tsv", rows)
    text, _ = write_page(tmp_path, run, quality=tmp_path / "quality.tsv")
    captions = re.findall(r"<caption>([^<]*)<small>([^<]*)</small></caption>", text)
    assert captions == [
        ("train", "1 to 240 images"),
        ("val", "80 images"),
        ("train (held out)", "1 to 216 images"),
    ]
    assert "<summary>train (held out), 1 to 216 images</summary>" in text
    quality = text[text.index('id="quality"') : text.index('id="curves"')]
    assert re.findall(r'<th scope="row">(.*?)</th>', quality) == [
        "cam <small>240 images</small>",
        "round 0: targets <small>12 images</small>",
        "round 1: targets <small>1 image</small>",
        *("cam", "round 0: targets", "round 1: targets"),  # val: the caption's number holds
        "cam <small>216 images</small>",
        "round 0: targets <small>10 images</small>",
        "round 1: targets <small>1 image</small>",
    ]


def test_device_and_versions_are_those_of_the_page(run, tmp_path, monkeypatch):
    """A GPU that the trainings must have need not be where the page is made."""
    monkeypatch.setenv("SEEDBED_DEVICE", "cuda")
    assert "device" not in {option.name for option in options_of(report)}
    text, _ = write_page(tmp_path, run)
    table = text[text.index("<caption>This page was made on</caption>") :].partition("</table>")[0]
    assert re.findall(r'<th scope="row">(.*?)</th>', table)[:3] == ["device", "python", "seedbed"]
    assert "Device and software" not in text


def test_names_from_data_are_escaped(run, tmp_path):
    text, content = write_page(tmp_path, run)
    assert content["classes"] == ["background", *CLASSES]
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert "<b>" not in text and text.count("<script") == 2


def test_the_page_loads_nothing_but_its_pictures(run, tmp_path):
    text, _ = write_page(tmp_path, run)
    assert not re.search(r"""(src|href)=(?!["']?#)|url\((?!#)|@import|https?:""", text)


def test_a_step_that_a_recipe_lacks_has_no_column(run, tmp_path):
    reduced = {key: run[key] for key in run if key not in ("group_cams", "cues", "predictions")}
    _, content = write_page(tmp_path, reduced)
    assert content["columns"] == [
        *("photo", "CAM", "saliency", "pseudo label", "round 0 + CRF"),
        *("round 1 target", "round 1 + CRF", "truth", "error"),
    ]


def test_without_truth_there_is_no_iou_and_the_page_says_so(run, tmp_path):
    without_truth = {key: run[key] for key in run if key not in ("truth", "quality", "metrics")}
    text, content = write_page(tmp_path, without_truth, settings=ReportSettings(images=1))
    assert "no ground truth: no IoU" in text and "No ground truth: no IoU and no error maps" in text
    assert "quality of the steps is unknown" in text and "Errors:" not in text
    columns = {column for row in content["rows"] for column, _ in row["masks"]}
    assert columns.isdisjoint(content["columns"].index(name) for name in ("truth", "error"))
    assert all(iou is None for row in content["rows"] for _, iou in row["masks"])


def test_the_page_can_be_made_from_an_index_only(run, tmp_path):
    text, content = write_page(tmp_path, {key: run[key] for key in ("index", "data")})
    assert content["rows"] == [] and "This run trained nothing" in text


def test_the_number_of_images_shown_is_a_setting(run, tmp_path):
    _, content = write_page(tmp_path, run, settings=ReportSettings(images=1))
    assert [row["id"] for row in content["rows"]] == [IDS[1], IDS[2]]  # the worst of each split


def test_the_same_run_gives_the_same_bytes_with_any_number_of_workers(run, tmp_path):
    folders = [tmp_path / name / "results" for name in "ab"]
    for workers, folder in enumerate(folders, start=1):
        write_page(folder, run, workers=workers)
    first, second = (
        {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    )
    assert len(first) == 1 + 2 * len(IDS) and first == second


def test_the_pictures_must_be_beside_the_page(run, tmp_path):
    with pytest.raises(UserError, match="name a folder beside the page"):
        write_page(tmp_path, run, files=tmp_path / "elsewhere" / "files")


def test_invalid_metrics_are_named(run, tmp_path):
    (tmp_path / "metrics.json").write_text('{"miou": 1}')
    with pytest.raises(UserError, match=r"metrics\.json: .*remake"):
        write_page(tmp_path, run, metrics=tmp_path / "metrics.json")


@pytest.mark.parametrize("path", CAPTIONS, ids=lambda path: path.stem)
def test_captions_are_valid(path):
    class Job:
        wildcards = {"round": "3"}  # noqa: RUF012

    text = jinja2.Template(path.read_text(), undefined=jinja2.StrictUndefined).render(snakemake=Job)
    publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 5})
