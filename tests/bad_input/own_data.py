"""A folder of images with a table of labels, and COCO's annotations."""

import json

import numpy as np
from PIL import Image

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from seedbed.formats.masks import write_mask
from tests.bad_input.case import HEIGHT, WIDTH, Bad, case, pixels

HEAD = "image,labels,split\n"
GOOD = f"{HEAD}a,cat,train\nb,cat,val\n"


def refused_row(bad: Bad, row: str) -> str:
    """What is said of a third row."""
    return bad.not_converted(bad.make_folder(f"{HEAD}a,cat,\n{row}\n"))


@case("the folder of images or masks, or the table, is missing")
def _(bad: Bad) -> str:
    settings = bad.make_folder(GOOD)
    images, masks = bad.data / "photos/images", bad.data / "photos/masks"
    masks.rename(bad.data / "elsewhere")
    line = bad.asked("convert_inputs", None, convert=settings)
    assert line == (
        "data/photos/masks: does not exist; put it there, or change convert.folder.masks in the "
        "config"
    )
    (bad.data / "elsewhere").rename(masks)
    images.rename(bad.data / "elsewhere")
    return bad.asked("convert_inputs", None, convert=settings)


@case("a table with other columns")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder("picture,cat\na,1\n"))


@case("a table that is empty, or not UTF-8")
def _(bad: Bad) -> str:
    settings = bad.make_folder("")
    line = bad.not_converted(settings)
    assert line == ("the table data/photos/labels.csv is empty: begin it with the row image,labels")
    (bad.data / "photos/labels.csv").write_bytes("image,labels\na,bär\n".encode("latin-1"))
    return bad.not_converted(settings)


@case("a row for an image that does not exist, or with `../`")
def _(bad: Bad) -> str:
    line = refused_row(bad, "../images/b.png,cat,")
    assert line.startswith("row 3 of data/photos/labels.csv: there is no image '../images/b.png' ")
    (bad.data / "photos/labels.csv").write_text(f"{HEAD}a,cat,\ngone.jpg,cat,\n")
    return bad.not_converted({"folder": {"images": "photos/images", "labels": "photos/labels.csv"}})


@case("two rows of one image in different splits")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder(f"{HEAD}a,cat,\nb,cat,val\na.png,dog,val\n"))


def labels_read(bad: Bad, table: str | bytes, settings: dict[str, object] | None = None) -> None:
    """Check that image a is read as a polar bear and a cat, in train, from another table."""
    if not (bad.data / "photos").exists():
        bad.make_folder("")
    path = bad.data / "photos/labels.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    names = {"images": "photos/images", "labels": "photos/labels.csv"}
    index = Index.load(bad.converted({"folder": names, **(settings or {})}) / "index.json")
    assert index.class_names == ["background", "cat", "polar bear"]
    assert index.entry("a").labels == (1, 2) and index.entry("a").split == "train"


@case("a table separated by semicolons or tabs, with a first line `sep=;`, or in UTF-16")
def _(bad: Bad) -> None:
    labels_read(bad, 'image;labels\na;"cat;polar bear"\n')
    labels_read(bad, 'sep=;\r\nimage;labels\r\na;"cat;polar bear"\r\n'.encode("utf-16"))
    tabs = "Filename\tTags\tSubset\na.png\tcat,polar bear\tTraining\n"
    labels_read(bad, tabs.encode("utf-16-le"))


@case("a table with a row for each label, or a column of 0 and 1 for each class")
def _(bad: Bad) -> None:
    labels_read(bad, "filename,width,class\na.png,8,polar bear\na.png,8,cat\na.png,8,cat\n")
    labels_read(bad, "image,cat,polar bear\na,1,1\n")


@case("a column `class_id`, `category_id`, `label_id`, `target` or `y`, and none that is called "
      "label or class")  # fmt: skip
def _(bad: Bad) -> None:
    settings = bad.make_folder("")
    del settings["folder"]["masks"]
    for name in ("class_id", "category_id", "label_id", "target", "y"):
        (bad.data / "photos/labels.csv").write_text(f"filename,width,{name}\na,8,0\nb,8,1\n")
        dataset = bad.converted({**settings, "keep_negatives": True})
        index = Index.load(dataset / "index.json")
        assert index.class_names == ["background", "0", "1"]
        assert [entry.labels for entry in index.images] == [(1,), (2,)]


@case("a quotation mark in a table without its end, which would join the rows after it")
def _(bad: Bad) -> str:
    return bad.not_converted(
        bad.make_folder('image,label,remark\na,cat,ok\nb,dog,"blurred\nc,dog,ok\n')
    )


