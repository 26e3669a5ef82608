"""`make figures`: which runs it makes, and what it writes into the pages."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.figures.default_run import every_step, rule_table, summary
from benchmarks.figures.pages import PAGES, filled, write_pages
from benchmarks.figures.pictures import (
    CRF,
    ENLARGED,
    ERRORS,
    GAP,
    TRAIN,
    TRUTH,
    VAL,
    Scenes,
    of_train,
    write_pictures,
    write_sheet,
)
from benchmarks.figures.results import Results
from benchmarks.figures.runs import (
    EXPERIMENTS,
    RECORD,
    current_commit,
    make_run,
    run_folder,
    snakemake_command,
)
from benchmarks.figures.text import listed, mean_of, number, paragraph, span, table
from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import write_maps
from seedbed.formats.palette import VOC_PALETTE, VOID
from seedbed.formats.tables import write_tsv
from seedbed.report.pictures import CORRECT_BACKGROUND, CORRECT_OBJECT, MASK_PALETTE
from seedbed.runtime.errors import UserError
from tests.support.workflow_helpers import CONFIG, ROOT, copy_project, finished_run, snakemake

SEEDS = (0, 1)
CONTROL = "salient × strongest CAM"
CONDITIONS = {"commit": "abc1234", "command": "make figures", "machine": "2 × Cray-1"}
# mIoU by list, round and step; seed 1 has 0.01 more.
SCORES = {
    ("train", "", "cam"): 0.28,
    ("train", "", "cam + crf"): 0.21,
    ("train (VOC's own list)", "", "cam"): 0.99,
    ("train", "", CONTROL): 0.45,
    ("train", "", f"{CONTROL} + crf"): 0.43,
    ("train", "", "seeds"): 0.27,
    ("train", "", "pseudo_labels"): 0.31,
    ("train", "", "pseudo_labels + crf"): 0.43,
    ("train", "1", "targets"): 0.69,
    ("train", "0", "predictions"): 0.54,
    ("train", "0", "predictions within tags"): 0.58,
    ("train", "0", "predictions + crf"): 0.68,
    ("val", "0", "predictions"): 0.52,
    ("val", "0", "predictions + crf"): 0.62,
    ("train", "1", "predictions"): 0.6,
    ("train", "1", "predictions + crf"): 0.7,
    ("val", "1", "predictions"): 0.58,
    ("val", "1", "predictions + crf"): 0.63,
}
CEILING = {
    ("train", "0", "predictions"): 0.7,
    ("train", "0", "predictions + crf"): 0.8,
    ("val", "0", "predictions"): 0.6,
    ("val", "0", "predictions + crf"): 0.7,
}
OTHERS = {"miou_labelled": 0.75, "coverage": 0.72, "precision": 0.8, "recall": 0.25}
FOREGROUND = {"foreground_precision": 0.81, "foreground_recall": 0.21}


def write_run(folder, scores, more=0.0):
    rows = []
    for (list_, round_, step), miou in scores.items():
        row = {"list": list_, "round": round_, "step": step, "images": 4, "miou": miou + more}
        rows.append(row | OTHERS | FOREGROUND)
    write_tsv(folder / "quality.tsv", rows)
    (folder / RECORD).write_text(json.dumps(CONDITIONS))


def write_scenes(folder, split, ids, first_number):
    """Final masks of the scenes that the tutorial shows: less of the object in each."""
    entries = [ImageEntry(id_, "", 1, 8, (1,), split, True, "") for id_ in ids]
    with write_maps(folder / f"rounds/1/masks/{split}/1-of-1.h5", round=1, split=split) as masks:
        for k, entry in enumerate(entries):
            found = np.uint8(np.arange(8) < 8 - first_number - k)[None]
            masks.put(entry.id, np.stack([found, found]))
    return entries


def write_all_scenes(folder):
    """The scenes of both splits, which show nothing but an object."""
    entries = [*write_scenes(folder, "train", TRAIN, 1), *write_scenes(folder, "val", VAL, 0)]
    Index((ClassInfo("cat", 8),), tuple(entries), "xml").save(folder / "dataset/index.json")
    with write_maps(folder / "dataset/masks.h5") as truth:
        for entry in entries:
            truth.put(entry.id, np.ones((1, 8), np.uint8))


@pytest.fixture
def results(tmp_path):
    """Two data sets' runs, as `make_all` leaves them."""
    for seed in SEEDS:
        for experiment in EXPERIMENTS:
            scores = CEILING if experiment == "ceiling" else SCORES
            write_run(run_folder(tmp_path, experiment, seed), scores, 0.01 * seed)
        folder = run_folder(tmp_path, "default", seed)
        for name, seconds in {"train/0": 120.0, "train/1": 60.0, "audit": 30.0}.items():
            row = {"s": seconds + 6 * seed, "max_rss": 10 * seconds - 100}
            write_tsv(folder / f"benchmarks/{name}.tsv", [row])
        write_tsv(folder / "classifier/log.tsv", [{"loss": 1.014}, {"loss": 0.5}, {"loss": 0.168}])
        growing = [{"cues": 0.618, "grown": 0.619}, {"cues": 0.624, "grown": 0.714}]
        write_tsv(folder / "rounds/0/log.tsv", growing)
        kept = [{"id": "a", "kept": 1}, {"id": "b", "kept": 0}, {"id": "c", "kept": 1}]
        write_tsv(folder / "rounds/1/selection.tsv", kept)
        void = [{"id": "a", "void": 1}, {"id": "b", "void": 0.43}, {"id": "c", "void": 0}]
        write_tsv(folder / "pseudo_labels.tsv", void)
        write_all_scenes(folder)
    return Results.read(tmp_path, SEEDS)


