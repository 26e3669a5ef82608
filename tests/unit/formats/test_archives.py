"""Archives that are whole, broken and hostile."""

import io
import tarfile
import zipfile

import pytest

from seedbed.formats.archives import unpack
from seedbed.runtime.errors import UserError

FILES = {"kit/a/1.txt": b"one", "kit/2.txt": b"two", "readme.txt": b"no"}
LIMIT = 10_000


def tar_of(path, files, mode="w", **changes):
    """A tar of files; `changes` are attributes of the last member."""
    with tarfile.open(path, mode) as tar:
        for number, (name, content) in enumerate(files.items(), 1):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if number == len(files):
                for key, value in changes.items():
                    setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return path


def zip_of(path, files, mode=0o644):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def refusal(tmp_path, archive, inside="", limit=LIMIT):
    """The line that an archive is refused with; nothing is written outside the folder."""
    (tmp_path / "out").mkdir()
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        unpack(archive, inside, tmp_path / "out", limit)
    assert set(tmp_path.iterdir()) == before
    line = str(caught.value)
    assert "\n" not in line and str(archive) in line
    return line


@pytest.mark.parametrize("write", [tar_of, zip_of])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_folder_of_an_archive_is_unpacked(tmp_path, write, mode):
    (tmp_path / "out").mkdir()
    if write is zip_of:
        archive = zip_of(tmp_path / "a", FILES)
    else:
        archive = tar_of(tmp_path / "a", FILES, mode)
    assert unpack(archive, "kit", tmp_path / "out", LIMIT) == 2
    found = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
             for path in (tmp_path / "out").rglob("*") if path.is_file()}  # fmt: skip
    assert found == {"a/1.txt": b"one", "2.txt": b"two"}


@pytest.mark.parametrize("write", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../escaped", "kit/../../escaped", "/tmp/escaped", "kit\\..\\e"])
def test_names_that_lead_elsewhere(tmp_path, write, name):
    line = refusal(tmp_path, write(tmp_path / "a", {"kit/1": b"1", name: b"2"}), "kit")
    assert "leads elsewhere: not unpacked" in line


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(tmp_path, kind):
    archive = tar_of(tmp_path / "a", {"kit/1": b""}, type=kind, linkname="/etc/passwd")
    assert "holds 'kit/1', a link or device: not unpacked" in refusal(tmp_path, archive)


def test_links_in_a_zip(tmp_path):
    archive = zip_of(tmp_path / "a", {"kit/1": b"/etc/passwd"}, mode=0o120777)
    assert "holds 'kit/1', a link: not unpacked" in refusal(tmp_path, archive)


@pytest.mark.parametrize("write", [tar_of, zip_of])
def test_bombs(tmp_path, write):
    archive = write(tmp_path / "a", {"big": bytes(20_000)})
    assert "unpacks to more than 10000 bytes" in refusal(tmp_path, archive)
    (tmp_path / "out").rmdir()
    many = write(tmp_path / "b", {f"{number}": b"" for number in range(30)})
    assert "unpacks to more than 10000 bytes" in refusal(tmp_path, many)


def test_a_zip_whose_files_are_longer_than_it_says(tmp_path):
    archive = zip_of(tmp_path / "a", {"big": bytes(5000)})
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5000).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    line = refusal(tmp_path, archive)
    assert "longer than it says" in line or "cannot unpack" in line


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("length", [0.3, 0.6])
def test_a_truncated_archive(tmp_path, mode, length):
    archive = tar_of(tmp_path / "a", {"kit/1": bytes(range(256)) * 20}, mode)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * (length if mode != "w" else length / 3))])
    assert "cannot unpack" in refusal(tmp_path, archive)


@pytest.mark.parametrize("content", [b"", b"Rar!\x1a\x07", b"not an archive" * 100])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    line = refusal(tmp_path, tmp_path / "a")
    assert "cannot unpack" in line or "has no file in it" in line


def test_an_archive_without_the_folder(tmp_path):
    archive = tar_of(tmp_path / "a", FILES)
    assert "has no file in VOC2012: not the published archive" in refusal(
        tmp_path, archive, "VOC2012"
    )


def test_a_name_twice(tmp_path):
    with tarfile.open(tmp_path / "a", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("kit/1"))
    assert "holds 'kit/1' twice" in refusal(tmp_path, tmp_path / "a")