@case("quotation marks within cells, cells with line feeds, line ends of an old Mac, blank lines "
      "between lines of JSON")  # fmt: skip
def _(bad: Bad) -> None:
    labels_read(bad, 'image,labels,remark\na,"cat\npolar bear",5" pipe\nb,cat,"in two\nlines"\n')
    labels_read(bad, "image,labels\ra,cat;polar bear\rb,cat\r")
    record = '{"image": "a.png", "labels": ["cat", "polar bear"]}'
    labels_read(bad, f'{record}\r\n\r\n{{"image": "b.png", "labels": "cat"}}\r\n')


@case("a name or label of more than 10 000 characters")
def _(bad: Bad) -> str:
    line = refused_row(bad, f"{'b' * 10_001},cat,")
    assert line.startswith("row 3 of data/photos/labels.csv has 10001 characters in the column ")
    (bad.data / "photos/labels.csv").write_text(f"{HEAD}a,cat,\nb,{'x' * 10_001},\n")
    return bad.not_converted({"folder": {"images": "photos/images", "labels": "photos/labels.csv"}})


@case("a table that begins with a very long line instead of names of columns")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder("x" * 10_001))


@case("a very long cell in a column that is not used, such as an outline")
def _(bad: Bad) -> None:
    outline = "1 2 " * 40_000
    labels_read(bad, f'image,labels,outline\na,cat;polar bear,"{outline}"\nb,cat,\n')
    record = {"image": "a", "labels": ["cat", "polar bear"], "outline": outline, "runs": [7] * 9999}
    labels_read(bad, json.dumps([record, {"image": "b", "labels": "cat"}]))


@case("a column of 0 and 1 that holds something else")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder("image,cat,dog\na,1,2\n"))


@case("numbered columns of labels that hold nothing but 0 and 1")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder("image,class_0,class_1\na,1,0\nb,0,1\n"))


@case("lists of 0 and 1 instead of names of classes, in each row")
def _(bad: Bad) -> str:
    settings = bad.make_folder("image,labels\na,1 0 0\nb,0 1 0\n")
    line = bad.not_converted(settings)
    (bad.data / "photos/labels.csv").write_text('{"a": [1, 0, 0], "b": [0, 1, 0]}')
    assert bad.not_converted(settings) == line.replace("row 2", "record 1")
    return line


@case("classes called 0 and 1")
def _(bad: Bad) -> None:
    settings = bad.make_folder("image,label\na,1\nb,0\n")
    del settings["folder"]["masks"]
    assert Index.load(bad.converted(settings) / "index.json").class_names[1:] == ["0", "1"]


@case("a row of an absent class, whose `confidence`, `score`, `value` or `present` is 0")
def _(bad: Bad) -> str:
    settings = bad.make_folder('[{"image": "a", "label": "cat", "value": false}]')
    line = bad.not_converted(settings)
    assert line.startswith("record 1 of data/photos/labels.csv: 'value' is 0, as of an absent ")
    table = "ImageID,Source,LabelName,Confidence\na,verification,Cat,1\na,verification,Dog,0\n"
    (bad.data / "photos/labels.csv").write_text(table)
    return bad.not_converted(settings)


@case("an object of an absent class among the labels of an image")
def _(bad: Bad) -> str:
    labels = [{"name": "cat", "value": True}, {"name": "dog", "value": False}]
    return bad.not_converted(bad.make_folder(json.dumps({"a": labels, "b": "cat"})))


@case("a column of splits that has another name")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder("image,labels,spilt\na,cat,train\nb,cat,val\n"))


@case("labels as JSON: a list of objects, lines of them, or an object")
def _(bad: Bad) -> None:
    record = '{"image": "a.png", "labels": ["cat", "polar bear"]}'
    other = '{"image": "b.png", "labels": "cat"}'
    labels_read(bad, f"[{record}, {other}]")
    labels_read(bad, f"{record}\n{other}\n")
    labels_read(bad, '{"a": ["polar bear", "cat"], "b": "cat"}')


@case("COCO's annotations as a table of labels")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder('{"images": [], "annotations": [], "categories": []}'))


@case("labels separated by commas, semicolons, bars, `#` or line feeds, or a list as JSON or "
      "Python write it")  # fmt: skip
def _(bad: Bad) -> None:
    cells = ["cat, polar bear", "cat;polar bear", "cat|polar bear", "cat#polar bear"]
    cells += ["cat\npolar bear", "['cat', 'polar bear']", '[""cat"", ""polar bear""]']
    for cell in cells:
        labels_read(bad, f'image,labels\na,"{cell}"\n')


