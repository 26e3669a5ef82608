"""Records of the artefacts, kept beside them and given back to Snakemake."""

import os
import shutil
from pathlib import Path

import pytest
from snakemake.io import IOFile
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from workflow.provenance import FILE, INDEX, UNKNOWN, WHOLE, Provenance, fingerprint

NAMES = (INDEX, "dataset/masks.h5", "seeds/cues.h5")
TIME = 1_600_000_000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def snakemake() -> FilePersistence:
    return FilePersistence(nolock=True)


def recorded(path: str) -> MetadataRecord | None:
    return snakemake().metadata(IOFile(path))


def run_job(path: str, params: str, time: int, inputs: tuple[str, ...] = ()) -> None:
    """Leave what Snakemake leaves of a job: the file and its record."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(f"{path} {params}")
    os.utime(path, (time, time))
    record = MetadataRecord(
        rule="rule",
        params=[params],
        input=list(inputs),
        input_checksums=dict.fromkeys(inputs, "sha256:00"),
        endtime=time,
        record_format_version=6,
    )
    snakemake()._write_record(path, record)


@pytest.fixture
def results() -> str:
    """A finished run of three artefacts, with its records in both places."""
    for number, name in enumerate(NAMES):
        run_job(f"results/{name}", "old", TIME + number, ("results/input",))
    synced("results", "data")
    return "results"


def synced(results: str, place: str | None = None) -> Provenance:
    provenance = Provenance(results, snakemake())
    provenance.sync(place)
    return provenance


def test_records_come_back_with_the_times(results):
    shutil.rmtree(".snakemake")
    for name in reversed(NAMES):
        os.utime(f"{results}/{name}")  # as cp without -p leaves them
    provenance = synced(results)
    assert provenance.unknown == [] and provenance.places == ["data"]
    for number, name in enumerate(NAMES):
        assert Path(f"results/{name}").stat().st_mtime == TIME + number
        assert recorded(f"results/{name}").params == ["old"]
        assert recorded(f"results/{name}").input == ["results/input"]


def test_results_may_be_copied_to_another_name(results):
    shutil.copytree(results, "results/copy")
    assert synced("results/copy").unknown == []
    assert recorded("results/copy/seeds/cues.h5").input == ["results/copy/input"]
    assert recorded("results/copy/seeds/cues.h5").input_checksums == {
        "results/copy/input": "sha256:00"
    }


def test_records_of_an_earlier_run_there_give_way(results, tmp_path):
    Path(results).rename("copied")
    run_job("results/seeds/cues.h5", "other", TIME - 50)
    shutil.copytree("copied", "results", dirs_exist_ok=True, copy_function=shutil.copy)
    synced("results")
    assert recorded("results/seeds/cues.h5").params == ["old"]


def test_a_later_job_is_taken_over(results):
    run_job("results/seeds/cues.h5", "new", TIME + 60)
    assert synced(results).places == ["data"]
    shutil.rmtree(".snakemake")
    synced(results)
    assert recorded("results/seeds/cues.h5").params == ["new"]


def test_a_job_of_this_run_is_taken_over(results):
    provenance = synced(results)
    run_job("results/seeds/cues.h5", "new", TIME + 60)
    provenance.sync()
    assert provenance.entries["seeds/cues.h5"]["record"]["params"] == ["new"]


def test_a_new_index_forgets_the_places(results):
    run_job(f"results/{INDEX}", "new", TIME + 60)
    assert synced(results, "elsewhere").places == ["elsewhere"]


def test_another_file_under_the_name_is_unknown(results):
    shutil.rmtree(".snakemake")
    Path("results/seeds/cues.h5").write_text("edited")
    assert synced(results).unknown == ["results/seeds/cues.h5"]
    assert recorded("results/seeds/cues.h5") is None


@pytest.mark.parametrize("content", [None, "", "{}", '{"results": "a", "artefacts": 1}'])
def test_without_records_all_is_unknown(results, content):
    shutil.rmtree(".snakemake")
    Path(f"results/{FILE}").unlink()
    if content is not None:
        Path(f"results/{FILE}").write_text(content)
    assert synced(results).unknown == [f"results/{name}" for name in NAMES]


def test_of_a_missing_artefact_the_settings_count_all_the_same(results):
    shutil.rmtree(".snakemake")
    Path("results/seeds/cues.h5").unlink()
    synced(results)
    assert recorded("results/seeds/cues.h5").params == ["old"]


def test_an_unfinished_job_is_neither_known_nor_unknown(results):
    run_job("results/new.h5", "new", TIME + 60)
    snakemake()._mark_incomplete("results/new.h5", None)
    provenance = synced(results)
    assert provenance.unknown == [] and "new.h5" not in provenance.entries


def test_a_stale_mark_lasts_until_it_is_taken_back(results):
    synced(results).mark_stale("dataset")
    assert recorded("results/dataset/masks.h5").params != ["old"]
    assert recorded("results/seeds/cues.h5").params == ["old"]
    synced(results)
    assert recorded("results/dataset/masks.h5").params == ["old"]


def test_what_is_marked_unknown_stays_so_until_a_job_makes_it(results):
    shutil.rmtree(".snakemake")
    Path(f"results/{FILE}").rename("kept.json")
    for _ in range(2):
        provenance = synced(results)
        assert provenance.unknown == [f"results/{name}" for name in NAMES]
        provenance.mark_unknown(provenance.unknown)
        assert recorded(f"results/{NAMES[0]}").params == UNKNOWN
    assert not Path(f"results/{FILE}").exists()
    run_job(f"results/{NAMES[0]}", "new", TIME + 60)
    assert synced(results).unknown == [f"results/{name}" for name in NAMES[1:]]
    Path("kept.json").replace(f"results/{FILE}")
    assert synced(results).unknown == []
    assert [recorded(f"results/{name}").params for name in NAMES] == [["new"], ["old"], ["old"]]


def test_moved_inputs_are_accepted(results):
    synced(results).accept_inputs("dataset", {"/there/train.txt": "sha256:11"})
    shutil.rmtree(".snakemake")
    synced(results)
    found = recorded("results/dataset/masks.h5")
    assert found.input is None
    assert found.input_checksums == {"results/input": "sha256:00", "/there/train.txt": "sha256:11"}
    assert recorded("results/seeds/cues.h5").input == ["results/input"]


def test_a_fingerprint_tells_large_files_and_folders_apart(tmp_path):
    (tmp_path / "a").write_bytes(bytes(2 * WHOLE))
    (tmp_path / "b").write_bytes(bytes(WHOLE) + b"1" * WHOLE)
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    (tmp_path / "folder").mkdir()
    before = fingerprint(tmp_path / "folder")
    (tmp_path / "folder/.snakemake_timestamp").touch()
    assert fingerprint(tmp_path / "folder") == before
    (tmp_path / "folder/1.png").touch()
    assert fingerprint(tmp_path / "folder") != before
