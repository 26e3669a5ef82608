"""Files found by names that are written in another way."""

import unicodedata
from pathlib import Path

import pytest

from seedbed.data.file_names import (
    MatchedFolder,
    describe_others,
    finder,
    image_id_of,
    path_finder,
)
from seedbed.data.lists import image_id_in
from seedbed.runtime.errors import UserError

NFD = unicodedata.normalize("NFD", "tür")


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_a_file_belongs_to_the_name_that_it_has_but_for_form_and_case(tmp_path):
    touch(tmp_path, f"{NFD}.PNG", "IMG_1.png", "a.b.png", "other.png", "notes.txt", ".hidden.png")
    folder = MatchedFolder(tmp_path, ["tür", "img_1", "a.b", "gone"], (".png",))
    assert {name: path.name for name, path in folder.paths.items()} == {
        "tür": f"{NFD}.PNG",
        "img_1": "IMG_1.png",
        "a.b": "a.b.png",
    }
    assert folder / "tür.png" == folder.of("tür") == tmp_path / f"{NFD}.PNG"
    assert folder / "gone.png" == folder.of("gone") == tmp_path / "gone.png"
    assert str(folder) == str(tmp_path) and folder.strays == ["other.png"]
    assert describe_others(tmp_path, (".png",), "masks") == [
        f"1 files in {tmp_path} are no masks: notes.txt"
    ]


def test_no_name_gets_the_file_of_another(tmp_path):
    touch(tmp_path, "a.png", "B.png")
    folder = MatchedFolder(tmp_path, ["A", "a", "b"], (".png",))
    assert {name: path.name for name, path in folder.paths.items()} == {"a": "a.png", "b": "B.png"}


def test_what_is_not_certain_is_refused(tmp_path):
    touch(tmp_path, "a.png", "a.PNG")
    assert MatchedFolder(tmp_path, ["b"], (".png",)).paths == {}
    with pytest.raises(UserError, match=r"holds 'a\.PNG' and 'a\.png' for a: take one out"):
        MatchedFolder(tmp_path, ["a"], (".png",))
    touch(tmp_path, f"{NFD}.png", "tür.png", "XY.png")
    with pytest.raises(UserError, match="for tür: take one out"):
        MatchedFolder(tmp_path, ["tür"], (".png",))
    with pytest.raises(UserError, match=r"XY\.png may belong to xy or to Xy"):
        MatchedFolder(tmp_path, ["xy", "Xy"], (".png",))
    with pytest.raises(UserError, match="there is no folder"):
        MatchedFolder(tmp_path / "none", ["a"], (".png",))


def test_of_several_suffixes_the_first_counts(tmp_path):
    touch(tmp_path, "a.png", "a.JPG", "b.tif")
    folder = MatchedFolder(tmp_path, ["a", "b"], (".jpg", ".png", ".tif"))
    assert [path.name for path in folder.paths.values()] == ["a.JPG", "b.tif"]


def test_a_name_of_a_table_may_have_a_suffix(tmp_path):
    touch(tmp_path, "a.PNG", "a.jpg", "B.jpg", f"{NFD}.jpg")
    find = finder(sorted(tmp_path.iterdir()))

    def names(name):
        return [path.name for path in find(name)]

    assert names("a") == ["a.PNG", "a.jpg"] and names("a.jpg") == ["a.jpg"]
    assert names("a.png") == ["a.PNG"] and names("b") == names("b.JPG") == ["B.jpg"]
    assert names("tür") == [f"{NFD}.jpg"] and names("c") == []


def test_a_path_below_a_folder_is_found_by_its_last_name(tmp_path):
    (tmp_path / "sub").mkdir()
    touch(tmp_path / "sub", "A.JPG")
    find = path_finder(tmp_path)
    assert find(Path("sub/a.jpg")) == tmp_path / "sub/A.JPG"
    assert find(Path("none/a.jpg")) == tmp_path / "none/a.jpg"


@pytest.mark.parametrize(
    "line",
    [
        "IMG 1", "IMG 1.JPG", "/JPEGImages/IMG 1.jpg /proxy/IMG 1.png", "x\\IMG 1.tif",
        "IMG 1.jpeg 17",
    ],
)  # fmt: skip
def test_a_line_of_a_list_names_an_image(line):
    assert image_id_in(line, {"IMG 1", "IMG"}) == "IMG 1"
    assert image_id_in("a.jpg b.png", {"a"}) == "a" == image_id_in("a b", {})


def test_an_image_id_is_composed():
    assert image_id_of(f"x/{NFD}.HEIC") == "tür"
