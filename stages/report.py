"""One page that shows the run: quality of each step, training curves, a gallery, and costs."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from seedbed.data.index import SPLITS, ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.formats.palette import VOC_PALETTE
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
from stages.chain_options import ChainOptions
from stages.command import Data, Workers, run_stage
from stages.settings import ReportSettings


@dataclass(frozen=True)
class TableOptions:
    """Tables and logs of a run; the page leaves out what is not given."""

    quality: Annotated[Path | None, "quality.tsv"] = None
    metrics: Annotated[Path | None, "metrics.json"] = None
    logs: Annotated[list[Path], "log.tsv of the trainings, in order"] = ()
    benchmarks: Annotated[Path | None, "folder of Snakemake's benchmark files"] = None
    benchmarks_elsewhere: Annotated[
        list[Path], "benchmark files, or folders of them, of rules that write to other folders"
    ] = ()
    jobs: Annotated[Path | None, "what snakemake --dag prints"] = None


def report(
    *,
    index: Annotated[Path, "dataset/index.json"],
    output: Annotated[Path, "to write: the page"],
    files: Annotated[Path, "to write: the folder of its pictures, beside the page"],
    settings: ReportSettings,
    data: Data,
    workers: Workers,
    chain: ChainOptions,
    tables: TableOptions,
    truth: Annotated[list[Path], "dataset/masks.h5; without it no IoU and no error maps"] = (),
    group_cams: Annotated[list[Path], "group/cam/*.h5"] = (),
    walks: Annotated[list[Path], "affinity/cam/*.h5"] = (),
    config: Annotated[str, "settings of the run, as JSON"] = "{}",
) -> None:
    """Write the page and the pictures of the steps whose artefacts are given.

    Device and versions on the page are those of this job, not of the trainings.
    """
    if files.parent != output.parent:
        raise UserError(f"{files} is not beside {output}: name a folder beside the page")
    dataset = Index.load(index)
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
        "config": parse_config(config),
        "versions": versions(),
        "device": device_name(kind_of_device("auto")),
        **table_values(tables),
        **gallery_values(gallery, dataset, files, settings.images, workers),
    }
    write_text(output, render("page.html.j2", **values))


def parse_config(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """The settings of the run from JSON; UserError if the text is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"--config: {error}: give the settings as JSON") from error


def table_values(tables: TableOptions) -> dict[str, Any]:
    """What the page shows of the run's tables, logs and graph of jobs."""
    edges = rule_edges(read_job_graph(read_utf8(tables.jobs))) if tables.jobs else ([], [])
    return {
        "quality": quality_by_list(read_tsv(tables.quality)) if tables.quality else {},
        "metrics": read_metrics(tables.metrics) if tables.metrics else None,
        "curves": [chart for log in tables.logs if (chart := training_chart(log))],
        "costs": rule_costs(tables.benchmarks, tables.benchmarks_elsewhere),
        "rules": draw(*edges),
    }


def read_utf8(path: Path) -> str:
    """The text of a file; UserError if it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path}: {error}; remake it") from error


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
