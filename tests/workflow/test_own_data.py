"""The same synthetic scenes as a devkit, as a folder and as COCO's files; a run on a folder."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from seedbed.data.index import Index
from seedbed.data.mini.animals import CLASSES
from seedbed.data.mini.dataset import write_mini
from seedbed.data.mini.scenes import draw_scene
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask, write_mask
from stages.convert import convert
from stages.settings import ConvertSettings
from tests.support.workflow_helpers import CONFIG, copy_project, planned, run, snakemake

TRAIN, VAL, SIDE = 24, 8, 64
NAMES = ("<script>", "dappled bear", *CLASSES[2:])  # instead of the scenes' own, in the same order
FOLDER = {"images": "own/images", "labels": "own/labels.csv", "masks": "own/masks"}
COCO = {"instances": "coco/train.json", "images": "coco/train", "val_instances": "coco/val.json",
        "val_images": "coco/val"}  # fmt: skip
JOBS = {"convert", "classifier", "cam", "saliency", "seeds", "train-0", "predict-0-val",
        "crf-0-val", "masks", "evaluate"}  # fmt: skip


def scenes():
    """Id, split and scene of every image of the mini data set of this size."""
    for number in range(1, TRAIN + VAL + 1):
        scene = draw_scene(np.random.default_rng((0, number)), SIDE)
        yield f"2012_{number:06d}", "train" if number <= TRAIN else "val", scene


def write_folder(root, name_of=str, names=CLASSES):
    """The scenes as photos, masks of val, and a table as a spreadsheet may save it."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    with (root / "labels.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "labels"])
        for image_id, split, scene in scenes():
            photo = f"{name_of(image_id)}.png"
            Image.fromarray(scene.image).save(root / "images" / photo)
            table.writerow([photo, "; ".join(names[c - 1] for c in scene.labels)])
            if split == "val":
                write_mask(root / "masks" / photo, scene.mask)


def write_coco(root):
    """The scenes as COCO has them: a region for each animal, no void; category ids with gaps."""
    categories = [{"id": 10 * k, "name": name} for k, name in enumerate(CLASSES)]
    content = {s: {"images": [], "annotations": [], "categories": categories}
               for s in ("train", "val")}  # fmt: skip
    for number, (image_id, split, scene) in enumerate(scenes()):
        (root / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(root / split / f"{image_id}.png")
        photo = {"id": number, "file_name": f"{image_id}.png", "height": SIDE, "width": SIDE}
        content[split]["images"].append(photo)
        for instance in np.unique(scene.instances[scene.mask % 255 > 0]):
            where = scene.instances == instance
            region = coco_mask.encode(np.asfortranarray(where))
            content[split]["annotations"].append({
                "id": len(content[split]["annotations"]), "image_id": number, "iscrowd": 0,
                "category_id": 10 * int(scene.mask[where][0] - 1),
                "segmentation": {**region, "counts": region["counts"].decode()},
            })  # fmt: skip
    for split, found in content.items():
        (root / f"{split}.json").write_text(json.dumps(found))


def converted(data, settings):
    """The index and the masks that a conversion writes."""
    out = data / "converted"
    convert(
        index=out / "index.json",
        input_list=out / "input_list.txt",
        masks=out / "masks.h5",
        mask_folder=out / "masks",
        summary=out / "summary.tsv",
        settings=ConvertSettings(**settings),
        data=data,
    )
    with Maps([out / "masks.h5"]) as masks:
        return Index.load(out / "index.json"), dict(masks)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder that holds the scenes in all three layouts."""
    root = tmp_path_factory.mktemp("data")
    write_mini(root / "mini", seed=0, train=TRAIN, val=VAL, size=SIDE)
    write_folder(root / "own")
    write_coco(root / "coco")
    return root


def test_three_layouts_say_the_same(data):
    devkit, true = converted(data, {"devkit": "mini/VOCdevkit/VOC2012"})
    folder, painted = converted(data, {"folder": FOLDER})
    coco, regions = converted(data, {"coco": COCO})

    def facts(index):
        return [(e.id, e.split, e.labels, e.height, e.width) for e in index.images]

    assert facts(devkit) == facts(folder) == facts(coco)
    assert devkit.classes == folder.classes == coco.classes
    val = [entry.id for entry in devkit.split("val")]
    assert sorted(painted) == val and len(regions) == TRAIN + VAL
    for image_id in val:
        np.testing.assert_array_equal(painted[image_id], true[image_id])
        np.testing.assert_array_equal(regions[image_id], true[image_id] % 255)


def project_with(folder, convert_block):
    """A project whose config names another layout, with one round."""
    config = {**CONFIG, "convert": convert_block, "rounds": CONFIG["rounds"][:1]}
    return copy_project(folder, config)


@pytest.mark.parametrize("layout", [{"coco": COCO}, {"folder": FOLDER}], ids=["coco", "folder"])
def test_a_layout_is_one_key_over_a_recipe(tmp_path, data, layout):
    project = project_with(tmp_path, {**CONFIG["convert"], "coco": None, "folder": None})
    (project / "data").symlink_to(data)
    (project / "own.yaml").write_text(yaml.safe_dump({"convert": layout}))
    assert planned(project, "results/miou.txt", "--configfile", "config.yaml", "own.yaml") == JOBS


def test_a_missing_table_is_named_before_anything_runs(tmp_path):
    project = project_with(tmp_path, {"folder": FOLDER})
    (project / "data/own/images").mkdir(parents=True)
    status, messages = snakemake(project, "--dry-run")
    assert status == 1 and "data/own/labels.csv: does not exist" in messages


def test_a_folder_is_segmented_from_a_table_of_labels(tmp_path):
    project = project_with(tmp_path, {"folder": FOLDER})
    write_folder(project / "data" / "own", lambda one: f"Bild {one[-2:]} ü", NAMES)
    run(project, "results/miou.txt")
    figures = json.loads((project / "results/metrics.json").read_text())
    assert figures["iou"].keys() == {"background", *NAMES}
    assert (figures["split"], figures["images"]) == ("val", VAL)
    mask = read_mask(project / "results/masks/Bild 32 ü.png")
    assert mask.shape == (SIDE, SIDE) and mask.max() <= len(NAMES)