def test_readme_has_means_values_and_what_follows_from_them(results):
    text = summary(results)
    assert "| class activation maps | .285 (.280 .290) | .215 (.210 .220) | | |" in text
    assert f"| {CONTROL} | .455 (.450 .460) | .435 (.430 .440) | | |" in text
    round_0 = ".545 (.540 .550) | .685 (.680 .690) | .525 (.520 .530) | .625 (.620 .630)"
    assert f"| round 0 | {round_0} |" in text
    bound = ".705 (.700 .710) | .805 (.800 .810) | .605 (.600 .610) | .705 (.700 .710)"
    assert f"`recipes/ceiling.yaml` | {bound} |" in text
    assert not re.search(r"\| (seeds|targets|predictions)|within|\.99", text)
    words = " ".join(text.split())
    assert "seeds 0 and 1 (training seed 0)" in words
    assert "Commit `abc1234`, `make figures`, on 2 × Cray-1." in words
    assert (
        f"the control `{CONTROL}` reaches .435. Steps that score higher: round 0 and round 1. "
        "Steps that do not: class activation maps and pseudo labels." in words
    )
    assert "reaches .90 of the mIoU" in words  # .635 / .705
    assert "took 3.5 to 3.8 minutes in total; none used more than 1.1 GB" in words


def test_a_run_without_a_control_is_not_compared(tmp_path, results):
    for seed in SEEDS:
        plain = {step: score for step, score in SCORES.items() if CONTROL not in step[2]}
        write_run(run_folder(tmp_path, "default", seed), plain)
    assert "Steps that score" not in summary(Results.read(tmp_path, SEEDS))


def test_every_step_of_whole_splits_has_a_row(results):
    text = every_step(results)
    row = "| train | | pseudo_labels + crf | 4 | .435 | .750 | .720 | .800 | .250 |"
    assert row in text and "VOC's own" not in text
    assert text.count("\n| ") == 1 + len(SCORES) - 1


def test_rules_have_time_and_memory_of_the_first_run(results):
    text = rule_table(results)
    assert "| train | 2 | 180 | 120 | 1100 |" in text and "| audit | 1 | 30 | 30 | 200 |" in text


