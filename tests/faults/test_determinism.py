"""The same config and seed in other folders, shards and cores: the same bytes, image by image."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seedbed.formats.maps import Maps
from tests.support.fault_helpers import ASIDE, artefacts, digest, running
from tests.support.workflow_helpers import CONFIG, ROOT, copy_project, finished_run

OTHER = "elsewhere/other"
CAMS = [f"cam/{k}-of-2.h5" for k in (1, 2)]


def one_in_shards(name: str) -> str:
    """A shard's name without its number."""
    return re.sub(r"\d+-of-\d+\.h5$", "*.h5", name)


def images(files: list[Path]) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """What a map file, or all of its shards, holds of every image."""
    with Maps(sorted(files)) as maps:
        return {image: (maps[image], maps.attributes(image)) for image in maps}


def compare(one: Path, other: Path) -> tuple[int, int]:
    """Two folders of results agree: the numbers of artefacts and of images inside shards."""
    found = [artefacts(one), artefacts(other)]
    shards: list[dict[str, list[Path]]] = [defaultdict(list), defaultdict(list)]
    for folder, digests, groups in zip((one, other), found, shards, strict=True):
        for name in [name for name in digests if one_in_shards(name) != name]:
            groups[one_in_shards(name)].append(folder / name)
            del digests[name]
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []
    assert shards[0].keys() == shards[1].keys()
    return len(found[0]), sum(compare_shards(files, shards[1][n]) for n, files in shards[0].items())


def compare_shards(one: list[Path], other: list[Path]) -> int:
    """The same images, arrays and attributes; their number."""
    first, second = images(one), images(other)
    assert first.keys() == second.keys()
    for image, (array, about) in first.items():
        array_too, about_too = second[image]
        assert array.dtype == array_too.dtype and np.array_equal(array, array_too), (one, image)
        assert about.keys() == about_too.keys(), (one, image)
        assert all(np.array_equal(about[key], about_too[key]) for key in about), (one, image)
    return len(first)


def elsewhere(folder: Path, config: dict, shards: int) -> Path:
    """Another checkout that cuts the work otherwise and writes into another folder."""
    run = {**config["run"], "shards": shards}
    return copy_project(folder, {**config, "run": run, "pathvars": {"results": OTHER}})


def make(project: Path, cores: int, *targets: str) -> None:
    with running(project, *targets, "--cores", str(cores)) as run:
        run.end()


def test_shards_cores_and_folder_change_no_byte_of_the_maps(tmp_path, tmp_path_factory):
    finished = finished_run(tmp_path_factory.getbasetemp())
    project = elsewhere(tmp_path / "other", CONFIG, shards=2)
    make(project, 1, *(f"{OTHER}/{name}" for name in ("jobs.dot", *CAMS)))
    assert artefacts(project / "data") == artefacts(finished / "data")
    made = {path.name for path in (project / OTHER).iterdir()} - ASIDE
    assert made == {"jobs.dot", "dataset", "classifier", "cam"}
    for name in made - {"jobs.dot"}:
        compare(project / OTHER / name, finished / "results" / name)
    assert digest(project / OTHER / "jobs.dot") == digest(finished / "results/jobs.dot")


@pytest.mark.soak
def test_shards_cores_and_folder_change_no_byte_of_the_default_run(tmp_path):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    one = copy_project(tmp_path / "one", config)
    other = elsewhere(tmp_path / "other", config, shards=3)
    make(one, 2)
    make(other, 1)
    assert artefacts(one / "data") == artefacts(other / "data")
    files, images = compare(one / "results", other / OTHER)
    print(
        f"\nruns 2 (cores 2 and 1, shards 1 and 3), artefacts compared {files}, images inside "
        f"shards compared {images}, differing 0, seed 0"
    )
