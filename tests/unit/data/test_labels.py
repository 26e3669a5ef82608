"""Image-level labels in the forms people have."""

import json

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassTable, in_order
from seedbed.data.layouts.folder import folder_source
from seedbed.data.layouts.labels.cells import split_column
from seedbed.data.layouts.labels.table import read_label_table
from seedbed.data.layouts.voc import read_annotation, read_cls_labels
from seedbed.data.mask_names import MaskNames
from seedbed.data.source import decode, raise_problem
from seedbed.data.text import plain_name
from seedbed.formats.masks import write_mask
from seedbed.runtime.errors import UserError

SIZE = (5, 7)


def split(*cells, many=True, known=()):
    return split_column(cells, many=many, known=known)


def rows_of(tmp_path, content, classes=None, on_problem=raise_problem, name="labels.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_label_table(path, classes=classes, on_problem=on_problem)


def labels_of(tmp_path, content, **options):
    rows = rows_of(tmp_path, content, **options).rows
    return {row.image: row.labels for row in rows}


@pytest.mark.parametrize(
    "cell",
    [
        "cat dog", "cat, dog", "cat,dog", "cat;dog", " cat ; dog ;", "cat|dog", "cat#dog",
        "#cat #dog", "cat\ndog", "cat\r\ndog", "cat\tdog", "['cat', 'dog']", '["cat", "dog"]',
        "['cat' 'dog']", "('cat', 'dog')", "{'cat', 'dog'}", "[cat, dog]", "[u'cat', u'dog']",
        '{"cat": 1, "dog": 1, "cow": 0}', '{"choices": ["cat", "dog"]}', "cat、dog", "cat，dog",
        '[{"label": "cat"}, {"label": "dog"}]', "cat\u00a0dog", "\ufeffcat,\u200bdog",
        "cat;background;dog", "cat,cat,dog", "cat\u3000dog", "\u200ecat\u200f;dog\u00ad",
    ],
)  # fmt: skip
def test_labels_of_a_cell_are_split_where_that_is_certain(cell):
    assert split(cell) == [("cat", "dog")]


def test_one_separator_serves_a_whole_column():
    assert split("polar bear", "dog, polar bear") == [("polar bear",), ("dog", "polar bear")]
    assert split("polar bear", "dog polar") == [("polar", "bear"), ("dog", "polar")]
    assert split("polar bear", "dog", many=False) == [("polar bear",), ("dog",)]
    assert split("polar bear", "dog", known={"polar bear"}) == [("polar bear",), ("dog",)]
    assert split("C#", "cat") == [("C#",), ("cat",)]


def test_cells_without_a_label_are_empty():
    assert split("", "[]", "()", "{}", "background", "\u200b", '{"cat": 0}') == [()] * 7


@pytest.mark.parametrize("cell", ["cat/dog", "cat / dog", "cat+dog", "cat & dog", "cat and dog"])
def test_joined_classes_are_split_if_both_stand_alone(cell):
    assert split("cat", cell, "dog", many=False) == [("cat",), ("cat", "dog"), ("dog",)]
    assert split("cat", cell, many=False) == [("cat",), (cell,)]
    assert split(cell, many=False, known={"cat", "dog"}) == [("cat", "dog")]
    assert split(cell, "cat", "dog", many=False, known={cell})[0] == (cell,)


@pytest.mark.parametrize(
    "cell",
    [
        "cat/dog", "['cat, dog']", "cat:1 dog:0", "cat & dog", "[cat", "'cat'", "cat and dog",
        "nan", "None", "-",
        "['cat', ['dog']]", "{'cat': 1}", '"cat, dog', "a;b,c", "cat\\dog", "n/a",
    ],
)  # fmt: skip
def test_a_name_that_may_be_several_classes_is_refused(tmp_path, cell):
    found = []
    text = json.dumps([{"image": "a", "labels": cell}])
    assert rows_of(tmp_path, text, on_problem=found.append).rows == []
    assert found[0].startswith("record 1 of ") and "is no certain name of one class" in found[0]


def test_words_that_are_classes_of_their_own_are_refused_as_one_name(tmp_path):
    found = []
    rows_of(tmp_path, "image,label\na,cat\nb,cat dog\nc,dog\n", on_problem=found.append)
    assert len(found) == 1 and "'cat dog' is no certain name" in found[0]


@pytest.mark.parametrize("name", ["tv/monitor", "building, edifice", "none", "cat:1"])
def test_a_class_that_is_given_may_have_any_name(tmp_path, name):
    table = f'image,labels\na,"{name}"\nb,cat\n'
    assert labels_of(tmp_path, table, classes=[name, "cat"]) == {"a": (name,), "b": ("cat",)}


@pytest.mark.parametrize(
    "name", ["bird's nest", "date (fruit)", "R&B", "traffic-light", "می‌خواهم", "C++"]
)
def test_names_of_one_class_stay(tmp_path, name):
    assert labels_of(tmp_path, f"image,label\na,{name}\nb,cat\n") == {"a": (name,), "b": ("cat",)}


def test_invisible_characters_are_no_part_of_a_name():
    assert plain_name(" \ufeffpolar\u00a0 \u2009bear\u200b\u200d ") == "polar bear"
    assert plain_name("c\u200cat") == "cat"
    assert plain_name("می\u200cخواهم\u200c") == "می\u200cخواهم"


TABLE = {"a b.jpg": ("cat",), "b": ("dog", "polar bear")}


@pytest.mark.parametrize(
    "text",
    [
        "image;labels\na b.jpg;cat\nb;dog, polar bear\n",
        "sep=;\nimage;labels\na b.jpg;cat\nb;dog, polar bear\n",
        '"sep=\t"\r\nimage\tlabels\r\na b.jpg\tcat\r\nb\tdog|polar bear\r\n',
        "File Name,Tags\na b.jpg,cat\nb,dog;polar bear\n",
        "filename,class\na b.jpg,cat\nb,dog;polar bear\n",
        "id,image_path,label_1,label_2\n0,a b.jpg,cat,\n1,b,dog,polar bear\n",
        ",fname,labels\n0,a b.jpg,cat\n1,b,dog;polar bear\n",
        "image,cat,dog,polar bear\na b.jpg,1,0,0\nb,0,1.0,true\n",
        "filename;width;cat;dog;polar bear\na b.jpg;640;1;;\nb;480;0;1;1\n",
        'image,labels\na b.jpg,"[""cat""]"\nb,"[""dog"", ""polar bear""]"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_tables_are_read_in_the_forms_people_have(tmp_path, text, encoding):
    assert labels_of(tmp_path, text.encode(encoding)) == TABLE


@pytest.mark.parametrize(
    "text",
    [
        '[{"image": "a b.jpg", "labels": ["cat"]},'
        ' {"image": "b", "labels": ["dog", "polar bear"]}]',
        '{"image": "a b.jpg", "labels": "cat"}\n{"image": "b", "labels": "dog;polar bear"}\n',
        '{"a b.jpg": "cat", "b": ["dog", "polar bear"]}',
        '{"a b.jpg": {"cat": 1, "dog": 0}, "b": {"dog": 1, "polar bear": true}}',
        '{"data": [{"file_name": "a b.jpg", "tags": ["cat"]},'
        ' {"file_name": "b", "tags": ["dog", "polar bear"]}]}',
        '[{"file": "a b.jpg", "cat": 1}, {"file": "b", "dog": 1, "polar bear": true, "cat": 0}]',
        '[{"image": "a b.jpg", "labels": [{"name": "cat"}]},'
        ' {"image": "b", "labels": [{"name": "dog"}, {"name": "polar bear"}]}]',
    ],
)
def test_json_lists_lines_and_objects_are_read(tmp_path, text):
    assert labels_of(tmp_path, text, name="labels.json") == TABLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "cat", "a": "dog"}', "the key 'a' is there twice"),
        (
            '{"images": [], "annotations": [], "categories": []}',
            "name it in convert.coco.instances",
        ),
        ('["a", "b"]', "holds no list of objects"),
        ('[{"image": "a"}, 3]', "holds no list of objects"),
        ('{"image": "a", "labels": "cat"}\n{"image"', "cannot read"),
        ("image,cat,dog\na,1,2\n", "the column 'dog' of .* holds '2': write 0 or 1"),
        ("image,cat,dog\na,1,-1\n", "the column 'dog' of .* holds '-1'"),
        ("image,width\na,1\n", "has no column of labels"),
        ("image,split\na,train\n", "row 1 of "),
        ("image,label,labels\na,cat,dog\n", "row 1 of "),
        ("sep=;\nimage,labels\na,cat\n", "row 2 of .* is 'image,labels': write image,labels"),
    ],
)
def test_other_tables_are_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        rows_of(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,class_id", "{},{}"),
        ("image,categoryId", "{},{}"),
        ("image,Label ID", "{},{}"),
        ("image,target", "{},{}"),
        ("image,width,split,Unnamed: 0,y", "{},8,train,5,{}"),
        ("image_id,bbox,category_id", '{},"[1, 2]",{}'),
        ("image,sex,target", "{},1,{}"),
        ("image,target,class_id", "{},7,{}"),
    ],
)
def test_a_column_of_the_numbers_of_classes_is_no_flag(tmp_path, header, row):
    table = f"{header}\n{row.format('a', 0)}\n{row.format('b', 1)}\n"
    assert labels_of(tmp_path, table) == {"a": ("0",), "b": ("1",)}