EXPECTED = {
    # 7 to 4 eighths of the object are found, and no background is in the truth.
    "train-scenes": "the median training image ends with an mIoU of .34, and these four with .44, "
    ".38, .31 and .25.",
    "run": "`data/mini-0`. Commit `abc1234`, `make figures`, on 2 × Cray-1.",
    "cam": "falls from 1.01 to .17. Scored against the ground-truth masks, the maps reach mIoU "
    ".280, and with the CRF .210.",
    "control": f"`{CONTROL}` scores .450 and `{CONTROL} + crf` scores .430.",
    "seeds": "72 % of the pixels have a label; the precision of the foreground labels is .81, "
    "their recall .21.",
    "pseudo-labels": "1 are entirely void, because too little of them was foreground. The labels "
    "score .310, and with the CRF .430.",
    "growing": "starts at .618 (`cues`) and .619 (`grown`), and ends at .624 and .714.",
    "targets": "Of 3 images, 2 are kept (round 1); the targets score .690.",
    "rounds": "| round 0 | .680 | .620 | | round 1 | .700 | .630 | "
    "| trained on ground-truth masks (`recipes/ceiling.yaml`) | .800 | .700 |",
    "final-score": "the final score is .630.",
    # 8 to 5 eighths of the object are found.
    "val-scenes": f"{listed(f'`{id_}`' for id_ in VAL)}; photo, mask, errors. Scored alone, they "
    "have an mIoU of 1.00, .44, .38 and .31: 75, 50, 25 and 0 % of the 4 validation images score "
    "lower.",
}


@pytest.mark.parametrize("name", PAGES["docs/tutorial.md"])
def test_the_tutorial_tells_of_the_first_run(name, results):
    words = " ".join(PAGES["docs/tutorial.md"][name](results).split())
    assert EXPECTED[name] in words


def copy_pages(folder):
    for page in PAGES:
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text((ROOT / page).read_text(encoding="utf-8"))
    return folder


def test_all_blocks_of_the_real_pages_are_written_and_nothing_else(tmp_path, results):
    root = copy_pages(tmp_path / "pages")
    write_pages(root, results)
    for page, makers in PAGES.items():
        old, new = ((folder / page).read_text(encoding="utf-8") for folder in (ROOT, root))
        for name, make in makers.items():
            assert f"<!-- figures: {name} -->\n{make(results)}\n<!-- /figures -->\n" in new
        blocks = re.compile("(?s)(<!-- figures: .*? -->).*?<!-- /figures -->")
        assert blocks.sub(r"\1", new) == blocks.sub(r"\1", old)
    before = {page: (root / page).read_bytes() for page in PAGES}
    write_pages(root, results)
    assert before == {page: (root / page).read_bytes() for page in PAGES}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A run of the whole pipeline with two rounds."""
    project = finished_run(tmp_path_factory.getbasetemp())
    return Scenes(project / "results", project / "data")


def cells(path, side):
    """The scenes of a picture in the tutorial: (rows, columns, side, side, 3)."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    sheet = np.pad(sheet, ((0, GAP), (0, GAP), (0, 0)))
    step = side * ENLARGED + GAP
    rows, columns = sheet.shape[0] // step, sheet.shape[1] // step
    sheet = sheet.reshape(rows, step, columns, step, 3).swapaxes(1, 2)
    return sheet[:, :, :-GAP:ENLARGED, :-GAP:ENLARGED]


def assert_nearly(row, scenes, heading, entries):
    """A row of a JPEG shows a step of these images: more like it than like the next image's."""
    drawn = [scenes.draw(heading, entry).astype(float) for entry in entries]
    assert len(row) == len(drawn)
    for k, picture in enumerate(row):
        own, other = (abs(picture - drawn[i]).mean() for i in (k, k - 1))
        assert own < 8 and (own < other or (drawn[k] == drawn[k - 1]).all()), (heading, k, own)


