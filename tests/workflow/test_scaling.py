"""What must not grow with images and shards, and what may grow no faster than they do."""

import gc
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest

from benchmarks import scaling
from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import MAX_OPEN_FILES, Maps, write_maps
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import run_stage
from tests.stages.test_stages import given
from tests.support.workflow_helpers import CONFIG, ROOT, copy_project, snakemake

FEW, MANY = 2, 12
SHARDED = 1 + 1 + 1 + 2 * 2 * 2  # cam, saliency, group CAM; two rounds, two splits, two steps
# What gathers all shards of a step.
GATHERING = {"seeds", "pseudo_labels", "targets", "masks", "audit", "report"}


@pytest.fixture(scope="module")
def plans(tmp_path_factory) -> dict[int, str]:
    """What dry runs with few and with many shards say."""
    project = copy_project(tmp_path_factory.mktemp("scaling"), CONFIG)
    plans = {}
    for shards in (FEW, MANY):
        config = ("--config", f"run={{shards: {shards}}}")
        status, plans[shards] = snakemake(project, "--dry-run", "--printshellcmds", *config)
        assert status == 0, plans[shards]
    return plans


def jobs(plan: str) -> int:
    return int(re.search(r"^total +(\d+)$", plan, re.MULTILINE)[1])


def commands(plan: str) -> dict[str, str]:
    """The command of each stage that gathers shards, without what writes its log."""
    found = re.findall(r"(python -m stages\.(\w+) .*) 2>&1 \| tee", plan)
    return {stage: command for command, stage in found if stage in GATHERING}


def inputs(plan: str, rule: str) -> list[str]:
    return re.search(rf"^rule {rule}:\n    input: (.*)", plan, re.MULTILINE)[1].split(", ")


def seen_by_python(command: str) -> list[str]:
    """The arguments that bash hands over, in a process of its own as in a real run."""
    show = "import sys; print('\\0'.join(sys.argv[1:]))"
    shown = command.replace("python", f"{sys.executable} -c {shlex.quote(show)}", 1)
    ended = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True)
    return ended.stdout.removesuffix("\n").split("\0")


def test_jobs_grow_with_the_shards_and_no_faster(plans):
    assert jobs(plans[MANY]) - jobs(plans[FEW]) == SHARDED * (MANY - FEW)


def test_a_command_does_not_grow_with_the_shards(plans):
    few, many = commands(plans[FEW]), commands(plans[MANY])
    assert few.keys() == GATHERING
    for stage, command in many.items():
        # Only the numbers themselves have more digits: three at most for each step.
        assert len(command) - len(few[stage]) <= 3 * few[stage].count("-of-")


@pytest.mark.parametrize("stage", sorted(GATHERING))
def test_a_command_still_names_every_shard(plans, stage):
    _, _, *arguments = seen_by_python(commands(plans[MANY])[stage])
    paths = set()
    for value in given(stage, arguments).values():
        paths |= set(map(str, value)) if isinstance(value, list) else {str(value)}
    shards = {path for path in inputs(plans[MANY], stage) if "-of-" in path}
    assert len(shards) >= MANY and shards == {path for path in paths if "-of-" in path}


@pytest.mark.parametrize("stage", sorted(GATHERING))
def test_linux_takes_the_command_of_4096_shards(plans, stage):
    # 128 KiB an argument, and a whole command of bash is one; 2 MiB all arguments of a program.
    command = commands(plans[MANY])[stage].replace(f"of-{MANY}", "of-4096")
    command = command.replace(f"..{MANY}", "..4096")
    _, _, *arguments = seen_by_python(command)
    named = "refined" if stage in ("masks", "targets", "audit", "report") else "saliency"
    paths = [path.name for path in given(stage, arguments)[named]]
    assert paths[:4096] == [f"{number}-of-4096.h5" for number in range(1, 4097)]


def test_maps_of_many_files_keep_few_open(tmp_path):
    paths = [tmp_path / f"{number}.h5" for number in range(MAX_OPEN_FILES + 8)]
    for number, path in enumerate(paths):
        with write_maps(path) as maps:
            for image_id in (f"a{number}", f"b{number}"):
                maps.put(image_id, np.full(3, number))
    found = Maps(paths)
    for letter in "ab":
        for number in range(len(paths)):
            assert found[f"{letter}{number}"].tolist() == [number] * 3
    assert list(found)[:3] == ["a0", "b0", "a1"] and len(found) == 2 * len(paths)
    opened = [link for link in Path("/proc/self/fd").iterdir() if _leads_to(link, tmp_path)]
    assert len(opened) == MAX_OPEN_FILES
    found.close()
    assert not [link for link in Path("/proc/self/fd").iterdir() if _leads_to(link, tmp_path)]
    assert found["b2"].tolist() == [2] * 3


