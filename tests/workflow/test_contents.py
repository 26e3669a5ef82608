"""Digests of given files: of their contents, wherever they lie."""

import os
import shutil

import pytest

from seedbed.runtime.errors import UserError
from workflow.contents import ContentDigest

OLD = (1_000_000_000, 1_000_000_000)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "maps/more").mkdir(parents=True)
    for name in ("a.png", "more/b.png", "c.txt"):
        (tmp_path / "maps" / name).write_text(name)
        os.utime(tmp_path / "maps" / name, OLD)
    return tmp_path / "maps"


@pytest.fixture
def digest(tmp_path):
    """The digest of one path by an object of its own, which has the cache alone in common."""
    return lambda path: ContentDigest(tmp_path / "cache/digests.json")([str(path)])


def test_another_place_and_time_change_nothing(folder, digest, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copy)
    (tmp_path / "elsewhere/.hidden").touch()
    assert digest(folder) == digest(tmp_path / "elsewhere") == digest(folder)
    assert digest(folder / "c.txt") == digest(tmp_path / "elsewhere/c.txt")


def test_an_edit_another_name_and_one_file_more_count(folder, digest):
    found = {digest(folder)}
    (folder / "a.png").write_text("A.png")  # of the same size
    found.add(digest(folder))
    (folder / "a.png").rename(folder / "z.png")
    found.add(digest(folder))
    (folder / "more/d.png").touch()
    found.add(digest(folder))
    assert len(found) == 4


def test_a_file_is_read_once(folder, digest):
    before = digest(folder)
    (folder / "a.png").write_text("A.png")
    os.utime(folder / "a.png", OLD)  # as if it had not changed: what the cache cannot see
    assert digest(folder) == before


def test_a_new_file_is_read_again(folder, digest):
    (folder / "a.png").write_text("new")
    status = (folder / "a.png").stat()
    before = digest(folder)
    (folder / "a.png").write_text("old")
    os.utime(folder / "a.png", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert digest(folder) != before


def test_a_link_to_nothing_is_named(folder, digest):
    (folder / "more/d.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"more/d\.png: cannot be read \(No such file"):
        digest(folder)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_cache_costs_only_time(folder, digest, tmp_path, content):
    before = digest(folder)
    (tmp_path / "cache/digests.json").write_text(content)
    assert digest(folder) == before
