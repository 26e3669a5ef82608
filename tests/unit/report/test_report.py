"""The report page's parts: pictures, gallery, curves, tables, and the drawing of the rules."""

import os
import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.evaluation.chain import ChainFiles
from seedbed.formats.maps import Maps
from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.tables import write_tsv
from seedbed.report.charts import MAX_POINTS, line_chart
from seedbed.report.columns import mask_columns, picture_columns
from seedbed.report.gallery import Gallery, spread
from seedbed.report.job_graph import read_job_graph, rule_edges
from seedbed.report.layered_drawing import draw
from seedbed.report.pictures import (
    CONFUSED,
    CORRECT_BACKGROUND,
    CORRECT_OBJECT,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    class_picture,
    error_map,
    fit_size,
    grey_picture,
    resize_nearest,
    write_mask_strip,
)
from seedbed.report.tables import quality_by_list, rule_costs
from seedbed.runtime.errors import UserError
from tests.support.report_helpers import IDS, JOBS, entries, write_run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def gallery_of(data: Path, files: ChainFiles, *, num_classes: int, truth: list[Path]) -> Gallery:
    pictures = picture_columns(files, group_cams=(), walks=())
    return Gallery(data, num_classes, Maps(truth), pictures, mask_columns(files), side=16)


def test_sizes_keep_proportions_and_never_grow():
    assert fit_size(500, 250, 100) == (100, 50)
    assert fit_size(40, 30, 100) == (40, 30)
    assert fit_size(1, 1000, 100) == (1, 100)


def test_nearest_resizing_takes_the_pixels_at_the_centres():
    rows = np.arange(8)[:, None] * 10 + np.arange(4)
    assert resize_nearest(rows, (4, 2)).tolist() == [[11, 13], [31, 33], [51, 53], [71, 73]]
    assert resize_nearest(rows[:1, :2], (2, 4)).tolist() == [[0, 0, 1, 1]] * 2
    assert resize_nearest(np.stack([rows, -rows]), (1, 1)).ravel().tolist() == [42, -42]


def test_class_pictures_show_the_best_class_as_bright_as_its_value():
    maps = np.array([[[1.0, 0.5, 0.0]], [[0.5, 0.75, 0.0]]])
    picture = class_picture(maps, [2, 5])
    assert picture.tolist() == [
        [VOC_PALETTE[2].tolist(), (VOC_PALETTE[5] * 0.75).tolist(), [0, 0, 0]]
    ]
    assert not class_picture(np.zeros((0, 1, 3)), []).any()
    assert grey_picture(np.array([[0, 0.5, 1]])).tolist() == [[[0] * 3, [127] * 3, [255] * 3]]


def test_error_map_by_hand():
    truth = np.uint8([[0, 1, 1, 1, 0, 1, 255, 255, 0]])
    mask = np.uint8([[0, 1, 0, 255, 2, 2, 255, 1, 255]])
    expected = [
        *(
            CORRECT_BACKGROUND,
            CORRECT_OBJECT,
            FALSE_NEGATIVE,
            FALSE_NEGATIVE,
            FALSE_POSITIVE,
            CONFUSED,
        ),
        *(255, 255, FALSE_NEGATIVE),
    ]
    assert error_map(truth, mask).tolist() == [expected]


def test_mask_strips_keep_every_id(tmp_path):
    masks = [np.uint8([[0, 20, 255]]), np.uint8([[FALSE_POSITIVE, 1, 2]])]
    write_mask_strip(tmp_path / "m.png", masks)
    with Image.open(tmp_path / "m.png") as image:
        assert np.array(image).tolist() == [[0, 20, 255, FALSE_POSITIVE, 1, 2]]
        colours = np.array(image.convert("RGB"))[0]
    assert colours[1].tolist() == VOC_PALETTE[20].tolist()
    assert colours[3].tolist() == [230, 159, 0]


