"""Transfers from a real server on 127.0.0.1 that fails in many ways."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching import http
from seedbed.runtime.fetching.checksums import differences, digests, format_size
from seedbed.runtime.fetching.download import AddressesError, Expected, alone, download, mirror_of
from tests.support.file_server import serving
from tests.support.workflow_helpers import ROOT

CONTENT = np.random.default_rng(0).bytes(20_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = Expected("a.bin", len(CONTENT), {"sha256": SHA256})
UNKNOWN = Expected("a.bin")
OTHER = bytes(reversed(CONTENT))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pauses, no proxies, no mirror."""
    pauses = []
    monkeypatch.setattr(http, "pause", pauses.append)
    monkeypatch.setattr(http, "TIMEOUTS", (10.0, 10.0))
    for name in ("http_proxy", "https_proxy", "all_proxy", "SEEDBED_MIRROR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return pauses


@pytest.fixture
def site():
    with serving(files={"/a.bin": CONTENT}) as site:
        yield site


def get(site, part, expected=KNOWN, name="/a.bin"):
    return download([f"{site.address}{name}"], part, expected)


def refusal(site, part, expected=KNOWN, name="/a.bin"):
    with pytest.raises(AddressesError) as caught:
        get(site, part, expected, name)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{site.address}{name}: ")
    return line.partition(f"{name}: ")[2]


def test_a_file_comes_whole(site, tmp_path):
    assert get(site, tmp_path / "part") == f"{site.address}/a.bin"
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert site.requests == [("/a.bin", "")]


@pytest.mark.parametrize("status, reason", [(404, "404 Not Found"), (403, "403 Forbidden")])
def test_a_refusal_is_not_tried_again(site, tmp_path, quick, status, reason):
    site.answers = [status]
    assert refusal(site, tmp_path / "part") == reason
    assert quick == [] and not (tmp_path / "part").exists()


def test_the_next_address_is_tried(site, tmp_path):
    addresses = [f"{site.address}/gone", f"{site.address}/a.bin"]
    assert download(addresses, tmp_path / "part", KNOWN) == addresses[1]


def test_an_error_of_the_server_is_tried_again_after_growing_pauses(site, tmp_path, quick):
    site.answers = [500, 503, 429]
    get(site, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert quick == list(http.PAUSES[:3])


def test_a_server_that_stays_broken_is_given_up(site, tmp_path, quick):
    site.answers = [500] * 20
    assert refusal(site, tmp_path / "part") == "500 Internal Server Error"
    assert len(quick) == len(http.PAUSES) == len(site.requests) - 1
    assert quick == sorted(quick) == list(http.PAUSES)


@pytest.mark.parametrize("step", [1, 999, 1000, 1001, 7000, 19_999])
def test_a_connection_that_breaks_again_and_again_is_resumed(site, tmp_path, step):
    whole = CONTENT[: 40 * step]
    site.files["/a.bin"] = whole
    site.break_after = step
    get(site, tmp_path / "part", Expected("a.bin", len(whole)))
    assert (tmp_path / "part").read_bytes() == whole
    starts = [int(asked[6:-1] or 0) if asked else 0 for _, asked in site.requests]
    assert starts == list(range(0, len(whole), step))


def test_a_server_without_ranges_begins_again(site, tmp_path):
    site.ranges = False
    site.break_after = 7000
    get_all_after(site, 2)
    get(site, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def get_all_after(site, requests):
    """Let the connection hold from some request on."""

    def count():
        if len(site.requests) > requests:
            site.break_after = None

    site.on_request = count


def test_without_ranges_a_connection_that_always_breaks_is_given_up(site, tmp_path):
    site.ranges = False
    site.break_after = 7000
    assert refusal(site, tmp_path / "part").startswith("the connection broke: ")


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_another_file_on_resume_begins_again(site, tmp_path, ignores_if_range):
    site.break_after, site.ignores_if_range = 7000, ignores_if_range

    def change():
        if len(site.requests) == 2:
            site.files["/a.bin"], site.etag, site.break_after = OTHER, '"two"', None

    site.on_request = change
    get(site, tmp_path / "part", Expected("a.bin", len(OTHER)))
    assert (tmp_path / "part").read_bytes() == OTHER


def test_a_part_of_another_file_is_noticed_by_the_checksum(site, tmp_path):
    """The server says that it is the same version, and it is not."""
    site.break_after = 7000

    def change():
        if len(site.requests) == 2:
            site.break_after = None

    site.on_request = change
    part = tmp_path / "part"
    part.write_bytes(OTHER[:5000])
    http._write_version(part, f"{site.address}/a.bin", site.etag)
    get(site, part)
    assert part.read_bytes() == CONTENT
    assert site.requests[0] == ("/a.bin", "bytes=5000-")


def test_a_part_that_is_longer_than_the_file_is_thrown_away(site, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(CONTENT + b"more")
    http._write_version(part, f"{site.address}/a.bin", site.etag)
    get(site, part)
    assert part.read_bytes() == CONTENT


def test_a_wrong_checksum(site, tmp_path):
    site.files["/a.bin"] = OTHER
    assert refusal(site, tmp_path / "part") == (
        f"sha256 is {hashlib.sha256(OTHER).hexdigest()}, not {SHA256}"
    )
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_not_even_transferred(site, tmp_path):
    assert refusal(site, tmp_path / "part", Expected("a", 5)) == "has 20 kB, not 5 B"
    site.length = False
    assert refusal(site, tmp_path / "part", Expected("a", 5)).startswith("has 20 kB (20000 bytes)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_instead_of_the_file(site, tmp_path, kind):
    """As Google Drive sends one when too many have fetched a file."""
    site.files["/a.bin"] = b" <!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>"
    site.kind = kind
    assert "a web page instead of the file" in refusal(site, tmp_path / "part", UNKNOWN)
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed_but_not_for_ever(site, tmp_path):
    site.redirects = {"/old": "/a.bin", "/round": "/and", "/and": "/round"}
    get(site, tmp_path / "part", name="/old")
    assert refusal(site, tmp_path / "b", name="/round") == "redirects without end"


def test_no_content_length(site, tmp_path):
    site.length = False
    get(site, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_no_version_means_that_nothing_is_resumed(site, tmp_path):
    site.etag, site.break_after = None, 7000
    get_all_after(site, 1)
    get(site, tmp_path / "part")
    assert [asked for _, asked in site.requests] == ["", ""]


def test_a_slow_server_that_sends_something_is_waited_for(site, tmp_path):
    site.delay = 0.01
    get(site, tmp_path / "part")
    assert len(site.requests) == 1


def test_a_server_that_falls_silent(site, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "TIMEOUTS", (2.0, 0.05))
    monkeypatch.setattr(http, "PAUSES", (1.0,))
    site.delay = 0.2
    line = refusal(site, tmp_path / "part")
    assert "timed out" in line or line == "no answer in time"


def test_no_connection(tmp_path, quick):
    with pytest.raises(AddressesError, match=r"^http://127.0.0.1:9/a: no connection$"):
        download(["http://127.0.0.1:9/a"], tmp_path / "part", KNOWN)
    assert len(quick) == len(http.PAUSES)


def test_a_proxy_of_the_environment_is_used(site, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", site.address)
    site.files["http://example.invalid/a.bin"] = CONTENT
    download(["http://example.invalid/a.bin"], tmp_path / "part", KNOWN)
    assert site.requests == [("http://example.invalid/a.bin", "")]


def test_a_mirror_stands_in_for_all_hosts(monkeypatch):
    assert mirror_of("https://a.org/b?c=1") == "https://a.org/b?c=1"
    monkeypatch.setenv("SEEDBED_MIRROR", "http://here:1/")
    assert mirror_of("https://a.org/b?c=1") == "http://here:1/a.org/b?c=1"
    assert mirror_of("gdrive:ID") == "http://here:1/drive.google.com/ID"


def test_google_drive_without_gdown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(AddressesError) as caught:
        download(["gdrive:ID"], tmp_path / "part", KNOWN)
    assert str(caught.value) == (
        "https://drive.google.com/file/d/ID: Google Drive needs the package gdown"
        " (pip install 'seedbed[fetch]')"
    )


class Drive:
    """In place of gdown, whose addresses are fixed."""

    def download(self, *, id, output, **options):
        if id == "quota":
            raise RuntimeError("Too many users\nhave viewed or downloaded this file recently")
        Path(output).write_bytes(CONTENT)

    def download_folder(self, *, id, output, **options):
        Path(output, "sub").mkdir()
        self.download(id=id, output=f"{output}/sub/a.bin")


def test_google_drive(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", Drive())
    part = tmp_path / "part"
    for address in ("gdrive:ID", "gdrive-folder:ID"):
        assert download([address], part, KNOWN) == address
        assert part.read_bytes() == CONTENT
        part.unlink()
    with pytest.raises(AddressesError, match="Google Drive: Too many users have viewed"):
        download(["gdrive:quota"], part, KNOWN)
    with pytest.raises(AddressesError, match=r"the folder holds no b\.bin"):
        download(["gdrive-folder:ID"], part, Expected("b.bin"))
    assert list(tmp_path.iterdir()) == []


def test_room_is_asked_for_first(site, tmp_path, monkeypatch):
    full = type("Usage", (), {"free": 9000})
    monkeypatch.setattr("seedbed.runtime.fetching.space.shutil.disk_usage", lambda folder: full)
    with pytest.raises(UserError, match=r"part needs 20 kB in .*, which has 9\.0 kB left; make"):
        get(site, tmp_path / "part")


def test_a_transfer_that_was_killed_goes_on(site, tmp_path):
    site.delay = 0.02
    part = tmp_path / "part"
    code = (
        "import sys; from pathlib import Path\n"
        "from seedbed.runtime.fetching.http import transfer\n"
        "transfer(sys.argv[1], Path(sys.argv[2]), None)"
    )
    call = [sys.executable, "-c", code, f"{site.address}/a.bin", part]
    process = subprocess.Popen(call, cwd=ROOT)
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 3000) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    came = part.stat().st_size
    assert 3000 <= came < len(CONTENT) and part.read_bytes() == CONTENT[:came]
    site.delay = 0
    get(site, part)
    assert part.read_bytes() == CONTENT
    assert site.requests[-1] == ("/a.bin", f"bytes={came}-")


def test_of_two_who_hold_a_lock_one_waits(tmp_path, capfd):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from seedbed.runtime.fetching.download import alone\n"
        "with alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(0.3)"
    )
    call = [sys.executable, "-c", code, tmp_path / "a.lock"]
    with subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with alone(tmp_path / "a.lock"):
            assert process.wait() == 0
    assert "a.lock: waits for another process" in capfd.readouterr().out


def test_checksums_of_every_kind(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    found = digests(tmp_path / "a")
    right = {
        "md5": "900150983cd24fb0d6963f7d28e17f72",
        "sha1": "A9993E364706816ABA3E25717850C26C9CD0D89D",
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256_prefix": "ba7816bf",
    }
    assert differences(found, right) == []
    for kind, value in right.items():
        assert len(differences(found, {kind: f"0{value[1:]}"})) == 1


@pytest.mark.parametrize(
    "count, text", [(0, "0 B"), (999, "999 B"), (1999639040, "2.0 GB"), (553433881, "553 MB")]
)
def test_sizes_for_reading(count, text):
    assert format_size(count) == text
