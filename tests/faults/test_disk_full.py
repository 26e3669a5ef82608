"""Full and read-only disks, and folders of others: one line, nothing broken, later it goes on."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seedbed.formats.cue_pickle import write_cue_pickle
from seedbed.formats.hdf5_sink import Hdf5Sink
from seedbed.formats.maps import write_maps
from seedbed.formats.masks import save_mask, write_mask
from seedbed.formats.overlay import write_overlay
from seedbed.formats.psa import write_scores
from seedbed.formats.tables import write_json, write_text, write_tsv
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.report.pictures import write_photo_strip
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError
from seedbed.training.checkpoint import Checkpoint
from stages.archive import pack
from stages.command import run_stage
from tests.faults.test_workers import in_child, make_data, saliency_maps, the_line, train
from tests.support.workflow_helpers import CONFIG, ROOT, copy_project, finished_run

torch.set_num_threads(1)
NOISE = np.random.default_rng(0).integers(0, 256, (1000, 2000), np.uint8)  # does not compress
PHOTO = np.stack([NOISE, NOISE[::-1], NOISE[:, ::-1]], axis=-1)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A real disk of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path]
    try:
        made = subprocess.run(call, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk needs the program mount")
    if made.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {made.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)  # at once, whatever is still open


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def maps_of(path: Path) -> None:
    with write_maps(path, rule="x") as maps:
        for number in range(40):
            maps.put(f"a{number}", NOISE[25 * number :][:25])


def many_small_maps(path: Path) -> None:
    with write_maps(path) as maps:
        for number in range(2000):
            maps.put(f"a{number}", NOISE[0, number : number + 9], kept=True)


def pictures(save: Callable[[Path, np.ndarray], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with atomic_folder(path) as folder:
            for number in range(10):
                save(folder / f"{number}.png", NOISE[100 * number :][:100])

    return write


def photos(path: Path) -> None:
    with atomic_folder(path) as folder:
        for number in range(10):
            write_photo_strip(folder / f"{number}.jpg", [PHOTO[100 * number :][:100]])


def archive(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(NOISE).save(Path(folder) / "a.png")
        pack(Path(folder), path)


def network(path: Path) -> None:
    torch.manual_seed(0)
    save_network(path, build("squeezenet1_0_cls", 6), "squeezenet1_0_cls", 6, {}, list("abcdef"))


WRITERS = {
    "text": lambda path: write_text(path, "line\n" * 300_000),
    "table": lambda path: write_tsv(path, [{"id": "a" * 1000, "miou": 1 / 3}] * 2000),
    "json": lambda path: write_json(path, ["a" * 1000] * 2000),
    "maps": maps_of,
    "many_maps": many_small_maps,
    "mask": lambda path: write_mask(path, NOISE),
    "masks": pictures(save_mask),
    "previews": pictures(lambda path, pixels: Image.fromarray(pixels).save(path)),
    "photos": photos,
    "overlay": lambda path: write_overlay(path, PHOTO, NOISE % 21),
    "scores": lambda path: write_scores(path, {0: NOISE}),
    "pickle": lambda path: write_cue_pickle(path, [np.ones((3, 200, 200))] * 2, [(1,), (2,)]),
    "archive": archive,
    "network": network,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(disk, tmp_path, name):
    write, path = WRITERS[name], disk / "results" / f"{name}.file"
    write_text(path / "old" if name in ("masks", "previews", "photos") else path, "old")
    before = content(disk)
    with pytest.raises(UserError) as error:
        write(path)
    reason = "No space left on device; make room and run the same command again"
    assert str(error.value) == f"cannot write {path}: {reason}"
    assert content(disk) == before
    remount(disk, "size=30m")
    write(path)
    write(tmp_path / path.name)
    assert list(disk.rglob("*.file*")) == [path]
    if path.is_dir():
        assert content(path) == content(tmp_path / path.name)
    else:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_a_write_cut_short_is_a_failure(disk):
    """The system writes what there is room for, and only the number of bytes tells."""
    with Hdf5Sink(disk / "a", "w+") as sink:
        assert sink.write(memoryview(bytes(2 << 20))) == 2 << 20
        with pytest.raises(OSError, match="No space left"):
            sink.check()


def test_writing_maps_ends_when_the_disk_is_full(disk):
    """At once, not after all the other maps have been computed."""
    with pytest.raises(UserError, match="No space left"), write_maps(disk / "a.h5") as maps:
        for number in range(10):
            maps.put(str(number), NOISE[:500])
    assert number <= 2  # HDF5 writes a map when the next one comes


def test_a_checkpoint_on_a_full_disk(disk):
    small, large = ({"model": nn.Linear(side, side)} for side in (200, 600))
    checkpoint = Checkpoint(disk / "weights.pt", "digest")
    checkpoint.save(1, small)
    before = content(disk)
    with pytest.raises(UserError, match=r"cannot write .*weights\.pt\.checkpoint: No space left"):
        checkpoint.save(2, large)
    assert content(disk) == before and checkpoint.load()["step"] == 1
    remount(disk, "size=10m")
    checkpoint.save(2, large)
    assert checkpoint.load()["step"] == 2


def test_a_read_only_disk(disk):
    path = disk / "results/a.file"
    write_text(path, "old")
    remount(disk, "ro")
    reason = "Read-only file system; let this user write there"
    for name in ("text", "maps", "masks", "photos", "network"):
        with pytest.raises(UserError, match=f"^cannot write {path}: {reason}"):
            WRITERS[name](path)
        with pytest.raises(UserError, match=f"^cannot write .*/new/a.file: {reason}"):
            WRITERS[name](disk / "new/a.file")
    with pytest.raises(UserError, match=f"checkpoint: {reason}"):
        Checkpoint(path, "digest").save(1, {})
    remount(disk, "rw")
    assert content(disk) == {"results/a.file": b"old"}


def test_a_folder_of_someone_else():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        path = Path(folder) / "results/a.file"

        def write(name: str) -> None:
            if os.getuid() == 0:  # whom no permission binds
                os.setuid(65534)
            run_stage(lambda: WRITERS[name](path), [])

        for name in ("text", "maps", "masks"):
            line = the_line(in_child(write, name))
            assert line.startswith(f"cannot write {path}: Permission denied; let this user write")
        assert not any(Path(folder).iterdir())


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "results").touch()
    for name in ("text", "maps", "masks"):
        with pytest.raises(
            UserError, match=r"cannot write .*/results/a\.file: (Not a|File exists)"
        ):
            WRITERS[name](tmp_path / "results/a.file")


@pytest.mark.parametrize("name", ["text", "maps", "masks", "network"])
def test_a_limit_on_the_size_of_files(tmp_path, name):
    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        run_stage(lambda: pictures_or(name)(tmp_path / "a.file"), [])

    line = the_line(in_child(write))
    assert "a.file: File too large; raise the limit on files (ulimit -f)" in line
    assert not any(tmp_path.iterdir())


def pictures_or(name: str) -> Callable[[Path], None]:
    """The writer of that name; that of masks writes large ones."""
    large = pictures(lambda path, pixels: save_mask(path, NOISE))
    return large if name == "masks" else WRITERS[name]


def test_an_error_of_the_program_keeps_its_traceback(disk):
    remount(disk, "size=10m")
    for name in (atomic_folder, write_maps):
        with pytest.raises(ZeroDivisionError), name(disk / "a.file"):
            1 / 0  # noqa: B018
    assert not any(disk.iterdir())


# Writes maps in child processes under limits on the size of files, and really exits from them:
# HDF5 crashes when the process ends if a file could not be closed.
LIMITS = """
import os, random, resource, sys
from pathlib import Path
import numpy as np
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError

