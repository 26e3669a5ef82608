"""A folder of images with a table of labels, and COCO's annotations."""

import numpy as np

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
    return bad.not_converted(bad.make_folder("image;labels\na;cat\n"))


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


@case("two rows of one image")
def _(bad: Bad) -> str:
    return refused_row(bad, "a.png,cat,")


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


@case("a COCO image whose name points outside its folder")
def _(bad: Bad) -> str:
    return bad.not_converted(bad.make_coco(images=[{"id": 1, "file_name": "../train/a.jpg"}]))


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
