"""One page that shows the run: quality of each step, training curves, a gallery, and costs."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from seedbed.data.index import SPLITS, ImageEntry, Index
from seedbed.evaluation.chain import ChainFiles
from seedbed.formats.maps import Maps
from seedbed.formats.masks import VOC_PALETTE
from seedbed.formats.tables import read_tsv, write_text
from seedbed.report.charts import LineChart, line_chart
from seedbed.report.columns import mask_columns, picture_columns
from seedbed.report.environment import device_name, versions
from seedbed.report.gallery import Gallery, spread
from seedbed.report.job_graph import read_job_graph, rule_edges
from seedbed.report.layered_drawing import draw
from seedbed.report.page import render
from seedbed.report.pictures import OUTCOMES
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
        raise UserError(f"{files} is not beside {output}: name a folder beside the page")
    dataset = Index.load(index)
    chain = ChainFiles(cams, saliency, cues, pseudo_labels, targets, predictions, refined)
    gallery = Gallery(
        data=data,
        num_classes=dataset.num_classes,
        truth=Maps(truth),
        pictures=picture_columns(chain, group_cams=group_cams, walks=walks),
        masks=mask_columns(chain),
        side=settings.side,
    )
    values = {
        "run": output.absolute().parent.name,
        "dataset": dataset,
        "config": json.loads(config),
        "versions": versions(),
        "device": device_name(kind_of_device(device)),
        **table_values(quality, metrics, logs, benchmarks, jobs),
        **gallery_values(gallery, dataset, files, settings.images, workers),
    }
    write_text(output, render("page.html.j2", **values))


def table_values(
    quality: Path | None,
    metrics: Path | None,
    logs: Sequence[Path],
    benchmarks: Path | None,
    jobs: Path | None,
) -> dict[str, Any]:
    """What the page shows of the run's tables, logs and graph of jobs."""
    edges = rule_edges(read_job_graph(jobs.read_text())) if jobs else ([], [])
    return {
        "quality": quality_by_list(read_tsv(quality)) if quality else {},
        "metrics": read_metrics(metrics) if metrics else None,
        "curves": [chart for log in logs if (chart := training_chart(log))],
        "costs": rule_costs(benchmarks) if benchmarks else [],
        "rules": draw(*edges),
    }


def training_chart(log: Path) -> LineChart | None:
    """The curves of a training, named by its folder: classifier, group, or a round's number."""
    name = log.absolute().parent.name
    return line_chart(f"round {name}" if name.isdecimal() else name, read_tsv(log))


def gallery_values(
    gallery: Gallery, dataset: Index, files: Path, max_images: int, workers: int
) -> dict[str, Any]:
    """Write the gallery's pictures into the folder `files`; returns what the page shows of it."""
    entries = chosen_entries(gallery, dataset, max_images, workers)
    with atomic_folder(files) as folder:
        rows = list(ordered_map(partial(gallery.draw, folder=folder), entries, workers))
    content = {
        "folder": files.name,
        "columns": gallery.columns,
        "classes": dataset.class_names,
        "rows": rows,
    }
    return {
        "gallery": content,
        "scored": any(iou is not None for row in rows for _, iou in row["masks"]),
        "outcomes": {name: colour for name, (_, colour) in OUTCOMES.items()},
        "palette": VOC_PALETTE.tolist(),
    }


def chosen_entries(
    gallery: Gallery, dataset: Index, max_images: int, workers: int
) -> list[ImageEntry]:
    """The images to show; of a split with more than `max_images`, evenly from worst to best."""
    chosen: list[ImageEntry] = []
    for split in SPLITS:
        entries = [entry for entry in dataset.split(split) if entry in gallery]
        if len(entries) > max_images:
            scores = list(ordered_map(gallery.final_score, entries, workers))
            entries = [entries[k] for k in spread(scores, max_images)]
        chosen += entries
    return chosen


if __name__ == "__main__":
    run_stage(report)
