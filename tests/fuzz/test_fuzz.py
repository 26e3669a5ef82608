import gzip
import os
import re
import subprocess
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from seedbed.data.layouts.regions import region_of
from seedbed.formats.cue_pickle import read_cue_labels
from seedbed.formats.masks import read_mask
from seedbed.formats.pickles import restricted as restricted_pickle
from seedbed.formats.weights.files import read_tensors
from seedbed.runtime.errors import UserError
from tests.fuzz import guard
from tests.fuzz.damage import damaged
from tests.fuzz.guard import FindingError, apart
from tests.fuzz.hostile import cases
from tests.fuzz.seeds import SHARD_BYTES
from tests.fuzz.targets import TARGETS, mend_png

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"
EXAMPLES = int(os.environ.get("SEEDBED_FUZZ_EXAMPLES", "60"))
UNHURRIED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_reads_or_refuses(name, tmp_path):
    """Whole files, hostile ones, what the fuzzer once found, and damaged files."""
    target = TARGETS[name]
    seeds = target.seeds()

    def read_all():
        target.read(seeds[0])
        assert guard.whole, "the first file is whole"
        found = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
        for data in (*seeds, *found, *(data for _, data in cases(name))):
            target.read(data)
        UNHURRIED(given(damaged(seeds))(target.read))()

    apart(read_all, tmp_path)


@pytest.mark.parametrize(
    ("read", "file", "case", "reason"),
    [
        (read_mask, "a.png", "9490 x 9490", "more than 90 megapixels"),
        (read_tensors, "a.npz", "32 MB packed by lzma", "says that it unpacks to"),
        (read_tensors, "a.ckpt", "one block 700 times", "after one that ends at"),
        (read_tensors, "a.index", "all the same", "share the bytes"),
    ],
)
def test_refuses_what_would_only_take_long_or_much(tmp_path, read, file, case, reason):
    names = {"a.png": "png", "a.npz": "npz", "a.ckpt": "tensorflow_1", "a.index": "tensorflow_2"}
    data = mend_png(dict(cases(names[file]))[case])
    shard = SHARD_BYTES if file == "a.index" else 0
    (tmp_path / file).write_bytes(data[: len(data) - shard])
    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(SHARD_BYTES))
    with (
        mock.patch("seedbed.formats.weights.sstable.masked_crc32c", return_value=mock.ANY),
        pytest.raises(UserError, match=reason),
    ):
        read(tmp_path / file)


def test_corpus_is_small():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= TARGETS.keys()
    assert all(path.stat().st_size < 10_000 for path in files)
    assert sum(path.stat().st_size for path in files) < 200_000


def write_elsewhere(path):
    (path.parent.parent / "elsewhere").write_text("x")


def leave_a_file(path):
    path.with_name("left").write_text("x")


def run_a_program(path):
    try:
        subprocess.run(["true"], check=True)
    except Exception:
        raise UserError("damaged") from None


def take_memory(path):
    try:
        bytearray(3 << 30)
    except MemoryError as error:
        raise UserError("damaged") from error


def fail(path):
    raise KeyError("x")


def say_too_much(path):
    raise UserError("x" * 100_000)


BAD_READERS = (write_elsewhere, leave_a_file, run_a_program, take_memory, fail, say_too_much)


@pytest.mark.parametrize("read", BAD_READERS)
def test_guard_finds(read, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(FindingError):
        apart(lambda: guard.attempt(read, "x", b"x"), place)


def test_guard_ends_what_hangs(tmp_path, monkeypatch):
    def hang(path):
        while True:
            pass

    monkeypatch.setattr(guard, "SECONDS", 1)
    with pytest.raises(FindingError, match="SIGPROF"):
        apart(lambda: guard.attempt(hang, "x", b"what hung"), tmp_path)
    assert (tmp_path / "x").read_bytes() == b"what hung"


def test_guard_lets_readers_be(tmp_path):
    def refuse(path):
        raise UserError("damaged")

    apart(lambda: [guard.attempt(read, "x", b"x") for read in (Path.read_bytes, refuse)], tmp_path)


def test_mended_png_has_right_checksums():
    whole = TARGETS["png"].seeds()[0]
    place = whole.index(b"IDAT") - 5  # the last of a checksum
    assert mend_png(whole[:place] + b"\0" + whole[place + 1 :]) == whole


def test_a_pickle_of_too_many_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("seedbed.formats.pickles.unpickler.MAX_READS", 1000)
    (tmp_path / "a.pickle").write_bytes(b"]" * 2000 + b".")
    with pytest.raises(UserError, match="more than 1000 parts"):
        restricted_pickle.load(tmp_path / "a.pickle")


def test_packed_cues_are_unpacked_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("seedbed.formats.cue_pickle.MAX_UNPACKED", 2 << 20)
    (tmp_path / "cues.pickle.gz").write_bytes(gzip.compress(bytes(3 << 20)))
    with pytest.raises(UserError, match="larger than 2 MB"):
        read_cue_labels(tmp_path / "cues.pickle.gz")


def test_one_file_alone_unpacks_archives():
    """It copies members itself, after its own checks and tarfile's `data` filter."""
    unpacking = re.compile(r"\.extract(all|file)?\(|unpack_archive|torch\.load\((?!.*weights_only)")
    sources = [path for room in ("seedbed", "stages") for path in (ROOT / room).rglob("*.py")]
    found = [path for path in sources if unpacking.search(path.read_text())]
    assert found == [ROOT / "seedbed/formats/archives.py"]
    text = found[0].read_text()
    assert "data_filter(info" in text and not re.search(r"\.extract(all)?\(", text)


def test_a_polygon_that_goes_there_and_back():
    there_and_back = np.tile([0.0, 0, 500, 500], 900)
    with pytest.raises(ValueError, match="around"):
        region_of([there_and_back], (500, 500))
    assert region_of([np.array([0.0, 0, 500, 0, 500, 500])], (500, 500)).mean() == pytest.approx(
        0.5, abs=0.01
    )


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided(name):
    pytest.importorskip("atheris")
    from tests.fuzz.__main__ import fuzz, told

    outcome = fuzz(name, int(os.environ.get("SEEDBED_SOAK_FUZZ_SECONDS", "600")))
    print(f"\nfuzzing {name}: {told(outcome)}, seed 1")
    assert not outcome.found
