"""Names of temporary files."""

import os

import pytest

from seedbed.runtime.atomic import TEMPORARY_NAME, atomic, atomic_folder


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "x" * 250,
        "x" * 251 + ".png",
        "ü" * 125 + ".h5",
        "x." + "y" * 240,
        "猫" * 84 + ".gz",
    ],
)
def test_a_long_name_is_written(tmp_path, name):
    with atomic(tmp_path / name) as temporary:
        assert TEMPORARY_NAME.fullmatch(temporary.name)
        assert len(os.fsencode(temporary.name)) <= 255
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "whole"


def test_a_suffix_is_kept_and_a_folder_may_have_a_long_name_too(tmp_path):
    with atomic(tmp_path / ("x" * 246 + ".tar.gz")) as temporary:
        assert temporary.suffix == ".gz"
    with atomic_folder(tmp_path / ("y" * 255)) as folder:
        (folder / "a").write_text("")
    assert (tmp_path / ("y" * 255) / "a").is_file()