path, whole, refused = Path(sys.argv[1]) / "a.h5", 0, 0
for seed in range(int(sys.argv[2])):
    chance = random.Random(seed)
    count, side = chance.choice([(1, 300), (20, 1), (20, 100), (300, 30), (2000, 3)])
    limit = chance.choice([1_000, 20_000, 200_000, 1_000_000]) + chance.randrange(5000)
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        noise = np.random.default_rng(seed)
        try:
            with write_maps(path) as maps:
                for number in range(count):
                    maps.put(str(number), noise.integers(0, 256, (side, side), np.uint8), a=[1])
        except UserError as error:
            sys.exit(1 if "File too large" in str(error) else 2)
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1), (seed, status)
    if status == 0:
        assert [Maps(path)[str(number)].shape for number in range(count)] == [(side, side)] * count
        path.unlink()
    assert not any(path.parent.iterdir()), seed
    whole, refused = whole + (status == 0), refused + (status == 1)
print(f"files tried {whole + refused}, whole {whole}, refused {refused}, crashed 0, seeds from 0")
"""


@pytest.mark.parametrize("tries", [12, pytest.param(1000, marks=pytest.mark.soak)])
def test_maps_that_cannot_be_written_crash_nothing(tmp_path, tries):
    (tmp_path / "maps").mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", LIMITS, tmp_path / "maps", str(tries)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"files tried {tries}, whole " in ended.stdout and "refused 0" not in ended.stdout
    print(ended.stdout, end="")


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


def test_a_stage_on_a_full_disk(disk, index, tmp_path):
    remount(disk, "size=16k")
    line = the_line(in_child(saliency_maps, index, disk / "a.h5"))
    assert line.startswith(f"cannot write {disk}/a.h5: No space left on device; make room")
    assert not any(disk.iterdir())
    remount(disk, "size=1m")
    for folder in (disk, tmp_path):
        assert in_child(saliency_maps, index, folder / "a.h5") == (0, "", "")
    assert (disk / "a.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_a_training_on_a_full_disk(disk, index, tmp_path):
    whole = tmp_path / "whole"
    assert in_child(train, index, whole, 0).status == 0
    size = 3 * (whole / "weights.pt").stat().st_size  # of weights and AdamW's moments
    remount(disk, f"size={size + size // 2}")  # one checkpoint fits in, but none beside it
    ended = in_child(train, index, disk, 0)
    assert the_line(ended).startswith(f"cannot write {disk}/weights.pt.checkpoint: No space left")
    assert ended.out.split() == ["1"]
    assert Checkpoint(disk / "weights.pt", "").path.stat().st_size > size * 0.9
    assert {path.suffix for path in disk.iterdir()} == {".checkpoint"}
    remount(disk, "size=30m")
    ended = in_child(train, index, disk, 0)
    assert ended.status == 0 and ended.out.split() == ["2", "3", "4", "5", "6"]
    assert content(disk) == content(whole)


def test_a_log_on_a_full_disk_fails_the_job(disk):
    """As the rules write it; the stage's messages reach the terminal all the same."""
    (disk / "full").write_bytes(bytes(1 << 20))
    command = "set -euo pipefail; echo says something 2>&1 | tee the.log"
    call = ["bash", "-c", command]
    ended = subprocess.run(call, cwd=disk, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stdout == "says something\n"
    assert "the.log: No space left on device" in ended.stderr


def run_snakemake(project: Path, *arguments: str) -> tuple[int, str]:
    call = [sys.executable, "-m", "snakemake", "--nocolor", *arguments]
    ended = subprocess.run(call, cwd=project, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def artefacts(project: Path) -> dict[str, bytes]:
    """All results but those that hold timings."""
    files = content(project / "results")
    timed = ("benchmarks/", "logs/", "report.html", "provenance.json")
    return {name: data for name, data in files.items() if not name.startswith(timed)}


def used(disk: Path) -> int:
    return shutil.disk_usage(disk).used


@pytest.mark.soak
def test_a_run_on_a_full_disk_goes_on_with_room(disk, tmp_path_factory):
    finished = finished_run(tmp_path_factory.getbasetemp())
    remount(disk, "size=200m")
    project = shutil.copytree(finished, disk / "project", symlinks=True)
    shutil.rmtree(project / "results/masks")
    (project / "results/masks.h5").unlink()
    remount(disk, f"size={used(disk) + 20_000}")
    status, messages = run_snakemake(project, "--cores", "1", "results/masks.h5")
    assert status and "No space left on device" in messages
    remount(disk, "size=200m")
    run_snakemake(project, "--unlock", "results/masks.h5")
    status, messages = run_snakemake(project, "--cores", "1", "results/masks.h5")
    assert status == 0, messages
    assert artefacts(project) == artefacts(finished)


@pytest.mark.soak
def test_runs_that_fill_the_disk_at_any_point_go_on_with_room(disk, tmp_path_factory):
    finished = finished_run(tmp_path_factory.getbasetemp())
    expected, compared, tries = artefacts(finished), 0, 12
    for number in range(tries):
        remount(disk, "size=200m")
        project = copy_project(disk / "run", CONFIG)
        begun = used(disk)
        shutil.copytree(finished, disk / "whole")
        whole = used(disk) - 2 * begun  # without the code, which is there already
        shutil.rmtree(disk / "whole")
        remount(disk, f"size={begun + whole * (number + 1) // (tries + 2)}")
        status, messages = run_snakemake(project, "--cores", "2")
        assert status and "No space left on device" in messages
        left = artefacts(project)
        # No result is half-written; jobs.dot is written by the shell.
        assert all(left[name] == expected[name] for name in left if name.endswith((".h5", ".pt")))
        remount(disk, "size=200m")
        run_snakemake(project, "--unlock")
        status, messages = run_snakemake(project, "--cores", "2")
        assert status == 0, messages
        assert artefacts(project) == expected
        compared += len(expected)
        shutil.rmtree(disk / "run")
    print(f"disks filled {tries}, artefacts compared {compared}, differing 0")
