"""stages.fetch against a real server: what is there afterwards, and what is said."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching import http
from stages.command import run_stage
from stages.fetch import ROOT, fetch, fetch_source
from stages.settings.sources import FILE, Source, load_sources
from tests.support.file_server import serving
from tests.unit.formats.test_archives import tar_of, zip_of

WEIGHTS = b"weights" * 1000
HASH = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "pause", lambda seconds: None)
    monkeypatch.delenv("SEEDBED_MIRROR", raising=False)


@pytest.fixture
def site():
    with serving(files={"/w.pth": WEIGHTS}) as site:
        yield site


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def weights(site, **changes):
    known = {
        "what": "weights",
        "path": "weights/w.pth",
        "addresses": [f"{site.address}/w.pth"],
        "size": len(WEIGHTS),
        "checksums": {"sha256": HASH},
        "terms": "none",
        "seen": "here",
    }
    return Source(**{**known, **changes})


def tree(site, tmp_path, files=None, **changes):
    """A source that is a folder, and its archive on the server."""
    archive = tar_of(tmp_path / "kit.tar", files or {"kit/lists/a.txt": b"a", "kit/b": b"b"})
    site.files["/kit.tar"] = archive.read_bytes()
    known = {
        "path": "sets/kit",
        "addresses": [f"{site.address}/kit.tar"],
        "size": None,
        "checksums": {},
        "archive": {"name": "kit.tar", "inside": "kit", "unpacked": 100_000},
    }
    return weights(site, **{**known, **changes})


def files_in(data):
    """All files but locks, without what fetched.lock and stamps say."""
    return {
        path.relative_to(data).as_posix()
        for path in data.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def refused(source, data):
    with pytest.raises(UserError) as caught:
        fetch_source(source, data)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_file(site, data, capsys):
    fetch_source(weights(site), data)
    assert (data / "weights/w.pth").read_bytes() == WEIGHTS
    assert files_in(data) == {"weights/w.pth"}
    kept = json.loads((data / "fetched.lock").read_text())["weights/w.pth"]
    assert kept == {"address": f"{site.address}/w.pth", "sha256": HASH, "size": len(WEIGHTS)}
    assert f"sha256 {HASH}" in capsys.readouterr().out
    fetch_source(weights(site), data)
    assert len(site.requests) == 1


def test_a_folder_and_the_stamp_that_a_rule_asks_for(site, data, tmp_path):
    fetch_source(tree(site, tmp_path), data)
    assert files_in(data) == {"sets/kit/lists/a.txt", "sets/kit/b"}
    fetch_source(tree(site, tmp_path), data, data / ".fetched/stamp")
    assert files_in(data) == {"sets/kit/lists/a.txt", "sets/kit/b", ".fetched/stamp"}
    assert len(site.requests) == 1


def test_what_a_person_put_there_is_left_as_it_is(site, data, tmp_path):
    (data / "weights").mkdir(parents=True)
    (data / "weights/w.pth").write_bytes(b"mine")
    (data / "sets/kit").mkdir(parents=True)
    fetch_source(weights(site), data)
    fetch_source(tree(site, tmp_path), data)
    assert (data / "weights/w.pth").read_bytes() == b"mine"
    assert files_in(data) == {"weights/w.pth"} and site.requests == []


def test_what_appears_during_the_transfer_is_left_as_it_is(site, data, tmp_path):
    def put():
        (data / "weights").mkdir(parents=True, exist_ok=True)
        (data / "weights/w.pth").write_bytes(b"mine")
        (data / "sets/kit").mkdir(parents=True, exist_ok=True)
        (data / "sets/kit/mine").write_bytes(b"mine")

    site.on_request = put
    assert refused(weights(site), data).endswith("is there already: it was not replaced")
    site.on_request = lambda: None
    (data / "sets/kit/mine").unlink()
    (data / "sets/kit").rmdir()
    site.on_request = put
    assert "sets/kit is there already: move it away" in refused(tree(site, tmp_path), data)
    assert {"weights/w.pth", "sets/kit/mine"} <= files_in(data)
    assert (data / "weights/w.pth").read_bytes() == b"mine"


def test_the_first_fetch_notes_a_checksum_that_later_ones_must_have(site, data):
    unknown = weights(site, size=None, checksums={})
    fetch_source(unknown, data)
    (data / "weights/w.pth").unlink()
    site.files["/w.pth"] = b"other"
    line = refused(unknown, data)
    assert f"sha256 is {hashlib.sha256(b'other').hexdigest()}, not {HASH}" in line
    assert files_in(data) == set()
    site.files["/w.pth"] = WEIGHTS
    fetch_source(unknown, data)
    assert (data / "weights/w.pth").read_bytes() == WEIGHTS


def test_when_no_address_works_the_line_says_what_a_person_can_do(site, data, tmp_path):
    gone = [f"{site.address}/a", f"{site.address}/b"]
    line = refused(weights(site, addresses=gone), data)
    assert line == (
        f"weights/w.pth: {gone[0]}: 404 Not Found; {gone[1]}: 404 Not Found; get w.pth (sha256"
        f" {HASH}) elsewhere, put it at {data}/weights/w.pth and run this again"
    )
    line = refused(tree(site, tmp_path, addresses=gone), data)
    assert line.endswith(f"get kit.tar elsewhere, put it at {data}/kit.tar and run this again")
    assert files_in(data) == set()


def test_an_archive_that_a_person_got_is_unpacked(site, data, tmp_path):
    source = tree(site, tmp_path, addresses=[f"{site.address}/gone"])
    data.mkdir()
    (tmp_path / "kit.tar").rename(data / "kit.tar")
    fetch_source(source, data)
    assert {"kit.tar", "sets/kit/b"} <= files_in(data)
    assert site.requests == []


def test_a_wrong_archive_of_a_person_is_named(site, data, tmp_path):
    data.mkdir()
    (data / "kit.tar").write_bytes(b"wrong")
    line = refused(tree(site, tmp_path, checksums={"md5": "0" * 32}), data)
    assert line.startswith(f"{data}/kit.tar: md5 is ") and line.endswith(
        "remove it, so that it is fetched"
    )


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped"])
def test_a_hostile_archive_leaves_nothing(site, data, tmp_path, name):
    line = refused(tree(site, tmp_path, {"kit/a": b"a", name: b"b"}), data)
    assert "leads elsewhere: not unpacked" in line
    assert {path for path in files_in(data) if ".part" not in path} == set()


def test_a_broken_archive_is_fetched_anew(site, data, tmp_path):
    source = tree(site, tmp_path)
    whole = site.files["/kit.tar"]
    site.files["/kit.tar"] = whole[:700]
    assert "cannot unpack" in refused(source, data)
    site.files["/kit.tar"], site.etag = whole, '"two"'
    fetch_source(source, data)
    assert "sets/kit/b" in files_in(data)


def test_a_zip(site, data, tmp_path):
    source = tree(site, tmp_path)
    site.files["/kit.tar"] = zip_of(tmp_path / "kit.zip", {"kit/b": b"b"}).read_bytes()
    fetch_source(source, data)
    assert files_in(data) == {"sets/kit/b"}


class Drive:
    """In place of gdown."""

    content = b"one"

    def download_folder(self, *, id, output, **options):
        if id == "gone":
            raise RuntimeError("Cannot retrieve the folder information")
        Path(output, "maps").mkdir()
        Path(output, "maps/a.png").write_bytes(self.content)


def test_a_folder_of_google_drive(site, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", drive := Drive())
    changes = {"path": "maps", "size": None, "checksums": {}, "folder": True}
    source = weights(site, addresses=["gdrive-folder:gone", "gdrive-folder:ID"], **changes)
    fetch_source(source, data)
    assert files_in(data) == {"maps/maps/a.png"}
    shutil.rmtree(data / "maps")
    drive.content = b"two"
    line = refused(source, data)
    assert "folders/gone: Google Drive: Cannot retrieve the folder information; " in line
    assert line.endswith(f" as before; get the folder elsewhere as {data}/maps")
    assert files_in(data) == set()


def test_room_for_the_unpacked_archive_is_asked_for_first(site, data, tmp_path):
    source = tree(
        site,
        tmp_path,
        archive={"name": "kit.tar", "inside": "kit", "unpacked": 1 << 60},
    )
    assert "make room and run the same command again" in refused(source, data)
    assert site.requests == []


def test_a_folder_where_nothing_can_be_written(site, tmp_path):
    (tmp_path / "data").write_text("a file")
    assert "cannot write" in refused(weights(site), tmp_path / "data")


def test_two_at_once_fetch_a_file_once(site, data):
    site.delay = 0.02
    code = (
        "import sys; from pathlib import Path\n"
        "from stages.fetch import fetch_source\n"
        "from stages.settings.sources import Source\n"
        "fetch_source(Source.model_validate_json(sys.argv[1]), Path(sys.argv[2]))"
    )
    call = [sys.executable, "-c", code, weights(site).model_dump_json(), data]
    processes = [subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(site.requests) == 1
    assert sorted("is there" in text for text in said) == [False, True]
    assert (data / "weights/w.pth").read_bytes() == WEIGHTS


def test_the_list_for_a_recipe(tmp_path, capsys, monkeypatch):
    recipe = ROOT / "recipes/dsrg-vgg16.yaml"
    run_stage(fetch, ["--recipe", str(recipe), "--dry-run", "--data", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines if not line.startswith(" ")] == [
        f"to fetch: {tmp_path}/VOCdevkit/VOC2012",
        f"to fetch: {tmp_path}/benchmark_RELEASE/dataset",
        f"to fetch: {tmp_path}/weights/vgg16_20M.caffemodel",
        "3 to fetch: 3.5 GB",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "nothing to fetch: name a --recipe that reads VOC or weights, or a --path"),
        (["--recipe", "config.yaml"], "nothing to fetch: name a --recipe"),
        (["--path", "weights/none.pth"], "--path weights/none.pth: no source in workflow/sources"),
        (["--recipe", "none.yaml"], "cannot read none.yaml"),
        (["--recipe", "recipes/voc-animals/val.txt"], "val.txt: must hold keys at its top level"),
        (["--recipe", "recipes/ceiling.yaml"], "is an overlay of config.yaml"),
    ],
)
def test_bad_calls(arguments, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        run_stage(fetch, arguments)
    assert said in str(end.value.code)


def test_the_sources_of_the_project():
    sources = load_sources(ROOT / FILE)
    voc = sources.providing("VOCdevkit/VOC2012")
    assert voc.checksums["md5"] == "6cd6e144f989b92b3379bac3b3de84fd" and voc.is_tree
    labels = sources.providing("VOCdevkit/VOC2012/ImageSets/train_cls.txt")
    assert not labels.is_tree and labels.addresses[0].endswith("data/train_cls.txt")
    timm = sources.providing("weights/timm/convnext_tiny.fb_in22k.safetensors")
    assert timm.path == "weights/timm/convnext_tiny.fb_in22k.safetensors"
    assert timm.addresses == [
        "https://huggingface.co/timm/convnext_tiny.fb_in22k/resolve/main/model.safetensors"
    ]
    assert sources.providing("weights/timm/sub/x.safetensors") is None
    assert sources.providing("VOCdevkit/VOC2007") is None
    paths = [source.path for source in sources.entries.values()]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"path": "../weights"}, "a.path: must be a path inside run.data"),
        ({"addresses": ["ftp://host/a"]}, "must be http://"),
        ({"checksums": {"md5": "xyz"}}, "checksums.md5: 'xyz' is no md5"),
        ({"checksums": {"crc": "0" * 8}}, "a.checksums.crc"),
        ({"folder": True}, "folder: has no archive, no size and no checksums"),
        ({"sizes": 3}, "a.sizes: unknown key"),
        ({"terms": None}, "a.terms: "),
    ],
)
def test_a_wrong_source_is_named(tmp_path, site, change, said):
    path = tmp_path / "sources.yaml"
    path.write_text(json.dumps({"a": {**weights(site).model_dump(exclude_none=True), **change}}))
    with pytest.raises(UserError) as caught:
        load_sources(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)