def test_a_row_tells_the_order_of_its_strips(run, tmp_path):
    files = ChainFiles(cams=run["cams"], pseudo_labels=run["pseudo_labels"], refined=run["refined"])
    gallery = gallery_of(run["data"], files, num_classes=3, truth=run["truth"])
    assert gallery.columns == [
        *("photo", "CAM", "pseudo label", "round 0 + CRF", "round 1 + CRF", "truth", "error")
    ]
    half, val = entries()[1], entries()[2]
    row = gallery.draw(half, tmp_path)
    assert (row["id"], row["split"], row["tags"], row["size"]) == (IDS[1], "train", [2], [16, 12])
    assert row["pictures"] == [0, 1]
    # The pseudo label is perfect; in the final mask half of the object is background.
    object_, background = 0.5, 15 / (15 + 8)
    expected = round((object_ + background) / 2, 3)
    assert row["masks"] == [[2, 1.0], [3, expected], [4, expected], [5, None], [6, None]]
    strip = np.array(Image.open(tmp_path / f"{IDS[1]}.png"))
    assert strip.shape == (12, 5 * 16)
    truth, error = strip[:, 48:64], strip[:, 64:]
    assert truth[0, [0, 7, 8, 15]].tolist() == [2, 2, 0, 0]  # every second pixel, from the second
    assert error[[0, 11], 0].tolist() == [CORRECT_OBJECT, FALSE_NEGATIVE]
    assert np.array(Image.open(tmp_path / f"{IDS[1]}.jpg")).shape == (12, 2 * 16, 3)
    row = gallery.draw(val, tmp_path)
    assert row["pictures"] == [0] and [column for column, _ in row["masks"]] == [3, 4, 5, 6]
    assert gallery.final_score(half) == expected
    assert gallery.final_score(val) == round(15 / 31 / 2, 3)


def test_images_are_chosen_evenly_from_worst_to_best():
    scores = [0.9, 0.1, None, 0.5, 0.3]  # from the worst: 2, 1, 4, 3, 0
    assert spread(scores, 3) == [0, 2, 4]
    assert spread(scores, 1) == [2]
    assert spread(scores, 9) == [0, 1, 2, 3, 4] and spread([], 3) == []
    assert spread([None] * 5, 3) == [0, 2, 4]


def test_curves_are_scaled_between_round_numbers():
    rows = [
        {"step": "0", "rate": "9", "a": "0", "b": ""},
        {"step": "10", "rate": "9", "a": "1", "b": "nan"},
    ]
    chart = line_chart("t", rows)
    (line,) = chart.lines  # neither the rate nor a column without numbers is drawn
    assert (line.name, line.points) == (
        "a",
        f"{chart.left:.1f},{chart.bottom:.1f} {chart.right:.1f},{chart.top:.1f}",
    )
    assert [tick.label for tick in chart.x_ticks][-1] == "10" and chart.y_ticks[0].label == "0"
    assert chart.y_ticks[0].position > chart.y_ticks[-1].position


def test_long_logs_are_subsampled_and_keep_their_last_row():
    rows = [{"step": str(k), "loss": str(k)} for k in range(1, 1002)]
    points = line_chart("t", rows).lines[0].points.split()
    full = line_chart("t", rows[-1:]).lines[0].points
    assert MAX_POINTS / 2 < len(points) <= MAX_POINTS and len(full.split()) == 1
    last_x = float(points[-1].split(",")[0])
    assert last_x == max(float(point.split(",")[0]) for point in points)
    assert points[-1] == line_chart("t", [rows[0], rows[-1]]).lines[0].points.split()[-1]


def test_logs_without_numbers_have_no_curves():
    assert line_chart("t", []) is None
    assert line_chart("t", [{"step": "1", "rate": "2"}]) is None


def test_steps_come_in_the_order_of_the_chain():
    cells = [("", "cam", "1"), ("1", "targets", ""), ("0", "crf", "0.25")]
    shared = {"list": "train", "images": "3", "miou": "0.5"}
    rows = [{**shared, "round": k, "step": step, "iou a": iou} for k, step, iou in cells]
    steps = quality_by_list(rows)["train"]
    assert [step.name for step in steps] == ["cam", "round 0: crf", "round 1: targets"]
    assert [step.iou["a"] for step in steps] == [1, 0.25, None]
    assert (steps[0].miou, steps[0].precision, steps[0].images) == (0.5, None, "3")