@case("no-break and wide blanks, zero-width characters and byte order marks in labels")
def _(bad: Bad) -> None:
    labels_read(bad, "\ufeffimage,labels\na,\ufeffpolar\u00a0 bear\u200b ;\u2060 cat\n")
    cats = ["cat\u200b", "polar\u3000bear"]
    labels_read(bad, "image,labels\na,polar bear;cat\n", {"classes": cats})


@case("a label that may be several classes, or none")
def _(bad: Bad) -> str:
    settings = bad.make_folder("")
    for cell in ("nan", "['cat, dog']", "cat:1", "-", '{"cat": 0.5}'):
        table = json.dumps([{"image": "a", "labels": cell}, {"image": "b", "labels": "cat"}])
        (bad.data / "photos/labels.csv").write_text(table)
        assert "is no certain name of one class" in bad.not_converted(settings)
    (bad.data / "photos/labels.csv").write_text("image,labels\na,cat/dog\nb,cat\n")
    return bad.not_converted(settings)


@case("classes with numbers as names")
def _(bad: Bad) -> None:
    settings = bad.make_folder("image,labels\na,10 9 8 7 6 5\nb,1 2 3 4\n")
    del settings["folder"]["masks"]
    index = Index.load(bad.converted(settings) / "index.json")
    assert index.class_names[1:] == [str(k) for k in range(1, 11)]
    index = Index.load(bad.converted({**settings, "classes": [*range(10, 0, -1)]}) / "index.json")
    assert index.class_names[1:] == [str(k) for k in range(10, 0, -1)]


@case("classes whose numbers are not those of the masks")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_folder("image,labels,split\na,5 2,train\nb,2,val\n"))


@case("a folder without a table, and without a folder for each class")
def _(bad: Bad) -> str:
    bad.make_folder("")
    return bad.not_converted({"folder": {"images": "photos/images"}})


def place_images(bad: Bad, places: dict[str, int]) -> None:
    """Images in folders: their places, without suffix, and their heights."""
    for place, height in places.items():
        path = bad.data / "photos" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels(height).save(path)


@case("hidden folders, those that systems make, or folders without images among those of classes")
def _(bad: Bad) -> None:
    hidden = ("cat/.thumbnails/x", "dog/.ipynb_checkpoints/b-checkpoint", "__MACOSX/train/cat/a",
              "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M")  # fmt: skip
    place_images(bad, {"cat/a": 6, "dog/b": 7, **dict.fromkeys(hidden, 8)})
    (bad.data / "photos/annotations").mkdir()
    index = Index.load(bad.converted({"folder": {"images": "photos"}}) / "index.json")
    assert {entry.id: entry.labels for entry in index.images} == {"a": (1,), "b": (2,)}
    assert index.class_names == ["background", "cat", "dog"]


@case("a folder of images beside those of splits")
def _(bad: Bad) -> str:
    place_images(bad, {"train/cat/a": 6, "train/dog/b": 7, "val/cat/c": 8, "extra/d": 9})
    return bad.not_converted({"folder": {"images": "photos"}})


@case("an image in the folders of two classes")
def _(bad: Bad) -> None:
    place_images(bad, {"cat/a": 6, "dog/a": 6, "cat/1": 6, "dog/1": 7})
    index = Index.load(bad.converted({"folder": {"images": "photos"}}) / "index.json")
    labels = {entry.id: entry.labels for entry in index.images}
    assert labels == {"a": (1, 2), "cat_1": (1,), "dog_1": (2,)}


@case("labels that name no class")
def _(bad: Bad) -> str:
    settings = {**bad.make_folder("image,labels\na,\nb,background\n"), "keep_negatives": True}
    del settings["folder"]["masks"]
    return bad.not_converted(settings)


@case("a row of two images")
def _(bad: Bad) -> str:
    settings = bad.make_folder(GOOD)
    pixels().save(bad.data / "photos/images/b.jpg")
    return bad.not_converted(settings)


@case("a train image without a label in the table")
def _(bad: Bad) -> str:
    return refused_row(bad, "b,,train")


@case("a label that is not one of the chosen classes")
def _(bad: Bad) -> str:
    return bad.not_converted({**bad.make_folder(GOOD), "classes": ["dog"]})


@case("a split that is misspelt")
def _(bad: Bad) -> str:
    return refused_row(bad, "b,cat,vla")


@case("a val image of the table without a mask")
def _(bad: Bad) -> str:
    settings = bad.make_folder(GOOD)
    (bad.data / "photos/masks/b.png").unlink()
    return bad.not_converted(settings)


