"""One page that shows the run: figures, a gallery of every step, and what it took."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.data.index import SPLITS, ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.formats.masks import VOC_PALETTE
from seedbed.formats.tables import read_tsv, write_text
from seedbed.report.charts import LineChart, line_chart
from seedbed.report.gallery import Gallery, spread
from seedbed.report.jobs import read_jobs, rule_edges
from seedbed.report.page import render
from seedbed.report.pictures import OUTCOMES
from seedbed.report.rule_graph import draw
from seedbed.report.steps import mask_steps, painted_steps
from seedbed.report.surroundings import device_name, versions
from seedbed.report.tables import quality_by_list, read_metrics, rule_costs
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.devices import kind_of_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Device, Workers, run_stage
from stages.settings import ReportSettings


def report(
    *,
    index: Annotated[Path, "dataset/index.json"],
    output: Annotated[Path, "to write: the page"],
    files: Annotated[Path, "to write: the folder of its pictures, beside the page"],
    settings: ReportSettings,
    data: Data,
    device: Device,
    workers: Workers,
    truth: Annotated[list[Path], "dataset/masks.h5; without it no IoU and no error maps"] = (),
    quality: Annotated[Path | None, "quality.tsv"] = None,
    metrics: Annotated[Path | None, "metrics.json"] = None,
    logs: Annotated[list[Path], "log.tsv of the trainings, in order"] = (),
    cams: Annotated[list[Path], "cam/*.h5"] = (),
    group_cams: Annotated[list[Path], "group/cam/*.h5"] = (),
    walks: Annotated[list[Path], "affinity/cam/*.h5"] = (),
    saliency: Annotated[list[Path], "saliency/*.h5"] = (),
    cues: Annotated[list[Path], "seeds/cues.h5"] = (),
    pseudo_labels: Annotated[list[Path], "pseudo_labels.h5"] = (),
    targets: Annotated[list[Path], "targets.h5 of the rounds"] = (),
    predictions: Annotated[list[Path], "predictions of all rounds and splits"] = (),
    refined: Annotated[list[Path], "masks of all rounds and splits"] = (),
    config: Annotated[str, "settings of the run, as JSON"] = "{}",
    benchmarks: Annotated[Path | None, "folder of Snakemake's benchmark files"] = None,
    jobs: Annotated[Path | None, "what snakemake --dag prints"] = None,
) -> None:
    """Write the page and the pictures of the steps whose artefacts are given."""
    if files.parent != output.parent:
        raise UserError(f"{files} does not lie beside {output}: name a folder beside the page")
    dataset = Index.load(index)
    gallery = Gallery(
        data,
        dataset.num_classes,
        Maps(truth),
        painted_steps(cams=cams, group_cams=group_cams, walks=walks, saliency=saliency, cues=cues),
        mask_steps(
            pseudo_labels=pseudo_labels, targets=targets, predictions=predictions, refined=refined
        ),
        settings.side,
    )
    shown = chosen(gallery, dataset, settings.images, workers)
    page = {
        "run": output.absolute().parent.name,
        "dataset": dataset,
        "metrics": read_metrics(metrics) if metrics else None,
        "quality": quality_by_list(read_tsv(quality)) if quality else {},
        "curves": [chart for path in logs if (chart := curve(path))],
        "config": json.loads(config),
        "versions": versions(),
        "device": device_name(kind_of_device(device)),
        "costs": rule_costs(benchmarks) if benchmarks else [],
        "rules": draw(*rule_edges(*read_jobs(jobs.read_text()))) if jobs else None,
        "outcomes": {name: colour for name, (_, colour) in OUTCOMES.items()},
        "palette": VOC_PALETTE.tolist(),
    }
    with atomic_folder(files) as folder:
        rows = list(ordered_map(partial(gallery.draw, folder=folder), shown, workers))
    scored = any(iou is not None for row in rows for _, iou in row["masks"])
    content = {
        "folder": files.name,
        "columns": gallery.columns,
        "classes": dataset.class_names,
        "rows": rows,
    }
    write_text(output, render("page.html.j2", gallery=content, scored=scored, **page))


def chosen(gallery: Gallery, dataset: Index, most: int, workers: int) -> list[ImageEntry]:
    """The images to show: of each split that has more than `most`, evenly from worst to best."""
    shown: list[ImageEntry] = []
    for split in SPLITS:
        entries = [entry for entry in dataset.split(split) if entry in gallery]
        if len(entries) > most:
            scores = list(ordered_map(gallery.final_score, entries, workers))
            entries = [entries[place] for place in spread(scores, most)]
        shown += entries
    return shown


def curve(log: Path) -> LineChart | None:
    """The curves of a training, which its folder names: classifier, group, or a round's number."""
    name = log.absolute().parent.name
    return line_chart(f"round {name}" if name.isdecimal() else name, read_tsv(log))


if __name__ == "__main__":
    run_stage(report)