def test_costs_by_rule_leave_out_shards_of_another_run(tmp_path):
    times = {"cam/1-of-1": 9, "cam/1-of-2": 3, "cam/2-of-2": 4, "audit": 2, "crf/0-val-1-of-2": 1}
    for age, (name, seconds) in enumerate(times.items()):
        path = tmp_path / f"{name}.tsv"
        write_tsv(path, [{"s": 99, "max_rss": 1}, {"s": seconds, "max_rss": 10 * seconds}])
        os.utime(path, (age, age))
    costs = {cost.rule: cost for cost in rule_costs(tmp_path)}
    assert set(costs) == {"cam", "audit", "crf"}
    cam = costs["cam"]
    assert (cam.jobs, cam.seconds, cam.longest, cam.megabytes) == (2, 7, 4, 40)


def test_a_benchmark_file_without_rows_does_not_count(tmp_path):
    (tmp_path / "cam.tsv").write_text("s\tmax_rss\n")
    assert rule_costs(tmp_path) == []


def test_rules_are_below_those_that_their_first_jobs_need():
    drawing = draw(*rule_edges(read_job_graph(JOBS)))
    place = {box.name: box.y for box in drawing.boxes}
    assert place["convert"] < place["train"] < place["crf"] < place["all"]
    assert len(drawing.forward) == 3  # convert → crf is implied by convert → train → crf
    (back,) = drawing.back  # crf → train leads to the next round and ends below train
    x, y = {box.name: (box.x, box.y) for box in drawing.boxes}["train"]
    assert back.endswith(f" {x:g} {y + drawing.box_height / 2:g}")


def drawn(*edges: str):
    """The drawing of a run with one job for each rule; "ab" is an edge from rule a to rule b."""
    graph = nx.DiGraph([tuple(edge) for edge in edges])
    nx.set_node_attributes(graph, {name: name for name in graph}, "rule")
    return draw(*rule_edges(graph))


def test_rules_of_a_layer_do_not_overlap_and_are_inside_the_picture():
    drawing = drawn("ab", "ac", "bd", "cd", "ax", "xy", "yz", "de", "ze")
    for box in drawing.boxes:
        others = [o for o in drawing.boxes if o.y == box.y and o is not box]
        assert all(abs(o.x - box.x) > drawing.box_width for o in others)
        assert drawing.box_width / 2 < box.x < drawing.width - drawing.box_width / 2
        assert drawing.box_height / 2 < box.y < drawing.height - drawing.box_height / 2


def test_a_long_edge_passes_beside_the_rules_of_the_layers_it_crosses():
    drawing = drawn("ab", "bc", "cd", "ak", "kd")
    place = {box.name: (box.x, box.y) for box in drawing.boxes}
    (path,) = (p for p in drawing.forward if p.startswith("M{:g} {:g}C".format(*place["k"])))
    points = re.findall(r"([\d.]+) ([\d.]+)(?=C|$)", path)
    passed = [float(x) for x, y in points if float(y) == place["c"][1]]
    assert len(passed) == 1 and abs(passed[0] - place["c"][0]) > drawing.box_width / 2


def test_layers_are_ordered_to_avoid_crossings():
    drawing = drawn("ab", "ac", "ad", "bz", "cy", "dx")
    place = {box.name: box.x for box in drawing.boxes}
    assert [place[name] for name in "zyx"] == [place[name] for name in "bcd"]


def test_empty_and_cyclic_graphs():
    assert drawn() is None
    with pytest.raises(UserError, match="snakemake --dag"):
        drawn("ab", "bc", "cb")


def test_too_many_classes_for_the_error_codes_are_refused(tmp_path):
    with pytest.raises(UserError, match="at most 250 classes, not 251"):
        gallery_of(tmp_path, ChainFiles(), num_classes=251, truth=[])