@case("a mask of such a folder with an index that is not a class")
def _(bad: Bad) -> str:
    settings = bad.make_folder(GOOD)
    write_mask(bad.data / "photos/masks/b.png", np.full((HEIGHT, WIDTH), 2, np.uint8))
    return bad.not_converted(settings)


@case("a file without COCO instances")
def _(bad: Bad) -> str:
    settings = bad.make_coco(images=[{"id": 1}])
    line = bad.not_converted(settings)
    assert line.startswith("data/coco/train.json holds no COCO instances: images.0.file_name: ")
    (bad.data / "coco/train.json").write_text("")
    return bad.not_converted(settings)


@case("a COCO file that gives no image a class")
def _(bad: Bad) -> str:
    return bad.not_converted({**bad.make_coco(annotations=[]), "keep_negatives": True})


@case("a COCO category id with two names, as in files joined carelessly")
def _(bad: Bad) -> str:
    categories = [
        {"id": 17, "name": "cat"},
        {"id": "17", "name": " cat"},
        {"id": 18, "name": "cow"},
    ]
    return bad.not_converted(bad.make_coco(categories=[*categories, {"id": 17, "name": "dog"}]))


@case("COCO polygons in fractions of the image instead of pixels")
def _(bad: Bad) -> str:
    annotation = {"image_id": 1, "category_id": 17, "segmentation": [[0.1, 0.1, 0.6, 0.1, 1, 0.8]]}
    return bad.not_converted(bad.make_coco(annotations=[annotation]))


@case("a COCO image stored in the file itself as a `data:` URI")
def _(bad: Bad) -> str:
    image = {"id": 1, "file_name": "data:image/jpeg;base64," + "/9j/4AAQSkZJRg" * 1000}
    return bad.not_converted(bad.make_coco(images=[image]))


@case("a COCO image whose name is too long for a file")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_coco(images=[{"id": 1, "file_name": "x" * 300 + ".jpg"}]))


@case("a COCO image whose name points outside its folder")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_coco(images=[{"id": 1, "file_name": "../val/b.jpg"}]))


@case("Label Studio's paths, ids as text, flat polygons, null `iscrowd` in COCO")
def _(bad: Bad) -> None:
    image = {"id": "1", "file_name": "/data/upload/3/0f3e9a1b-a.jpg"}
    thing = {
        "image_id": 1,
        "category_id": "17",
        "iscrowd": None,
        "segmentation": [0, 0, 4, 0, 4, 4],
    }
    dataset = bad.converted(bad.make_coco(images=[image], annotations=[thing]))
    (entry,) = Index.load(dataset / "index.json").images
    assert (entry.id, entry.labels, entry.has_mask) == ("a", (1,), True)


@case("a photo on its side whose COCO size is that before it is turned")
def _(bad: Bad) -> None:
    settings = bad.make_coco()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels().save(bad.data / "coco/train/a.jpg", exif=exif)
    with Maps(bad.converted(settings) / "masks.h5") as masks:
        assert masks["a"].shape == (WIDTH, HEIGHT) and masks["a"].any()


@case("two equal COCO images in folders")
def _(bad: Bad) -> str:
    images = [
        {"id": k, "file_name": f"{folder}/a.jpg"} for k, folder in enumerate(("left", "right"))
    ]
    settings = bad.make_coco(images=images, annotations=[{"image_id": 0, "category_id": 17}])
    for folder in ("left", "right"):
        (bad.data / "coco/train" / folder).mkdir()
        pixels().save(bad.data / "coco/train" / folder / "a.jpg")
    return bad.not_converted(settings)


@case("a COCO annotation of no image or no category")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_coco(annotations=[{"image_id": 2, "category_id": 17}]))


@case("a COCO image of another size than the file says")
def _(bad: Bad) -> str:
    image = {"id": 1, "file_name": "a.jpg", "height": WIDTH, "width": HEIGHT}
    return bad.not_converted(bad.make_coco(images=[image]))


@case("a COCO polygon outside its image, or run lengths that do not fill it")
def _(bad: Bad) -> str:
    def spoilt(segmentation: object) -> str:
        annotation = {"image_id": 1, "category_id": 17, "segmentation": segmentation}
        return bad.not_converted(bad.make_coco(annotations=[annotation]))

    line = spoilt([[0, 0, 900, 0, 900, 900]])
    assert "a polygon lies off the image of 6 x 8" in line
    (bad.data / "coco").rename(bad.data / "elsewhere")
    return spoilt({"size": [HEIGHT, WIDTH], "counts": [3, 4]})
