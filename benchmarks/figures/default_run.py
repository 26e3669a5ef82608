"""What the default run gives: the blocks of README, method notes and the page on clusters."""

from collections.abc import Iterator

from benchmarks.figures.results import Results, Step
from benchmarks.figures.text import listed, mean_of, number, paragraph, span, table
from seedbed.evaluation.chain import REFINED

# What README calls the steps; the others, and those to come, have their name in quality.tsv.
NAMES = {"cam": "class activation maps", "pseudo_labels": "pseudo labels"}
# Steps with a row only in the table of every step: what trainings are supervised by has void on
# purpose, which mIoU counts as an error.
SUPERVISION = ("seeds", "targets", "predictions within tags")
SPLITS = ("train", "val")
CONTROL = "salien"  # in the name of the step that needs saliency and tags, but no pseudo labels
COLUMNS = ("images", "miou", "miou_labelled", "coverage", "precision", "recall")


def provenance(results: Results) -> str:
    """Which commit gave the figures, by which command, on which machine."""
    commits, commands, machines = map(results.recorded, ("commit", "command", "machine"))
    return (
        f"Commit {listed(f'`{commit}`' for commit in commits)}, "
        f"{listed(f'`{command}`' for command in commands)}, on {listed(machines)}."
    )


def summary(results: Results) -> str:
    """README's section: origin, scores, and what follows from them."""
    seeds = listed(results.seeds)
    about = (
        "mIoU, void counted as an error, before and after the CRF: the mean over the data sets of "
        f"the generator seeds {seeds} (training seed 0), and in brackets the value of each. "
        f"{provenance(results)}"
    )
    rows = [*step_rows(results), *control_rows(results)]
    scores = table(["", "train", "train, CRF", "val", "val, CRF"], rows)
    conclusions = " ".join([*comparison(results), upper_bound(results), cost(results)])
    return "\n\n".join([paragraph(about), scores, paragraph(conclusions)])


def step_rows(results: Results) -> Iterator[list[str]]:
    """A row for each step of the default run that labels images as a whole."""
    steps = results.steps("default")
    chain = dict.fromkeys((step.round, step.name.removesuffix(REFINED)) for step in steps)
    for round_, name in chain:
        if name not in SUPERVISION:
            label = f"round {round_}" if round_ else NAMES.get(name, name)
            yield [label, *score_cells(results, "default", round_, name)]


def control_rows(results: Results) -> Iterator[list[str]]:
    """The last round with shuffled tags, and with ground-truth masks."""
    for experiment, label in (
        ("shuffled-tags", "control: round 0 with permuted tags, `recipes/shuffled-tags.yaml`"),
        ("ceiling", "upper bound: ground-truth masks, `recipes/ceiling.yaml`"),
    ):
        last = results.last_round(experiment)
        yield [label, *score_cells(results, experiment, last, "predictions")]


def score_cells(results: Results, experiment: str, round_: str, name: str) -> list[str]:
    """The mIoU of a step on train and val, before and after the CRF."""
    return [
        mean_of(results.values(experiment, Step(split, round_, name + ending), "miou"))
        for split in SPLITS
        for ending in ("", REFINED)
    ]


def comparison(results: Results) -> Iterator[str]:
    """Which steps score higher than each control on train, with the CRF; nothing without one."""
    scores = {
        step: score
        for step in results.steps("default")
        if step.list == "train" and step.name.endswith(REFINED)
        if (score := results.mean("default", step)) is not None
    }
    controls = [step for step in scores if CONTROL in step.name]
    for control in controls:
        others = {step: score for step, score in scores.items() if step not in controls}
        higher = [in_words(step) for step, score in others.items() if score > scores[control]]
        lower = [in_words(step) for step, score in others.items() if score <= scores[control]]
        yield (
            f"On train with the CRF, the control `{in_words(control)}` reaches "
            f"{number(scores[control])}. Steps that score higher: {listed(higher or ['none'])}. "
            f"Steps that do not: {listed(lower or ['none'])}."
        )


def in_words(step: Step) -> str:
    """A step within a sentence."""
    name = step.name.removesuffix(REFINED)
    return f"round {step.round}" if step.round else NAMES.get(name, name)


def upper_bound(results: Results) -> str:
    """How near the last round comes to a training on the ground-truth masks."""
    last = results.last_round("default")
    ours = results.mean("default", Step("val", last, "predictions" + REFINED))
    bound_round = results.last_round("ceiling")
    bound = results.mean("ceiling", Step("val", bound_round, "predictions" + REFINED))
    if ours is None or bound is None:
        return ""
    return (
        f"On val with the CRF, the last round reaches {number(ours / bound, 2)} of the mIoU that "
        "the same network reaches when it is trained on all ground-truth masks."
    )


def cost(results: Results) -> str:
    """Time and memory of a default run."""
    costs = [run.costs() for run in results.default]
    minutes = [sum(cost.seconds for cost in rules) / 60 for rules in costs]
    gigabytes = max(cost.megabytes for rules in costs for cost in rules) / 1000
    return (
        f"The jobs of one default run took {span(minutes, 1)} minutes in total; none used more "
        f"than {gigabytes:.1f} GB of memory."
    )


def every_step(results: Results) -> str:
    """Every row of quality.tsv on whole splits, as the mean over the data sets."""
    rows = []
    for step in results.steps("default"):
        if step.list not in SPLITS:
            continue  # a part of a split
        means = {column: results.mean("default", step, column) for column in COLUMNS}
        images = number(means.pop("images"), 0)
        rows.append([step.list, step.round, step.name, images, *map(number, means.values())])
    seeds = listed(results.seeds)
    about = f"Means over the generator seeds {seeds}. {provenance(results)}"
    header = ["list", "round", "step", "images", "mIoU", "on labelled pixels", *COLUMNS[3:]]
    return "\n\n".join([paragraph(about), table(header, rows)])


def rule_table(results: Results) -> str:
    """Time and memory of each rule, in the run on the first data set."""
    run = results.default[0]
    rows = []
    for cost in run.costs():
        figures = (cost.jobs, cost.seconds, cost.longest, cost.megabytes)
        rows.append([cost.rule, *(number(figure, 0) for figure in figures)])
    about = f"The default run, generator seed {results.seeds[0]}. {provenance(results)}"
    header = ["rule", "jobs", "s, all jobs", "s, longest job", "MB, largest job"]
    return "\n\n".join([paragraph(about), table(header, rows)])