def _leads_to(link: Path, folder: Path) -> bool:
    return link.is_symlink() and str(link.readlink()).startswith(f"{folder}/")


def test_a_worker_reads_maps_that_its_parent_has_open(tmp_path):
    paths = [tmp_path / f"{number}.h5" for number in range(4)]
    for number, path in enumerate(paths):
        with write_maps(path) as maps:
            maps.put(str(number), np.full(2, number))
    found = Maps(paths)
    assert len(found) == 4 and found["3"].tolist() == [3, 3]
    read = list(ordered_map(found.__getitem__, ["0", "1", "2", "3"], 2))
    assert [each.tolist() for each in read] == [[k, k] for k in range(4)]


def test_what_all_maps_together_tell_is_added_to_them(tmp_path):
    with write_maps(tmp_path / "a.h5", levels=255) as maps:
        maps.put("x", np.zeros(2))
        maps.mark("x", kept=True)
    assert Maps(tmp_path / "a.h5").attributes("x") == {"levels": 255, "kept": True}


def test_numbers_in_braces_are_those_of_bash():
    def stage(*, files: Annotated[list[Path], "files"], text: Annotated[str, "text"]) -> None:
        found.append((files, text))

    found = []
    run_stage(stage, ["--files", "a b/{1..3}-of-3.h5", "c", "--text", '{"x": "{1..3}"}'])
    names = ["a b/1-of-3.h5", "a b/2-of-3.h5", "a b/3-of-3.h5", "c"]
    assert found == [([Path(name) for name in names], '{"x": "{1..3}"}')]


def index_of(count: int) -> Index:
    images = tuple(
        ImageEntry(f"é {k}", f"a/é {k}.jpg", 3, 5, (1, 2)[: 1 + k % 2], "train", k == 0, "0" * 64)
        for k in range(count)
    )
    return Index((ClassInfo("Hündin", 8), ClassInfo('"c"', 12)), images, "annotations", ("é 0",))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_index_is_json_with_a_line_an_image(tmp_path, count):
    path = tmp_path / "index.json"
    index_of(count).save(path)
    assert Index.load(path) == index_of(count)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert len(content["images"]) == count and content["palette"][1] == [128, 0, 0]
    assert content["classes"][0] == {"name": "Hündin", "source_id": 8}
    first, *images, last = path.read_text(encoding="utf-8").splitlines()
    assert len(images) == count and last == "]}" and first.endswith('"images": [')
    assert not list(tmp_path.glob(".*"))


def test_loading_an_index_leaves_the_garbage_collector_on(tmp_path):
    index_of(2).save(tmp_path / "index.json")
    Index.load(tmp_path / "index.json")
    assert gc.isenabled()
    with pytest.raises(UserError, match=r"none\.json.*remake"):
        Index.load(tmp_path / "none.json")
    assert gc.isenabled()


def test_the_benchmark_measures_a_child_and_stops_it(tmp_path):
    log = tmp_path / "log"
    # From a process of its own: a child's peak begins with what its parent holds.
    call = f"measure(python('x = bytearray(300_000_000)'), 60, pathlib.Path({str(log)!r}))"
    code = f"import pathlib; from benchmarks.scaling import *; print(*{call})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    seconds, megabytes, stopped = ended.stdout.decode().split()
    assert 290 < float(megabytes) < 450 and float(seconds) < 30 and stopped == "False"
    endless = scaling.measure(scaling.python("while True: pass"), 0.5, log)
    assert endless.stopped and "stopped" in str(endless)
    with pytest.raises(RuntimeError, match="no such thing"):
        scaling.measure(scaling.python("raise SystemExit('no such thing')"), 60, log)


def test_the_benchmark_writes_an_index_that_loads(tmp_path):
    images, written, loaded, size = scaling.index_row(24, 60, tmp_path)
    assert images == 24 and not written.stopped and not loaded.stopped and size == "0 MB"
    assert len(Index.load(tmp_path / "index.json").split("val")) == 3


def test_the_benchmark_reads_all_maps(tmp_path):
    shards, maps, read = scaling.shard_row(3, 60, tmp_path)
    assert (shards, maps) == (3, 3 * scaling.MAPS_A_SHARD) and not read.stopped
