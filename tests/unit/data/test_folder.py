"""A folder of images with a table of labels, read as a source."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo, ClassTable
from seedbed.data.layouts.folder import folder_source
from seedbed.data.source import raise_problem
from seedbed.data.text import is_image_id
from seedbed.formats.masks import write_mask
from seedbed.runtime.errors import UserError

HEIGHT, WIDTH = 5, 7


@pytest.fixture
def folder(tmp_path):
    """Three photos, a mask of one, and an empty table."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name in ("cat 1.jpg", "dög.PNG", "both.v2.jpg"):
        add_image(tmp_path, name)
    write_mask(tmp_path / "masks" / "cat 1.png", np.full((HEIGHT, WIDTH), 1, np.uint8))
    return tmp_path


def add_image(folder, name):
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / name)


TABLE = "image,labels\ncat 1.jpg,cat\ndög.PNG,dog\nboth.v2,dog cat\n"


def read(folder, table, on_problem=raise_problem, masks=True, **options):
    """The source of a table, given as text (UTF-8) or bytes."""
    path = folder / "labels.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder_source(
        folder / "images",
        path,
        folder / "masks" if masks else None,
        on_problem=on_problem,
        **{"keep_negatives": False, **options},
    )


def problems_of(folder, table, **options):
    found = []
    read(folder, table, on_problem=found.append, **options)
    return [line.replace(str(folder / "labels.csv"), "labels.csv") for line in found]


def test_ids_are_file_stems_and_classes_those_of_the_table(folder):
    source = read(folder, TABLE)
    assert source.table.classes == (ClassInfo("cat", 1), ClassInfo("dog", 2))
    assert source.labels == {"cat 1": (1,), "dög": (2,), "both.v2": (1, 2)}
    assert source.images["dög"] == folder / "images" / "dög.PNG"
    assert source.label_source == "labels.csv" and source.notes == ()


def test_without_splits_the_images_with_a_mask_are_val(folder):
    source = read(folder, TABLE)
    assert source.splits == {"dög": "train", "both.v2": "train", "cat 1": "val"}
    assert list(source.splits) == ["dög", "both.v2", "cat 1"]  # as the index has them
    assert set(read(folder, TABLE, masks=False).splits.values()) == {"train"}


def test_a_column_of_splits_decides_and_an_empty_cell_is_train(folder):
    write_mask(folder / "masks" / "both.v2.png", np.ones((HEIGHT, WIDTH), np.uint8))
    table = "Split,Image,Labels\ntest,dög.PNG,\n,cat 1.jpg,cat\nval,both.v2.jpg,cat\n"
    assert read(folder, table).splits == {"cat 1": "train", "both.v2": "val", "dög": "test"}
    assert "dög" not in read(folder, table).labels  # what is not said comes from the mask


def test_a_byte_order_mark_both_line_ends_and_empty_rows_are_fine(folder):
    expected = read(folder, TABLE)
    dos = b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n\r\n,,\r\n").encode()
    found = read(folder, dos)
    assert (found.labels, found.splits) == (expected.labels, expected.splits)


def test_semicolons_anywhere_let_names_have_blanks(folder):
    table = "image,labels\ndög,polar bear\nboth.v2, polar bear ;; <script>\ncat 1,<script>;\n"
    source = read(folder, table)
    assert [info.name for info in source.table.classes] == ["<script>", "polar bear"]
    assert source.labels == {"dög": (2,), "both.v2": (1, 2), "cat 1": (1,)}


def test_composed_and_decomposed_letters_are_the_same(folder):
    source = read(folder, unicodedata.normalize("NFD", TABLE))
    assert "dög" in source.images
    add_image(folder, unicodedata.normalize("NFD", "ü.jpg"))
    assert read(folder, TABLE + "ü,cat\n").labels["ü"] == (1,)


def test_given_classes_number_the_masks(folder):
    source = read(folder, TABLE, classes=["dog", "cat"])
    assert [(info.name, info.source_id) for info in source.table.classes] == [
        ("dog", 1),
        ("cat", 2),
    ]
    assert source.labels["cat 1"] == (2,)