@pytest.mark.parametrize(
    "text",
    [
        '[{"image": "a", "category_id": 0}, {"image": "b", "category_id": 1}]',
        '{"a": {"category_id": 0}, "b": {"category_id": 1}}',
        '{"a": [{"class_id": 0, "score": 1}], "b": [{"class_id": 1}]}',
    ],
)
def test_numbers_of_classes_in_json_are_no_flags(tmp_path, text):
    assert labels_of(tmp_path, text) == {"a": ("0",), "b": ("1",)}


def test_columns_with_the_name_of_labels_come_before_those_of_numbers(tmp_path):
    expected = {"a": ("cat",), "b": ("dog",)}
    assert labels_of(tmp_path, "image,label_id,label\na,0,cat\nb,1,dog\n") == expected
    assert labels_of(tmp_path, "image,class_id,label_1\na,0,cat\nb,1,dog\n") == expected
    letters = "image,x,y\na,1,0\nb,0,1\n"  # a column for each class
    assert labels_of(tmp_path, letters) == {"a": ("x",), "b": ("y",)}


OPEN = [
    ('image,label,remark\na,cat,ok\nb,dog,"blurred\nc,dog,ok\n', 3, "'blurred'"),
    ('image;label;remark\na;cat;ok\nb;dog;"blurred\nc;dog;"dark"\nd;dog;ok\n', 3, "'blurred'"),
    ('sep=,\nimage,label\na,"cat\nb,dog\n', 3, "'cat'"),
    ('label,image\n"dog,a\n"cat,b\n', 2, "'dog,a'"),
    ('image,label\na,"two\nlines"\nb,"cat', 3, "'cat'"),
    ('image,label\r\na,cat\r\nb,"dog\r\n', 3, "'dog'"),
    ('image,label\ra,cat\rb,"dog\rc,dog\r', 3, "'dog"),
    (f'image,label\na,"{"x" * 99}\nb,cat\n', 2, f"'{'x' * 30}…'"),
    ('image,label\na,cat\nb,"', 3, "''"),
]