def test_the_pictures_show_the_steps_of_the_run(tmp_path, scenes):
    train, val = ([e for e in scenes.entries if e.split == split][:4] for split in ("train", "val"))
    write_pictures(tmp_path, scenes, train=train, val=val)
    shown = {path.name for path in (ROOT / "docs/pictures").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == shown
    side = train[0].height
    masks, errors, targets = (
        cells(tmp_path / f"{name}.png", side) for name in ("masks", "errors", "targets")
    )
    assert masks.shape == (4, 4, side, side, 3)  # round 0 twice, round 1, truth
    for k, entry in enumerate(train):
        truth = scenes.draw(TRUTH, entry)
        assert (masks[-1, k] == truth).all() and truth.any()
        assert (masks[1, k] == scenes.draw(f"round 0{CRF}", entry)).all()
        assert (errors[1, k] == scenes.draw(f"{ERRORS}round 1{CRF}", entry)).all()
        assert (targets[0, k] == scenes.draw("round 1 target", entry)).all()
    photographic = {name: rows for name, rows in of_train(1).items() if name.endswith(".jpg")}
    for name, (heading,) in photographic.items():
        assert_nearly(cells(tmp_path / name, side)[0], scenes, heading, train)
    for row, heading in zip(
        cells(tmp_path / "val.jpg", side),
        ("photo", scenes.final, f"{ERRORS}{scenes.final}"),
        strict=True,
    ):
        assert_nearly(row, scenes, heading, val)
    width, height = Image.open(tmp_path / "chain.jpg").size
    assert (width, height) == (7 * (side + GAP) - GAP, 3 * (side + GAP) - GAP)


def test_class_maps_are_drawn_over_the_darkened_photo(scenes):
    entry = scenes.entries[0]
    photo, cam = scenes.draw("photo", entry), scenes.draw("CAM", entry)
    assert (cam >= (photo.mean(axis=2, keepdims=True) / 2).astype(np.uint8)).all()
    assert (cam[..., 0] != cam[..., 1]).any()  # a class in its colour


def test_errors_are_those_of_the_mask_and_an_image_that_was_not_kept_is_void(scenes):
    entry = next(e for e in scenes.entries if e.split == "val")
    errors, truth = scenes.draw(f"{ERRORS}{scenes.final}", entry), scenes.draw(TRUTH, entry)
    assert scenes.final == f"round 1{CRF}"
    equal = (scenes.draw(scenes.final, entry) == truth).all(axis=2)
    colours = MASK_PALETTE[[CORRECT_BACKGROUND, CORRECT_OBJECT]]
    correct = (errors[:, :, None] == colours).all(axis=3).any(axis=2)
    assert (correct == equal).all() and (errors != errors[0, 0]).any()
    assert (scenes.draw("round 1 target", entry) == VOC_PALETTE[VOID]).all()  # none of val


def test_a_picture_has_white_gaps_between_its_scenes(tmp_path):
    black, grey = np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 128, np.uint8)
    write_sheet(tmp_path / "a.png", [[black, grey], [grey, black]], enlarged=2)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))[..., 0]
    assert sheet.shape == (4 + GAP + 4, 6 + GAP + 6)
    assert (sheet[:4, :6] == 0).all() and (sheet[:4, -6:] == 128).all()
    assert (sheet[-4:, :6] == 128).all() and (sheet[4:-4] == 255).all()
    assert (sheet[:, 6:-6] == 255).all()


def test_scenes_that_the_run_lacks_are_named(scenes):
    with pytest.raises(UserError, match=r"no images absent, which the pages show"):
        scenes.chosen([scenes.entries[0].id, "absent"])


PAGE = "a\n<!-- figures: one -->\nold\n<!-- /figures -->\nb\n"


def test_a_block_is_replaced_between_its_markers():
    expected = "a\n<!-- figures: one -->\nnew\\1\n<!-- /figures -->\nb\n"
    assert filled(PAGE, {"one": "new\\1"}, "page.md") == expected


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (PAGE, {"two": ""}),
        (PAGE, {"one": "", "two": ""}),
        (PAGE + PAGE, {"one": ""}),
        (PAGE.replace("<!-- /figures -->\n", ""), {"one": ""}),
        (PAGE + "<!-- figures: two -->\n", {"one": ""}),
        ("no block\n", {"one": ""}),
    ],
)
def test_wrong_markers_end_in_one_line(text, blocks):
    with pytest.raises(UserError, match=r"^page.md has the blocks .*: correct its markers"):
        filled(text, blocks, "page.md")


def test_no_page_is_written_if_a_block_cannot_be_made(tmp_path, results):
    root = copy_pages(tmp_path / "pages")
    text = (root / "docs/tutorial.md").read_text(encoding="utf-8")
    (root / "docs/tutorial.md").write_text(text.replace("<!-- figures: cam -->", ""))
    before = {page: (root / page).read_bytes() for page in PAGES}
    with pytest.raises(UserError, match=r"docs/tutorial.md"):
        write_pages(root, results)
    assert before == {page: (root / page).read_bytes() for page in PAGES}


