"""`make comparison`: which runs it makes, what it logs, and the table that it writes."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.comparison import runs
from benchmarks.comparison.__main__ import main
from benchmarks.comparison.figures import update
from benchmarks.comparison.runs import (
    SALIENCIES,
    SYSTEMS,
    WITHOUT_SALIENCY,
    Experiment,
    Project,
    experiments_of,
    seed_overlay,
)
from benchmarks.comparison.tables import FIGURES, HEADER, all_scores, final_scores, write_page
from benchmarks.figures.runs import RECORD
from seedbed.formats.tables import read_tsv, write_tsv
from seedbed.runtime.errors import UserError
from tests.support.workflow_helpers import CONFIG, ROOT, finished_run, planned

ALL = experiments_of(SYSTEMS, SALIENCIES)
PROJECT = Project("data", "1")
RECIPES = [
    "recipes/voc-animals.yaml",
    "recipes/voc-animals-u2net.yaml",
    "recipes/voc-animals-spsm.yaml",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/comparison.md", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)


def test_every_system_runs_with_each_saliency_that_it_uses():
    folders = [PROJECT.results(experiment).as_posix() for experiment in ALL]
    assert len(set(folders)) == len(ALL) == 2 * len(SYSTEMS) - len(WITHOUT_SALIENCY)
    assert folders[0] == "results/voc-animals" and "results/voc-animals-u2net-spsm" in folders
    assert [e.saliency for e in ALL if e.system in WITHOUT_SALIENCY] == ["training-free"] * 2
    shared = {PROJECT.settings(experiment).pathvars.folders()["shared"] for experiment in ALL}
    assert shared == {"results/voc-animals"}


def test_the_command_of_a_run():
    command = Project("/data", "2", (Path("mine.yaml"),)).command
    Path("mine.yaml").write_text("report: {images: 3}")
    words = command(Experiment("spsm", "u2net"))
    files = words[words.index("--configfile") + 1 : words.index("--config")]
    assert files == [*RECIPES, "mine.yaml"]
    assert 'run={"data": "/data"}' in words
    assert words[-1] == "results/voc-animals-u2net-spsm/quality.tsv"


def test_all_results_may_lie_below_another_folder():
    project = Project("data", "1", folder="elsewhere")
    folders = project.settings(Experiment("spsm", "u2net")).pathvars.folders()
    assert folders == {
        "results": "elsewhere/results/voc-animals-u2net-spsm",
        "shared": "elsewhere/results/voc-animals",
        "saliency": "elsewhere/results/voc-animals-u2net",
    }
    (given,) = [w for w in project.command(ALL[0]) if w.startswith("pathvars=")]
    assert json.loads(given.removeprefix("pathvars="))["results"] == "elsewhere/{results}"


def test_maps_that_are_made_already_take_the_place_of_the_model():
    command = Project("data", "1", maps="maps").command
    assert not any(w.startswith("saliency=") for w in command(Experiment("spsm", SALIENCIES[0])))
    (given,) = [w for w in command(Experiment("spsm", "u2net")) if w.startswith("saliency=")]
    assert json.loads(given.removeprefix("saliency=")) == {"model": "null", "maps": "maps"}


def test_the_recorded_command_has_the_options_that_change_figures():
    project = Project("/data", "2", (Path("mine.yaml"),), "elsewhere", "maps")
    words = shlex.split(project.recorded_command)
    assert words[3:] == ["--overlay", "mine.yaml", "--maps", "maps"]
    assert PROJECT.recorded_command == "python -m benchmarks.comparison"


def test_a_system_without_saliency_is_not_run_with_the_learned_one():
    with pytest.raises(SystemExit, match="--systems psa: no saliency is used"):
        main(["--systems", "psa", "--saliencies", "u2net"])


def test_the_list_of_commands_runs_nothing(capsys):
    main(["--list", "--systems", "psa", "--saliencies", "training-free"])
    (line,) = capsys.readouterr().out.splitlines()
    assert "recipes/voc-animals-psa.yaml" in shlex.split(line)


def test_a_failed_run_is_told_at_the_end_and_the_others_go_on(monkeypatch, capsys):
    made = []

    def make_run(folder, command, record):
        made.append(folder.name)
        if folder.name.endswith("dsrg"):
            raise UserError("status 1")
        write_run(folder)

    monkeypatch.setattr(runs, "make_run", make_run)
    with pytest.raises(SystemExit, match="results/voc-animals-dsrg: not finished"):
        main(["--systems", "dsrg", "spsm", "--saliencies", "training-free"])
    assert made == ["voc-animals-dsrg", "voc-animals-spsm"]
    rows = read_tsv(Path("results/comparison.tsv"))
    assert [row["status"] for row in rows] == ["failed", "finished"]
    assert all(float(row["minutes"]) >= 0 for row in rows)
    page = Path("docs/comparison.md")
    assert page.read_bytes() == (ROOT / page).read_bytes()


def test_other_seeds_begin_from_a_copy_of_the_run(monkeypatch):
    monkeypatch.setattr(runs, "make_run", lambda folder, command, record: write_run(folder))
    main(["--systems", "spsm", "--saliencies", "u2net", "--seeds", "1"])
    assert Path("results/voc-animals-u2net-spsm-seed-1").is_dir()
    written = yaml.safe_load(Path("results/comparison-seeds/u2net-spsm-1.yaml").read_text())
    assert written["pathvars"] == {"results": "{results}-seed-1"}
    assert [item.get("seed") for item in written["rounds"]] == [None, None, 1]
    settings = PROJECT.settings(Experiment("spsm", "u2net", 1))
    assert [item.seed for item in settings.rounds] == [0, 0, 1]
    assert settings.pathvars.folders()["saliency"] == "results/voc-animals-u2net"
    assert ".500 (.500 .500)" in Path("docs/comparison.md").read_text()


def test_a_copy_that_is_cut_short_is_made_again(monkeypatch):
    run, seed = Path("results/voc-animals-spsm"), Experiment("spsm", SALIENCIES[0], 1)
    write_run(run)

    def cut_short(source, target, **options):
        (target / "benchmarks").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", cut_short)
        with pytest.raises(KeyboardInterrupt):
            PROJECT.write_seed(seed)
    PROJECT.write_seed(seed)
    assert (PROJECT.results(seed) / "benchmarks/train/0.tsv").is_file()


def test_a_run_with_another_seed_has_no_scores_before_it_is_finished(monkeypatch):
    """It begins as a copy, whose scores would be taken for its own."""

    def make_run(folder, command, record):
        if folder.name.endswith("-seed-1"):
            raise UserError("interrupted")
        write_run(folder)

    monkeypatch.setattr(runs, "make_run", make_run)
    with pytest.raises(SystemExit, match="spsm-seed-1: not finished"):
        main(["--systems", "spsm", "--saliencies", "u2net", "--seeds", "1"])
    assert Path("results/voc-animals-u2net-spsm-seed-1/benchmarks/train/0.tsv").is_file()
    main(["--write-only"])
    assert [row["seed"] for row in read_tsv(FIGURES)] == [""]


def test_another_seed_trains_the_last_round_alone(tmp_path_factory, tmp_path):
    finished = finished_run(tmp_path_factory.getbasetemp())
    project = shutil.copytree(finished, tmp_path / "project")
    shutil.copytree(project / "results", project / "results-seed-1")
    overlay = seed_overlay({"pathvars": {"results": "results"}, **CONFIG}, 1)
    (project / "seed.yaml").write_text(yaml.safe_dump(overlay))
    jobs = planned(
        project, "--configfile", "config.yaml", "seed.yaml", "--", "results-seed-1/miou.txt"
    )
    assert jobs == {"train-1", "predict-1-val", "crf-1-val", "masks", "evaluate"}


def write_run(folder: Path, last: float = 0.5, **steps: float) -> None:
    """A finished run of one round."""
    rows = [("train (held out)", "", step, miou) for step, miou in steps.items()]
    rows += [(split, 0, "predictions", last / 2) for split in ("train (held out)", "val")]
    rows += [(split, 0, "predictions + crf", last) for split in ("train (held out)", "val")]
    names = ("list", "round", "step", "miou")
    table = [{**dict(zip(names, row, strict=True)), "images": 9} for row in rows]
    write_tsv(folder / "quality.tsv", table)
    write_tsv(folder / "benchmarks/train/0.tsv", [{"s": 120.0, "max_rss": 1500.0}])
    record = {"commit": "abc1234", "command": "make comparison", "machine": "2 × Cray-1"}
    (folder / RECORD).write_text(json.dumps(record))


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_a_row_for_each_finished_run():
    write_run(Path("results/voc-animals-ceiling"), 0.8)
    write_run(Path("results/voc-animals-dsrg"), 0.5, cam=0.25, seeds=0.125)
    write_run(Path("results/voc-animals-dsrg-seed-1"), 0.7, cam=0.9)
    write_run(Path("results/voc-animals-psa"), 0.5, cam=0.25, pseudo_labels=0.375)
    text = all_scores(update(FIGURES, PROJECT))
    assert cells(text, "DSRG") == [
        *("DSRG", "training-free", ".250", ".125", "", "", "", ""),
        *(".300 (.250 .350)", ".600 (.500 .700)", ".300 (.250 .350)", ".600 (.500 .700)"),
        *(".750 (.625 .875)", "2", "1.5"),
    ]
    assert cells(text, "ground-truth masks") == [
        *("ground-truth masks", "none", *[""] * 6),
        *(".400", ".800", ".400", ".800", "1.000", "2", "1.5"),
    ]
    assert cells(text, "PSA")[:8] == ["PSA", "none", ".250", *[""] * 3, ".375", ""]
    assert len(cells(text, "system")) == len(HEADER) and "SPSM" not in text
    assert "`train (held out)`" in text and "Commit `abc1234`, `make comparison`" in text
    write_page(Path(), PROJECT)
    assert text in Path("docs/comparison.md").read_text()


def test_seeds_of_a_run_that_was_made_again_do_not_count():
    write_run(Path("results/voc-animals-dsrg-seed-1"), 0.7)
    write_run(Path("results/voc-animals-dsrg"), 0.5)
    os.utime("results/voc-animals-dsrg-seed-1/quality.tsv", ns=(1, 1))
    assert cells(all_scores(update(FIGURES, PROJECT)), "DSRG")[9] == ".500"


def test_figures_of_runs_that_are_not_there_stay():
    for name, score in (("ceiling", 0.8), ("dsrg", 0.5), ("dsrg-seed-1", 0.7), ("psa", 0.4)):
        write_run(Path(f"results/voc-animals-{name}"), score)
    before = update(FIGURES, PROJECT)
    shutil.rmtree("results")
    write_run(Path("results/voc-animals-spsm"), 0.6)
    after = update(FIGURES, PROJECT)
    assert [row for row in after if row["system"] != "spsm"] == before
    systems = [row["system"] for row in after]
    assert systems == ["ceiling", "dsrg", "dsrg", "spsm", "psa"]
    assert [row["seed"] for row in after] == ["", "", "1", "", ""]
    assert cells(all_scores(after), "SPSM")[9] == ".600"
    assert cells(all_scores(after), "DSRG")[9] == ".600 (.500 .700)"
    assert cells(all_scores(after), "PSA")[12] == ".500"


def test_a_run_that_was_made_again_replaces_all_seeds():
    write_run(Path("results/voc-animals-dsrg"), 0.5)
    write_run(Path("results/voc-animals-dsrg-seed-1"), 0.7)
    update(FIGURES, PROJECT)
    shutil.rmtree("results")
    write_run(Path("results/voc-animals-dsrg"), 0.3)
    (row,) = update(FIGURES, PROJECT)
    assert float(row["val: last round + crf"]) == 0.3


def test_the_tables_of_the_page_are_those_of_the_figures():
    figures = read_tsv(ROOT / FIGURES)
    page = (ROOT / "docs/comparison.md").read_text()
    assert all_scores(figures) in page and final_scores(figures) in page


def test_final_scores_have_the_best_system_first_and_the_bound_last():
    runs = {"ceiling": 0.9, "dsrg": 0.5, "dsrg-seed-1": 0.7, "psa": 0.625, "u2net-dsrg": 0.75}
    for name, score in runs.items():
        write_run(Path(f"results/voc-animals-{name}"), score)
    rows = final_scores(update(FIGURES, PROJECT)).splitlines()[2:]
    assert rows == [
        "| DSRG | .600 | .750 | 2, 2 |",
        "| PSA | .625 | | 2 |",
        "| ground-truth masks | .900 | | 2 |",
    ]


def test_without_a_finished_run_nothing_is_written():
    with pytest.raises(SystemExit, match="has no finished run of the comparison"):
        main(["--write-only"])