@pytest.mark.parametrize(("text", "row", "before"), OPEN)
def test_a_quotation_mark_without_its_end_is_refused(tmp_path, text, row, before):
    with pytest.raises(UserError) as caught:
        rows_of(tmp_path, text)
    place = f"row {row} of {tmp_path}/labels.csv"
    said = str(caught.value)
    assert said.startswith(f"{place} has a quotation mark without its end, before {before}")
    assert said.isprintable()


@pytest.mark.parametrize(
    "remark",
    [
        '5" pipe', '"5"" pipe"', '"5" pipe"', '"so-called" cat', '"a" ', "''",
        '"two\nlines"', '"two\r\nlines, and ""more"""', '"\n"', '""', '"a\n\n\nb"',
    ],
)  # fmt: skip
def test_quotation_marks_within_cells_and_quoted_line_feeds_are_read(tmp_path, remark):
    for end in ("", "\n"):
        head, body = "image,label,remark", f"a,cat,{remark}\nb,dog,{remark}"
        rows = rows_of(tmp_path, f"{head}\n{body}{end}").rows
        assert [(row.image, *row.labels) for row in rows] == [("a", "cat"), ("b", "dog")]
        assert [row.place.split()[1] for row in rows] == ["2", "3"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_any_system_are_read(tmp_path, end, last):
    lines = ["sep=;", "image;labels", 'a b.jpg;"cat"', "", "b;dog, polar bear"]
    assert labels_of(tmp_path, end.join(lines) + end * last) == TABLE
    records = ['{"image": "a b.jpg", "labels": ["cat"]}', "", " ",
               '{"image": "b", "labels": "dog;polar bear"}']  # fmt: skip
    rows = rows_of(tmp_path, end.join(records) + end * last).rows
    assert {row.image: row.labels for row in rows} == TABLE
    assert [row.place.split(" of ")[0] for row in rows] == ["line 1", "line 4"]


def test_cells_that_nobody_reads_may_be_long(tmp_path):
    long = "1 2 " * 40_000  # above the limit of Python's csv
    table = rows_of(tmp_path, f'image,labels,runs\na,cat,"{long}"\nb,dog,\n')
    assert [row.labels for row in table.rows] == [("cat",), ("dog",)]
    assert table.notes[0].endswith("are not used: runs")
    records = [{"image": "a", "labels": "cat", "runs": long, "box": [1] * 9999}]
    assert labels_of(tmp_path, json.dumps(records)) == {"a": ("cat",)}
    assert labels_of(tmp_path, f"image,cat,url\na,1,{long}\n") == {"a": ("cat",)}


@pytest.mark.parametrize(
    ("row", "column"),
    [("{},cat,,", "image"), ("b,{},,", "labels"), ("b,cat,{},", "split"), ("b,cat,,{}", "score")],
)
def test_a_long_cell_that_is_read_is_refused_with_its_row(tmp_path, row, column):
    found = []
    table = f"image,labels,split,score\na,cat,,\n{row.format('x' * 10_001)}\n"
    assert labels_of(tmp_path, table, on_problem=found.append) == {"a": ("cat",)}
    (line,) = found
    assert line.startswith(f"row 3 of {tmp_path}/labels.csv has 10001 characters in the column ")
    assert f"{column!r}: shorten" in line
    labels = json.dumps([{"image": "a", "labels": ["cat", "x" * 10_001]}])
    with pytest.raises(UserError, match=r"^record 1 of .* has 10001 characters in the column 'lab"):
        rows_of(tmp_path, labels)


@pytest.mark.parametrize("text", ["x" * 10_001, f"image,cat,{'x' * 10_001}\na,1,0\n"])
def test_a_long_name_of_a_column_is_refused_in_a_short_line(tmp_path, text):
    with pytest.raises(UserError, match=r"^row 1 of .* has a name of 10001 characters: begin") as e:
        rows_of(tmp_path, text)
    assert len(str(e.value)) < 300


def test_a_wrong_value_in_a_column_of_a_class_is_shortened(tmp_path):
    with pytest.raises(UserError, match=r"the column 'cat' of .* holds '2+…': write 0 or 1"):
        rows_of(tmp_path, f"image,cat\na,{'2' * 20_000}\n")


UNNAMED = [
    "image,class_0,class_1,class_2\na,1,0,0\nb,0,1,0\n",
    "image,label_1,label_2\na,1.0,\nb,0.0,1.0\n",
    "image,Class 0,Class 1\na,True,False\nb,False,True\n",
    '[{"image": "a", "tag1": 1, "tag2": 0}]',
]
VECTORS = [
    "image,labels\na,1 0 0\nb,0 1 1\nc,\n",
    "image,label\na,1 0 0\nb,0 1 0\n",
    "image,labels\na,1;0\nb,0;1\n",
    'image,labels\na,"[1, 0, 0]"\nb,"[0, 1, 0]"\nc,[]\n',
    "image,labels\na,[1. 0. 0.]\nb,[0. 1. 1.]\n",
    '{"a": [1, 0, 0], "b": [0, 1, 0]}',
    '{"a": ["1", "0"], "b": []}',
    '[{"image": "a", "labels": [1.0, 0.0]}, {"image": "b", "labels": [0.0, 0.0]}]',
]


@pytest.mark.parametrize("text", UNNAMED)
@pytest.mark.parametrize("classes", [None, ["cat", "dog", "0", "1"]])
def test_numbered_columns_of_0_and_1_are_no_names(tmp_path, text, classes):
    with pytest.raises(UserError, match=r"^the columns .* of .* hold nothing but 0 and 1: name"):
        rows_of(tmp_path, text, classes=classes)


@pytest.mark.parametrize("text", VECTORS)
@pytest.mark.parametrize("classes", [None, ["cat", "dog", "0", "1"]])
def test_vectors_of_0_and_1_are_no_names(tmp_path, text, classes):
    with pytest.raises(UserError, match=r"^(row 2|record 1) of .* lists [23] values of 0 and 1,"):
        rows_of(tmp_path, text, classes=classes)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("image,label\na,1\nb,0\n", [("1",), ("0",)]),
        ("image,label_1\na,1\nb,0\n", [("1",), ("0",)]),
        ("image,labels\na,0 1\nb,1\n", [("0", "1"), ("1",)]),
        ("image,labels\na,0 1\nb,1 2\n", [("0", "1"), ("1", "2")]),
        ("image,label_1,label_2\na,0,1\nb,1,2\n", [("0", "1"), ("1", "2")]),
        ("image,labels\na,1 0\nb,cat 1\n", [("1", "0"), ("cat", "1")]),
        ('{"a": 1, "b": 0}', [("1",), ("0",)]),
        ('{"a": [0, 1], "b": [1]}', [("0", "1"), ("1",)]),
        ('{"a": [1], "b": [0]}', [("1",), ("0",)]),
    ],
)
def test_classes_may_be_called_0_and_1(tmp_path, text, labels):
    assert list(labels_of(tmp_path, text).values()) == labels