@pytest.mark.parametrize("missing", ["quality.tsv", RECORD])
def test_an_unfinished_run_ends_in_one_line_that_names_it(missing, tmp_path, results):
    folder = run_folder(tmp_path, "ceiling", 1)
    (folder / missing).unlink()
    with pytest.raises(UserError, match=re.escape(str(folder))):
        Results.read(tmp_path, SEEDS)


def test_numbers_and_sentences():
    assert [number(x) for x in (0.4314, 0, 1, 1.5, None)] == [".431", ".000", "1.000", "1.500", ""]
    assert number(1464, 0) == "1464" and number(0.2, 0) == "0" and number(1.014, 2) == "1.01"
    assert mean_of([0.4]) == ".400" and mean_of(None) == ""
    assert listed(["a"]) == "a" and listed("abc") == "a, b and c"
    assert span([2.0, 1.04], 1) == "1.0 to 2.0" and span([1.04, 1.01], 1) == "1.0"
    assert all(len(line) <= 118 for line in paragraph("word " * 99).splitlines())
    assert table(["", "b"], [["1", ""]]) == "| | b |\n|---|---|\n| 1 | |"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project with a config of seconds."""
    return copy_project(tmp_path_factory.mktemp("figures"), CONFIG)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_snakemake_plans_each_run_in_its_own_folder(experiment, project):
    folder = run_folder(project / "elsewhere", experiment, 1).relative_to(project)
    command = snakemake_command(experiment, 1, folder, "2", [])
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    status, text = snakemake(project, "-n", "-p", *command[3:])
    assert status == 0, text
    assert f"elsewhere/mini-1/{experiment}/quality.tsv" in text
    assert f"elsewhere/mini-1/{experiment}/miou.txt" in text
    assert "data/mini-1" in text and "mini-0" not in text
    shuffled = "true" if experiment == "shuffled-tags" else "false"
    assert f'"shuffle_tags":{shuffled}' in text
    assert ("rule group:" in text) == (experiment == "default")


def test_an_overlay_lies_over_every_run(project):
    (project / "brief.yaml").write_text("saliency: {superpixels: 77}\n")
    folder = run_folder(project / "elsewhere", "default", 0).relative_to(project)
    command = snakemake_command("default", 0, folder, "1", [project / "brief.yaml"])
    assert '"superpixels":77' in snakemake(project, "-n", "-p", *command[3:])[1]


def writer(folder):
    """A command that writes the scores of a run, as Snakemake does."""
    code = (
        "import pathlib, sys; folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True);"
        "[(folder / name).write_text('x') for name in ('miou.txt', 'quality.tsv')]"
    )
    return [sys.executable, "-S", "-c", code, str(folder)]


def test_what_made_a_run_is_recorded_until_it_is_made_anew(tmp_path):
    folder = tmp_path / "run"
    idle = [sys.executable, "-S", "-c", ""]

    def commit():
        return json.loads((folder / RECORD).read_text())["commit"]

    make_run(folder, writer(folder), {"commit": "first"})
    assert commit() == "first"
    make_run(folder, idle, {"commit": "second"})
    assert commit() == "first"  # nothing was made
    make_run(folder, writer(folder), {"commit": "third"})
    assert commit() == "third"
    (folder / RECORD).unlink()
    make_run(folder, idle, {"commit": "fourth"})
    assert commit() == "fourth"


def test_a_run_that_fails_ends_in_one_line_and_records_nothing(tmp_path):
    failing = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
    with pytest.raises(UserError, match=r"run: snakemake ended with status 3.*continues"):
        make_run(tmp_path / "run", failing, {"commit": "first"})
    assert not (tmp_path / "run").exists()


def test_a_run_records_its_commit_and_changes_to_anything_but_the_pages(tmp_path, monkeypatch):
    def git(*arguments):
        author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        made = subprocess.run(["git", *author, *arguments], check=True, stdout=subprocess.PIPE)
        return made.stdout.decode().strip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert current_commit() == "unknown"
    files = [tmp_path / name for name in ("README.md", "docs/comparison.md", "config.yaml")]
    (tmp_path / "docs").mkdir()
    for file in files:
        file.write_text("before")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "--short", "HEAD")
    (tmp_path / "new.txt").write_text("not tracked")
    for file, expected in zip(files, [commit, commit, f"{commit} with changes"], strict=True):
        file.write_text("after")
        assert current_commit() == expected