def test_masks_hold_class_ids_background_and_void(folder):
    source = read(folder, TABLE)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[0], mask[1] = 2, 255
    write_mask(folder / "masks" / "cat 1.png", mask)
    np.testing.assert_array_equal(source.mask("cat 1", (HEIGHT, WIDTH)), mask)
    assert source.mask("dög", (HEIGHT, WIDTH)) is None
    with pytest.raises(UserError, match=r"cat 1\.png is \(5, 7\), its image \(7, 5\)"):
        source.mask("cat 1", (WIDTH, HEIGHT))
    write_mask(folder / "masks" / "cat 1.png", mask + 1)
    with pytest.raises(UserError, match=r"cat 1\.png holds 3, and the classes are 1 to 2"):
        source.mask("cat 1", (HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("horse.jpg,dog\n", "row 5 of labels.csv: there is no image 'horse.jpg' in"),
        ("\n../images/dög.PNG,dog\n", "row 6 of labels.csv: there is no image '../images/dög.PNG'"),
        ("..,dog\n", "row 5 of labels.csv: there is no image '..'"),
        (",dog\n", "row 5 of labels.csv: there is no image ''"),
        ("twice.jpg,dog\ntwice.png,cat\n", "row 6 of labels.csv: twice.png and twice.jpg in row 5"),
        ("c.jpg,dog,cat\n", "row 5 of labels.csv has 3 cells: separate labels by blanks or ;"),
        ("a.b,\n", "row 5 of labels.csv: train image a.b has no label: name one, take it"),
        ("a.b\n", "row 5 of labels.csv: train image a.b has no label"),
        ('"x\ny",dog\n', "row 5 of labels.csv: there is no image 'x\\ny'"),
        ("twice,dog\n", "row 5 of labels.csv: there are 2 images 'twice' in"),
        ("a\\b.jpg,dog\n", "row 5 of labels.csv: 'a\\\\b' cannot be an image's id"),
    ],
)
def test_a_wrong_row_is_named(folder, rows, expected):
    for name in ("a.b.jpg", "twice.jpg", "twice.png", "a\\b.jpg"):
        add_image(folder, name)
    (line,) = problems_of(folder, TABLE + rows)
    assert line.startswith(expected)
    with pytest.raises(UserError):
        read(folder, TABLE + rows)


def test_every_wrong_row_is_told_and_the_others_stay(folder):
    table = TABLE.replace("labels", "labels,split").replace("dog\n", "dog,Trian\n")
    found = problems_of(folder, table + "nine,cat,\n")
    assert [line.split(":")[0] for line in found] == [f"row {n} of labels.csv" for n in (3, 5)]
    assert "'Trian' is not a split: write train, val or test" in found[0]


def test_a_val_image_needs_a_mask(folder):
    table = "image,labels,split\ncat 1,cat,val\ndög,dog,val\nboth.v2,cat dog,\n"
    (line,) = problems_of(folder, table)
    assert line == "row 3 of labels.csv: val image dög has no mask dög.png: paint one"


def test_labels_beside_the_given_classes_are_told(folder):
    found = problems_of(folder, TABLE, classes=["dog"])
    assert [line[:42] for line in found] == [
        f"row {n} of labels.csv: 'cat' is not one of t" for n in (2, 4)
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is empty: begin it with the row image,labels"),
        ("picture;labels\ncat 1.jpg;cat\n", "row 1 of .* is 'picture;labels': write image,labels"),
        ("cat 1.jpg,cat\n", "row 1 of .* is 'cat 1.jpg,cat'"),
        (
            "image,labels,spilt\ndög,dog,Train\n",
            "'spilt' of .* holds names of splits",
        ),
        ("image,labels,labels\n", "row 1 of "),
        ("image,labels\ndög,cat\n".encode("latin-1"), "save it as CSV in UTF-8"),
        (TABLE.encode("utf-16-le")[:-1], "save it as CSV in UTF-8"),
        ("image,labels\n", "labels.csv names no class"),
        ('image,labels\nboth.v2,"a\x07;b"\n', r"'a\\x07' cannot name a class"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(folder, table, message):
    with pytest.raises(UserError, match=message) as caught:
        read(folder, table)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_or_table_is_named(folder):
    with pytest.raises(UserError, match=r"no folder .*masks"):
        (folder / "masks").rename(folder / "elsewhere")
        read(folder, TABLE)
    with pytest.raises(UserError, match=r"cannot read .*gone\.csv"):
        gone = folder / "gone.csv"
        folder_source(folder / "images", gone, keep_negatives=False, on_problem=raise_problem)


def test_images_and_masks_without_a_row_are_counted(folder):
    for name in ("x.jpg", "y.jpg", ".hidden.jpg", "notes.txt"):
        (folder / "images" / name).write_bytes(b"")
    write_mask(folder / "masks" / "x.png", np.zeros((2, 2), np.uint8))
    images, masks, others = read(folder, TABLE.replace("dög.PNG,dog\n", "")).notes
    assert images.startswith("3 images in ") and images.endswith("left out: dög.PNG, x.jpg, y.jpg")
    assert masks.startswith("1 masks in ") and masks.endswith(": x.png")
    assert others == f"1 files in {folder / 'images'} are no images: notes.txt"


def test_own_classes_have_their_own_ids_even_with_vocs_names():
    assert [info.source_id for info in ClassTable.own(["cat", "dog"]).classes] == [1, 2]
    with pytest.raises(UserError, match="254 at most"):
        ClassTable.own([f"c{k}" for k in range(255)])


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a b", True), ("日本", True), ("-rf", True), ("<script>", True), ("a.b", True),
        ("", False), (" ", False), (".a", False), ("..", False), ("a/b", False), ("a\\b", False),
        ("a\n", False), (" a", False), ("a\x00", False), ("\ud800", False),
    ],
)  # fmt: skip
def test_ids_are_stems_of_files_that_can_be_written_down(text, good):
    assert is_image_id(text) == good