@pytest.mark.parametrize("value", ["0", "0.0", "0.", ".0", "0,0", "0e0", "0%", "False", "no", "N"])
@pytest.mark.parametrize("column", ["present", "Presence", "SCORE", "value", "Is Present"])
def test_rows_of_absent_classes_are_refused(tmp_path, column, value):
    found = []
    table = f"image;label;{column}\na;cat;1\nb;dog;{value}\nc;;{value}\nd;cat;\n"
    assert labels_of(tmp_path, table, on_problem=found.append) == {
        "a": ("cat",), "c": (), "d": ("cat",)
    }  # fmt: skip
    (line,) = found
    assert line.startswith("row 3 of ") and f"{column!r} is {value}, as of an absent class" in line


def test_classes_that_were_looked_for_in_vain_are_no_labels(tmp_path):
    table = "ImageID,Source,LabelName,Confidence\na,verification,Cat,1\nb,verification,Dog,0\n"
    with pytest.raises(UserError, match=r"row 3 of .*'Confidence' is 0, .* remove the rows of"):
        rows_of(tmp_path, table)
    with pytest.raises(UserError, match=r"row 2 of .*'confidence' is 0"):
        rows_of(tmp_path, "image,cat,dog,confidence\na,1,0,0\n")
    with pytest.raises(UserError, match=r"record 1 of .*'score' is 0\.0"):
        rows_of(tmp_path, '[{"image": "a", "label": "cat", "score": 0.0}]')


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([{"name": "cat", "value": True}, {"name": "dog", "value": False}], "'value' of 'dog' is "),
        ([{"label": "cat", "score": 0.0}], "'score' of 'cat' is 0.0"),
        ({"label": "cat", "Probability": 0}, "'Probability' of 'cat' is 0"),
        ({"labels": [{"class": "cat", "present": "no"}]}, "'present' of 'cat' is \"no\""),
    ],
)
def test_objects_of_absent_classes_are_refused(tmp_path, labels, said):
    cell = json.dumps(labels).replace('"', '""')
    tables = {"record 2": json.dumps({"b": "yak", "a": labels}),
              "row 3": f'image,labels\nb,yak\na,"{cell}"\n'}  # fmt: skip
    for place, text in tables.items():
        found = []
        assert labels_of(tmp_path, text, on_problem=found.append) == {"b": ("yak",)}
        (line,) = found
        assert line.startswith(f"{place} of ") and said in line
        assert "remove the objects of absent classes" in line


