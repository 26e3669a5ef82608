"""What the tutorial says of its run: the default run on the first data set."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from benchmarks.figures.default_run import CONTROL, provenance
from benchmarks.figures.pictures import DATA, TRAIN, VAL, Scenes
from benchmarks.figures.results import Results, Run, Step
from benchmarks.figures.text import listed, number, paragraph, table
from seedbed.evaluation.chain import REFINED


def origin(results: Results) -> str:
    """Which run the figures are from."""
    data = f"data/mini-{results.seeds[0]}"
    return paragraph(
        f"The scores on this page are from the run with training seed 0 on `{data}`. "
        f"{provenance(results)} On another machine the second decimal may differ."
    )


def cam(results: Results) -> str:
    """The classifier's loss, and the score of its maps."""
    run = results.default[0]
    log = run.table("classifier/log.tsv")
    first, last = (number(float(row["loss"]), 2) for row in (log[0], log[-1]))
    return paragraph(
        f"The loss falls from {first} to {last}. Scored against the ground-truth masks, the maps "
        f"reach mIoU {score(run, 'cam')}, and with the CRF {score(run, 'cam' + REFINED)}."
    )


def control(results: Results) -> str:
    """The score of the control of the pseudo labels, before and after the CRF."""
    run = results.default[0]
    names = [step.name for step in run.quality if CONTROL in step.name and step.list == "train"]
    scores = [f"`{name}` scores {score(run, name)}" for name in names]
    return paragraph(f"In `results/quality.tsv`, {listed(scores or ['there is no such row'])}.")


def seeds(results: Results) -> str:
    """Coverage, precision and recall of the seeds."""
    row = results.default[0].quality[Step("train", "", "seeds")]
    precision, recall = (number(row[f"foreground_{name}"], 2) for name in ("precision", "recall"))
    return paragraph(
        f"`results/quality.tsv`, row `seeds`: {100 * row['coverage']:.0f} % of the pixels have a "
        f"label; the precision of the foreground labels is {precision}, their recall {recall}."
    )


def pseudo_labels(results: Results) -> str:
    """Empty pseudo labels, and the score of all."""
    run = results.default[0]
    plain, refined = (score(run, "pseudo_labels" + ending) for ending in ("", REFINED))
    void = sum(float(row["void"]) == 1 for row in run.table("pseudo_labels.tsv"))
    return paragraph(
        f"Of the images, {void} are entirely void, because too little of them was foreground. The "
        f"labels score {plain}, and with the CRF {refined}."
    )


def growing(results: Results) -> str:
    """Labelled cells before and after growing, in the first and last row of the log."""
    log = results.default[0].table("rounds/0/log.tsv")
    (cues, grown), (last_cues, last_grown) = map(cue_shares, (log[0], log[-1]))
    return paragraph(
        f"The log starts at {cues} (`cues`) and {grown} (`grown`), and ends at {last_cues} and "
        f"{last_grown}."
    )


def cue_shares(row: Mapping[str, str]) -> tuple[str, str]:
    """Shares of labelled cells before and after growing, in a row of the log."""
    return number(float(row["cues"])), number(float(row["grown"]))


def targets(results: Results) -> str:
    """How many images each later round keeps, and the scores of their targets."""
    run = results.default[0]
    rounds = [step.round for step in run.quality if step.list == "train" and step.name == "targets"]
    tables = [run.table(f"rounds/{round_}/selection.tsv") for round_ in rounds]
    kept = listed(sum(row["kept"] == "1" for row in rows) for rows in tables)
    scores = listed(score(run, "targets", round_) for round_ in rounds)
    return paragraph(
        f"Of {len(tables[0])} images, {kept} are kept (round {listed(rounds)}); the targets "
        f"score {scores}."
    )


def rounds(results: Results) -> str:
    """Every round after its CRF, and the ground truth masks."""
    run, bound = results.default[0], results.runs["ceiling"][0]
    rows = [[f"round {round_}", *both_splits(run, round_)] for round_ in refined_rounds(run)]
    last = refined_rounds(bound)[-1]
    rows.append(
        ["trained on ground-truth masks (`recipes/ceiling.yaml`)", *both_splits(bound, last)]
    )
    return table(["mIoU after the CRF", "train", "val"], rows)


def final_score(results: Results) -> str:
    """The score in miou.txt."""
    run = results.default[0]
    final = score(run, "predictions" + REFINED, refined_rounds(run)[-1], "val")
    return paragraph(f"In this run the final score is {final}.")


def train_scenes(results: Results) -> str:
    """How the train scenes that the pictures show score among all."""
    scores, shown = scene_scores(results, "train", TRAIN)
    return paragraph(
        f"With the mask of each image scored alone, the median training image ends with an mIoU "
        f"of {number(median(scores), 2)}, and these four with "
        f"{listed(number(score, 2) for score in shown)}."
    )


def val_scenes(results: Results) -> str:
    """Which val scenes the last picture shows, and how they score among all."""
    scores, shown = scene_scores(results, "val", VAL)
    lower = [100 * fmean(score < of_shown for score in scores) for of_shown in shown]
    return paragraph(
        f"From left to right: {listed(f'`{id_}`' for id_ in VAL)}; photo, mask, errors. Scored "
        f"alone, they have an mIoU of {listed(number(score, 2) for score in shown)}: "
        f"{listed(number(share, 0) for share in lower)} % of the {len(scores)} validation images "
        "score lower."
    )


def scene_scores(
    results: Results, split: str, ids: Sequence[str]
) -> tuple[list[float], list[float]]:
    """The mIoU of the final masks of all images of a split, each alone, and of some of them."""
    scenes = Scenes(results.default[0].folder, DATA)
    of_split = [entry for entry in scenes.entries if entry.split == split]
    groups = of_split, scenes.chosen(ids)
    return tuple([scenes.iou(scenes.final, entry) for entry in group] for group in groups)


def refined_rounds(run: Run) -> Sequence[str]:
    """The rounds whose masks were refined by the CRF."""
    name = "predictions" + REFINED
    return [step.round for step in run.quality if step.list == "val" and step.name == name]


def both_splits(run: Run, round_: str) -> list[str]:
    """The mIoU of a round after the CRF on train and val."""
    return [score(run, "predictions" + REFINED, round_, split) for split in ("train", "val")]


def score(run: Run, name: str, round_: str = "", split: str = "train") -> str:
    """The mIoU of a step."""
    return number(run.quality.get(Step(split, round_, name), {}).get("miou"))