def test_labels_that_are_not_certain_are_labels(tmp_path):
    table = rows_of(tmp_path, "image,label,score\na,cat,0.01\nb,dog,1\n")
    assert [row.labels for row in table.rows] == [("cat",), ("dog",)]
    assert table.notes[0].endswith("are not used: score")
    objects = '{"a": [{"label": "cat", "score": 0.01}, {"label": "dog", "value": null}]}'
    assert labels_of(tmp_path, objects) == {"a": ("cat", "dog")}
    assert labels_of(tmp_path, "image,cat,present\na,1,0\n") == {"a": ("cat",)}  # two classes
    assert labels_of(tmp_path, "image,cat,confidence\na,0,0\n") == {"a": ()}


def test_splits_have_the_names_that_people_give(tmp_path):
    table = "image,labels,Subset\na,cat,Training\nb,cat,valid\nc,cat,TEST\nd,cat,\n"
    assert [row.split for row in rows_of(tmp_path, table).rows] == ["train", "val", "test", ""]
    table = "fname,labels,is_valid\na,cat,True\nb,cat,False\n"  # fastai's
    assert [row.split for row in rows_of(tmp_path, table).rows] == ["val", "train"]


def test_columns_that_are_not_used_are_told(tmp_path):
    table = rows_of(tmp_path, "filename,width,class,xmin\na,6,cat,1\n")
    assert table.rows[0].labels == ("cat",)
    (note,) = table.notes
    assert note.startswith("2 columns of ") and note.endswith("are not used: width, xmin")


def test_class_names_that_are_numbers_are_ordered_as_numbers(tmp_path):
    numbers = [str(k) for k in range(12, 0, -1)]
    assert in_order(numbers) == [str(k) for k in range(1, 13)]
    assert in_order(["10", "9", "cat"]) == ["10", "9", "cat"]
    assert [info.name for info in ClassTable.of(numbers).classes] == in_order(numbers)
    table = "image,labels\na,10.0\nb,2.0\n"  # as pandas writes them
    assert labels_of(tmp_path, table) == {"a": ("10",), "b": ("2",)}


def add(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def source_of(tmp_path, labels=None, masks=None, on_problem=raise_problem, **options):
    if labels is not None:
        (tmp_path / "labels.csv").write_text(labels)
    return folder_source(
        tmp_path / "images",
        None if labels is None else tmp_path / "labels.csv",
        masks,
        on_problem=on_problem,
        **{"keep_negatives": False, **options},
    )


def problems_of(tmp_path, labels=None, **options):
    found = []
    source_of(tmp_path, labels, on_problem=found.append, **options)
    return found


def test_one_row_a_label(tmp_path):
    for name in ("a", "b"):
        add(tmp_path / f"images/{name}.png")
    table = "image,label\na.png,dog\nb.png,cat\na,polar bear\na.png,dog\n"
    source = source_of(tmp_path, table)
    assert [info.name for info in source.table.classes] == ["cat", "dog", "polar bear"]
    assert source.labels == {"a": (2, 3), "b": (1,)}
    (line,) = problems_of(tmp_path, "image,label,split\na,dog,val\na,cat,train\nb,cat,\n")[:1]
    assert "row 3 of" in line and "a has another split in row 2 of" in line


def test_a_folder_for_each_class(tmp_path):
    for place, seed in {"polar bear/a.png": 0, "dog/b.png": 1, "dog/sub/c.png": 2}.items():
        add(tmp_path / "images" / place, seed)
    source = source_of(tmp_path)
    assert [info.name for info in source.table.classes] == ["dog", "polar bear"]
    assert source.labels == {"a": (2,), "b": (1,), "c": (1,)}
    assert source.images["c"] == tmp_path / "images/dog/sub/c.png"
    assert source.label_source == "images" and set(source.splits.values()) == {"train"}
    assert len(problems_of(tmp_path, classes=["dog"])) == 1


HIDDEN = (
    *("cat/.thumbnails/a.png", "dog/.ipynb_checkpoints/b-checkpoint.png", "cat/sub/@eaDir/x/y.png"),
    *("__MACOSX/cat/z.png", ".hidden/w.png", "cat/._a.png", "#recycle/old/v.png"),
)


@pytest.mark.parametrize("above", ["", "train/"])
def test_hidden_folders_and_those_that_systems_make_are_left_out(tmp_path, above):
    for place, seed in {"cat/a.png": 0, "dog/b.png": 1, "dog/sub/c.png": 2}.items():
        add(tmp_path / f"images/{above}{place}", seed)
    for place in HIDDEN:
        add(tmp_path / f"images/{above}{place}", 9)
        add(tmp_path / f"images/{place}", 9) if place[0] in "._#" else None
    (tmp_path / f"images/{above}annotations/old").mkdir(parents=True)
    (tmp_path / "images/val/annotations/old").mkdir(parents=True)
    source = source_of(tmp_path)
    assert source.table.names == ("cat", "dog")
    assert source.labels == {"a": (1,), "b": (2,), "c": (2,)}
    assert set(source.splits.values()) == {"train"}


def test_a_hidden_folder_above_all_images_hides_none(tmp_path):
    add(tmp_path / ".data/@eaDir/images/cat/a.png")
    (tmp_path / "images").symlink_to(tmp_path / ".data/@eaDir/images")
    assert source_of(tmp_path).labels == {"a": (1,)}
    options = {"keep_negatives": False, "on_problem": raise_problem}
    assert folder_source(tmp_path / ".data/@eaDir/images", **options).labels == {"a": (1,)}


def test_a_folder_beside_splits_is_refused(tmp_path):
    for place, seed in {"train/cat/a.png": 0, "train/dog/b.png": 1, "test/1.png": 2}.items():
        add(tmp_path / "images" / place, seed)
    assert set(source_of(tmp_path, keep_negatives=True).splits.values()) == {"train", "test"}
    (tmp_path / "images/test/1.png").rename(tmp_path / "images/train/cat/1.png")
    (tmp_path / "images/annotations").mkdir()
    (tmp_path / "images/annotations/a.txt").write_text("cat")
    assert source_of(tmp_path).labels == {"a": (1,), "b": (2,), "1": (1,)}
    add(tmp_path / "images/unsorted/d.png", 3)
    add(tmp_path / "images/val/cat/e.png", 4)
    with pytest.raises(UserError, match=r"images has folders in train and val, .* 'unsorted', no"):
        source_of(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    for place, seed in {"train/a.png": 0, "bus/b.png": 1, "bus/red/c.png": 2}.items():
        add(tmp_path / "images" / place, seed)
    source = source_of(tmp_path)
    assert source.table.names == ("bus", "train")
    assert source.labels == {"a": (2,), "b": (1,), "c": (1,)}


def test_folders_of_splits_and_classes_may_be_links(tmp_path):
    for place, seed in {"cats/a.png": 0, "dogs/b.png": 1, "held out/cats/c.png": 2}.items():
        add(tmp_path / "kept" / place, seed)
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/test").symlink_to(tmp_path / "kept/held out")
    for name in ("cats", "dogs"):
        (tmp_path / "images/train" / name).symlink_to(tmp_path / "kept" / name)
    source = source_of(tmp_path)
    assert source.labels == {"a": (1,), "b": (2,), "c": (1,)}
    assert source.splits == {"a": "train", "b": "train", "c": "test"}


def test_an_image_in_two_class_folders_has_both_labels(tmp_path):
    for name in ("cat", "dog"):
        add(tmp_path / f"images/{name}/a.png", seed=0)
    source = source_of(tmp_path)
    assert source.labels == {"a": (1, 2)} and source.notes == ()


def test_different_images_of_one_name_are_called_after_their_class(tmp_path):
    add(tmp_path / "images/cat/1.png", seed=0)
    add(tmp_path / "images/dog/1.png", seed=1)
    source = source_of(tmp_path)
    assert source.labels == {"cat_1": (1,), "dog_1": (2,)}
    assert source.notes == (
        "2 images share their name with another one and are called after their folder: "
        "cat_1, dog_1",
    )


def test_folders_of_splits_may_lie_above_the_class_folders(tmp_path):
    for place, seed in {"Train/cat/a.png": 0, "Train/dog/b.png": 1, "valid/cat/c.png": 2}.items():
        add(tmp_path / "images" / place, seed)
    write_mask(tmp_path / "masks/c.png", np.ones(SIZE, np.uint8))
    source = source_of(tmp_path, masks=tmp_path / "masks")
    assert source.splits == {"a": "train", "b": "train", "c": "val"}
    add(tmp_path / "images/valid/cat/a.png", seed=0)
    (line,) = problems_of(tmp_path, masks=tmp_path / "masks")
    assert "in another split: take one of them out" in line


def test_images_in_no_class_folder_or_in_background_have_no_class(tmp_path):
    for place, seed in {"cat/a.png": 0, "Background/b.png": 1, "c.png": 2}.items():
        add(tmp_path / "images" / place, seed)
    assert source_of(tmp_path, keep_negatives=True).labels == {"a": (1,), "b": (), "c": ()}
    lines = problems_of(tmp_path)
    assert len(lines) == 2 and all("set convert.keep_negatives" in line for line in lines)


def test_a_folder_without_folders_or_labels_is_refused(tmp_path):
    add(tmp_path / "images/a.png")
    with pytest.raises(UserError, match="has no folder of a class: put the images of each class"):
        source_of(tmp_path)


def test_train_images_without_a_class_are_background_whatever_their_mask_holds(tmp_path):
    for name in ("a", "b"):
        add(tmp_path / f"images/{name}.png")
    write_mask(tmp_path / "masks/b.png", np.ones(SIZE, np.uint8))
    table = "image,labels,split\na,cat,train\nb,,train\n"
    source = source_of(tmp_path, table, tmp_path / "masks", keep_negatives=True)
    assert source.labels == {"a": (1,), "b": ()}
    assert decode(source, tmp_path, "b")[0].labels == ()  # not those of its mask
    (line,) = problems_of(tmp_path, table, masks=tmp_path / "masks")
    assert "train image b has no label" in line


def test_numbers_that_are_not_those_of_the_masks_are_refused(tmp_path):
    for name in ("a", "b"):
        add(tmp_path / f"images/{name}.png")
    (tmp_path / "masks").mkdir()
    table = "image,labels\na,2\nb,3\n"
    (line,) = problems_of(tmp_path, table, masks=tmp_path / "masks")
    assert line.startswith("the classes are the numbers 2, 3, and in masks they would be 1 to 2: ")
    options = {"masks": tmp_path / "masks", "classes": ["2", "3"]}
    assert problems_of(tmp_path, table, **options) == []
    options = {"masks": tmp_path / "masks", "mask_names": MaskNames(values={2: "2", 3: "3"})}
    assert problems_of(tmp_path, table, **options) == []
    assert problems_of(tmp_path, table) == []
    assert problems_of(tmp_path, table.replace("3", "1"), masks=tmp_path / "masks") == []


@pytest.mark.parametrize("key", [2007000032, np.int64(2007000032), "2007000032", "2007_000032"])
def test_cls_labels_have_irns_keys(tmp_path, key):
    table, path = ClassTable.of(["cat", "dog"]), tmp_path / "cls_labels.npy"
    vector = np.zeros(20, np.float32)
    vector[7] = 1
    np.save(path, {key: vector}, allow_pickle=True)
    assert read_cls_labels(path, table)["2007_000032"] == (1,)


def test_cls_labels_label_a_folder_of_images_too(tmp_path):
    for name in ("2007_000032", "2012010101"):
        add(tmp_path / f"images/{name}.png")
    path = tmp_path / "cls_labels.npy"
    vectors = {2007000032: np.array([0.0, 1]), "2012010101": np.array([1.0, 1])}
    np.save(path, vectors, allow_pickle=True)
    options = {"keep_negatives": False, "on_problem": raise_problem}
    source = folder_source(tmp_path / "images", path, classes=["yak", "cow"], **options)
    assert source.labels == {"2007_000032": (2,), "2012010101": (1, 2)}
    with pytest.raises(UserError, match="has no names of classes: list them in convert"):
        folder_source(tmp_path / "images", path, **options)
    with pytest.raises(UserError, match="is not an array of 3 values"):
        folder_source(tmp_path / "images", path, classes=["yak", "cow", "emu"], **options)


def test_cls_labels_of_one_image_twice_are_refused(tmp_path):
    path = tmp_path / "cls_labels.npy"
    np.save(path, {2007000032: np.zeros(20), "2007_000032": np.ones(20)}, allow_pickle=True)
    with pytest.raises(UserError, match=r"2007_000032 is in .* twice"):
        read_cls_labels(path, ClassTable.of(["cat"]))


@pytest.mark.parametrize(
    "text",
    [
        "<html><p>404</p></html>",
        "<annotations><annotation><object><name>cat</name></object></annotation></annotations>",
        "<Annotation/>",
        "<annotation xmlns='http://host/'><object><name>cat</name></object></annotation>",
    ],
)
def test_another_xml_file_is_no_annotation_without_a_class(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(
        UserError, match=r"a\.xml is no annotation of VOC's, as it holds <.*> and not"
    ):
        read_annotation(path)
    path.write_text("<annotation><segmented>1</segmented></annotation>")
    assert read_annotation(path) == set()


def test_deleted_objects_are_no_labels(tmp_path):
    path = tmp_path / "a.xml"
    objects = [f"<object><name>{name}</name>{more}</object>" for name, more in
               (("cat", "<deleted>0</deleted>"), ("dog", "<deleted> 1 </deleted>"), ("cow", ""),
                ("", "<deleted>1</deleted>"), ("yak", "<deleted/>"))]  # fmt: skip
    path.write_text(f"<annotation>{''.join(objects)}</annotation>")
    assert read_annotation(path) == {"cat", "cow", "yak"}


def test_names_in_annotations_have_plain_blanks(tmp_path):
    path = tmp_path / "a.xml"
    text = "<annotation><object><name>polar\u00a0bear\u200b</name></object></annotation>"
    path.write_text(text, encoding="utf-8")
    assert read_annotation(path) == {"polar bear"}
