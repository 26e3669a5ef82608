"""A devkit's lists, annotations, label files and SBD."""

import pickle
from pathlib import Path

import numpy as np
import scipy.io

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from tests.bad_input.case import CAT, CONVERT, DOG, HEIGHT, TAGS, WIDTH, Bad, case, pixels

NEGATIVES = {"keep_negatives": True}
CUES = {**CONVERT, "label_source": "cues"}
SBD = {**CONVERT, "sbd": "benchmark_RELEASE/dataset"}
BILLION_LAUGHS = """<!DOCTYPE annotation [<!ENTITY a "cat"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""


@case("a list of the devkit is missing, or a devkit that cannot be fetched")
def _(bad: Bad) -> str:
    line = bad.dry_run(convert={"devkit": "VOCdevkit/VOC2007"})
    bad.make_devkit().listing("train_aug").unlink()
    assert bad.asked("convert_inputs", None, convert=CONVERT) == line.replace("2007", "2012")
    return line


@case("what can be fetched is missing, with `run.fetch: ask`")
def _(bad: Bad) -> str:
    line = bad.asked("convert_inputs", None, convert=SBD)
    assert (
        "lacks: VOCdevkit/VOC2012 (PASCAL VOC 2012, train and val; 2.0 GB; terms: VOC's, " in line
    )
    assert "; benchmark_RELEASE/dataset (Semantic Boundaries Dataset; 1.4 GB; terms: not " in line
    bad.make_devkit()
    other = bad.asked("convert_inputs", None, convert=SBD)
    assert "VOC 2012" not in other and other.startswith("data/benchmark_RELEASE/dataset: does not")
    assert bad.asked("weights_file", "classifier.weights", "weights/vgg16.pth").startswith(
        "data/weights/vgg16.pth: does not exist; of what can be fetched data lacks: "
    )
    return line


@case("what can be fetched is missing, with `run.fetch: never`")
def _(bad: Bad) -> str:
    return bad.asked(
        "weights_file", "classifier.weights", "weights/vgg16.pth", run={"fetch": "never"}
    )


def make_pristine(bad: Bad) -> None:
    """VOC and SBD as they are published: neither has train_aug.txt."""
    bad.make_devkit().listing("train_aug").unlink()
    bad.listing("train").write_text("t1\n")
    sbd = bad.data / "benchmark_RELEASE/dataset"
    (sbd / "cls").mkdir(parents=True)
    (sbd / "train.txt").write_text("t2\n")
    (sbd / "val.txt").write_text("v1\n")


@case("neither VOC nor SBD has train_aug.txt")
def _(bad: Bad) -> None:
    make_pristine(bad)
    index = Index.load(bad.converted(SBD) / "index.json")
    assert [entry.id for entry in index.split("train")] == ["t1", "t2"]


@case("cues without their list, and no train_aug.txt that could number the images")
def _(bad: Bad) -> str:
    make_pristine(bad)
    return bad.asked("seeds_inputs", None, convert=SBD, seeds={"cues": "cues.pickle"})


@case("labels of cues without their list, and no train_aug.txt that could number the images")
def _(bad: Bad) -> str:
    make_pristine(bad)
    (bad.data / "cues.pickle").write_bytes(pickle.dumps({}))
    cues = {**SBD, "label_source": "cues"}
    return bad.not_converted(cues, cue_pickle=bad.data / "cues.pickle")


@case("train_aug is made, and every image is a val image")
def _(bad: Bad) -> str:
    make_pristine(bad)
    bad.listing("val").write_text("t1\nt2\nv1\n")
    return bad.not_converted(SBD)


@case("the folder of SBD or of train_masks is missing")
def _(bad: Bad) -> str:
    line = bad.make_devkit().not_converted({**CONVERT, "train_masks": "SegmentationClassAug"})
    assert line.startswith("there is no folder data/VOCdevkit/VOC2012/SegmentationClassAug: ")
    return bad.not_converted(SBD)


@case("a list with blank lines, Windows' line ends, blanks at the ends, or a byte order mark")
def _(bad: Bad) -> None:
    bad.make_devkit().listing("train_aug").write_bytes(b"\xef\xbb\xbft2\r\n\r\n t1 \r\n")
    index = Index.load(bad.converted() / "index.json")
    assert [entry.id for entry in index.split("train")] == ["t2", "t1"]


@case("a list with a very long line")
def _(bad: Bad) -> str:
    bad.make_devkit().listing("train_aug").write_text(f"t1\n{'x' * 10_001}\n")
    return bad.not_converted()


@case("a list with paths")
def _(bad: Bad) -> str:
    lines = "/JPEGImages/t1.jpg /SegmentationClassAug/t1.png\n"
    bad.make_devkit().listing("train_aug").write_text(lines)
    return bad.not_converted()


@case("an id with `../`, a blank or a control character")
def _(bad: Bad) -> str:
    bad.make_devkit()
    for image_id in ("..", ".hidden", "a\\b", "a b", "a\x1b[31m", "a\0", "../t1"):
        bad.listing("train_aug").write_text(f"t2\n{image_id}\n")
        line = bad.not_converted()
        assert "is not an image id" in line and "\x1b" not in line
    return line


@case("an id twice in a list")
def _(bad: Bad) -> str:
    bad.make_devkit().listing("train_aug").write_text("t1\nt2\nt1\n")
    return bad.not_converted()


@case("an id in two lists")
def _(bad: Bad) -> str:
    bad.make_devkit().listing("val").write_text("v1\nt1\n")
    return bad.not_converted()


@case("an empty list, of zero bytes or blank lines")
def _(bad: Bad) -> str:
    bad.make_devkit().listing("val").write_text("\n\n")
    line = bad.not_converted()
    bad.listing("val").write_bytes(b"")
    assert bad.not_converted() == line
    return line


@case("a list that is not UTF-8")
def _(bad: Bad) -> str:
    bad.make_devkit().listing("val").write_bytes("bär\n".encode("latin-1"))
    return bad.not_converted()


@case("an annotation is missing")
def _(bad: Bad) -> str:
    (bad.make_devkit().devkit / "Annotations/t2.xml").unlink()
    return bad.not_converted()


@case("an annotation with entities, which could expand to gigabytes or fetch a file")
def _(bad: Bad) -> str:
    bad.make_devkit().annotate("t2", BILLION_LAUGHS)
    line = bad.not_converted()
    bad.annotate("t2", BILLION_LAUGHS.replace('b "', 'b SYSTEM "file:///etc/'))
    assert "EntitiesForbidden" in bad.not_converted()
    return line


@case("an annotation that is not XML, or is empty")
def _(bad: Bad) -> str:
    bad.make_devkit().annotate("t2", "<annotation><object>")
    assert bad.not_converted().startswith("cannot read the annotation ")
    bad.annotate("t2", "")
    return bad.not_converted()


@case("an annotation that is another file, such as a page of HTML")
def _(bad: Bad) -> str:
    wrapped = (
        "<annotations><annotation><object><name>dog</name></object></annotation></annotations>"
    )
    bad.make_devkit().annotate("t2", wrapped)
    assert "as it holds <annotations> and not" in bad.not_converted({**CONVERT, **NEGATIVES})
    bad.annotate("t2", '<?xml version="1.0"?><html><body>404</body></html>')
    return bad.not_converted({**CONVERT, **NEGATIVES})


@case("an object that LabelMe (MIT's) marks as deleted")
def _(bad: Bad) -> None:
    objects = "<object><name>dog</name><deleted>0</deleted></object>"
    objects += "<object><name>cow</name><deleted>1</deleted></object><object><deleted>1</deleted>"
    bad.make_devkit().annotate("t2", f"<annotation>{objects}</object></annotation>")
    index = Index.load(bad.converted() / "index.json")
    assert index.class_names == ["background", "cat", "dog"]
    assert index.entry("t2").labels == (2,)


@case("annotations that name no class at all")
def _(bad: Bad) -> str:
    bad.make_devkit()
    for image_id in ("t1", "t2"):
        bad.annotate(image_id, "<annotation/>")
    return bad.not_converted({**CONVERT, **NEGATIVES})


@case("an object with a very long name")
def _(bad: Bad) -> str:
    name = "x" * 10_001
    bad.make_devkit().annotate(
        "t2", f"<annotation><object><name>{name}</name></object></annotation>"
    )
    return bad.not_converted()


@case("an object without a name")
def _(bad: Bad) -> str:
    bad.make_devkit().annotate("t2", "<annotation><object/></annotation>")
    return bad.not_converted()


@case("a class that is neither among the chosen ones nor one of VOC's")
def _(bad: Bad) -> str:
    bad.make_devkit().annotate("t2", "<annotation><object><name>yeti</name></object></annotation>")
    return bad.not_converted({**CONVERT, "classes": ["cat", "dog"]})


@case("a train image has no label")
def _(bad: Bad) -> str:
    bad.make_devkit().annotate("t2", "<annotation/>")
    return bad.not_converted()


@case("a train image has no label, with `keep_negatives`")
def _(bad: Bad) -> None:
    bad.make_devkit().annotate("t2", "<annotation/>")
    index = Index.load(bad.converted({**CONVERT, "keep_negatives": True}) / "index.json")
    assert index.entry("t2").labels == () and index.class_names == ["background", "cat"]


@case("a train image that the labels do not mention, with `keep_negatives`")
def _(bad: Bad) -> str:
    settings = {**write_vectors(bad, {"t1": np.eye(20)[CAT - 1]}), "classes": ["cat"]}
    return bad.not_converted({**settings, "keep_negatives": True})


@case("a class that no train image has")
def _(bad: Bad) -> str:
    return bad.make_devkit().not_converted({**CONVERT, "classes": ["cat", "cow", "dog"]})


def write_vectors(bad: Bad, vectors: object) -> dict[str, object]:
    """PSA's file of labels; returns the settings that read it."""
    np.save(bad.make_devkit().devkit / "ImageSets/cls_labels.npy", vectors, allow_pickle=True)
    return {**CONVERT, "classes": ["cat", "dog"], "label_source": "cls_labels"}


@case("a label vector of another length")
def _(bad: Bad) -> str:
    return bad.not_converted(write_vectors(bad, {"t1": np.eye(20)[CAT - 1], "t2": np.zeros(21)}))


@case("IRN's label vectors, whose keys are numbers such as 2007000032")
def _(bad: Bad) -> None:
    vectors = {2007000032: np.eye(20)[CAT - 1], "t1": np.eye(20)[DOG - 1]}
    settings = write_vectors(bad, vectors)
    bad.listing("train_aug").write_text("2007_000032\nt1\n")
    pixels().save(bad.images / "2007_000032.jpg")
    index = Index.load(bad.converted(settings) / "index.json")
    assert [index.entry(one).labels for one in ("2007_000032", "t1")] == [(1,), (2,)]


@case("an image twice in cls_labels.npy")
def _(bad: Bad) -> str:
    both = {2007000032: np.eye(20)[CAT - 1], "2007_000032": np.eye(20)[DOG - 1]}
    return bad.not_converted(write_vectors(bad, both))


@case("a label vector with values other than 0 and 1")
def _(bad: Bad) -> str:
    settings = write_vectors(bad, {"t1": np.full(20, 0.5)})
    line = bad.not_converted(settings)
    for vector in (np.full(20, np.nan), np.full(20, "x"), -np.eye(20)[3]):
        np.save(bad.devkit / "ImageSets/cls_labels.npy", {"t1": vector})
        assert bad.not_converted(settings) == line
    return line


class Evil:
    """Asks whoever reads it to make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@case("a pickle or .npy that would execute code")
def _(bad: Bad) -> str:
    line = bad.not_converted(write_vectors(bad, {"t1": Evil(bad.root / "touched")}))
    assert not (bad.root / "touched").exists()
    return line


@case("the file of labels is missing")
def _(bad: Bad) -> str:
    return bad.make_devkit().not_converted({**CONVERT, "label_source": "train_cls"})


@case("a line of train_cls.txt in another format")
def _(bad: Bad) -> str:
    settings = {**CONVERT, "label_source": "train_cls"}
    path = bad.make_devkit().devkit / "ImageSets/train_cls.txt"
    path.write_text("t1 20\nt2 11\n")
    assert "train_cls.txt holds class 21, and the classes are 1 to 20" in bad.not_converted(
        settings
    )
    path.write_text("t1 7\nt2 dog\n")
    return bad.not_converted(settings)


def write_sbd(bad: Bad, image_id: str, **content: object) -> None:
    folder = bad.data / "benchmark_RELEASE/dataset/cls"
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / f"{image_id}.mat", content)


def sbd_mask(value: float, kind: type = np.uint8) -> dict[str, np.ndarray]:
    return {"Segmentation": np.full((HEIGHT, WIDTH), value, kind)}


@case("a .mat file that is not from SBD")
def _(bad: Bad) -> str:
    bad.make_devkit()
    for content in ({"GTcls": 3.0}, {"GTcls": {"Boundaries": 1}}, {"x": np.ones((2, 2))}):
        write_sbd(bad, "t2", **content)
        line = bad.not_converted(SBD)
        assert "holds no GTcls.Segmentation" in line
    return line


@case("a .mat file that cannot be read: zero bytes, truncated, or text")
def _(bad: Bad) -> str:
    write_sbd(bad.make_devkit(), "t2", GTcls=sbd_mask(DOG))
    path = bad.data / "benchmark_RELEASE/dataset/cls/t2.mat"
    whole = path.read_bytes()
    for content in (b"no mat at all " * 20, whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        line = bad.not_converted(SBD)
        assert line.startswith("cannot read the SBD mask ")
    return line


@case("a .mat file with values that are not class ids")
def _(bad: Bad) -> str:
    bad.make_devkit()
    for value, kind in ((-1, np.int16), (1.5, float), (np.nan, float), (256 + CAT, np.int16)):
        write_sbd(bad, "t2", GTcls=sbd_mask(value, kind))
        line = bad.not_converted(SBD)
        assert "values that are no class ids" in line
    return line


@case("SBD has a mask of a val image, or another of a train image of VOC")
def _(bad: Bad) -> None:
    bad.make_devkit()
    for image_id in ("t1", "t2", "v1"):
        write_sbd(bad, image_id, GTcls=sbd_mask(DOG))
    masks = Maps(bad.converted(SBD) / "masks.h5")
    assert [int(masks[one][0, 0]) for one in ("t1", "t2", "v1")] == [1, 2, 1]


@case("SBD alone has a mask of a val image")
def _(bad: Bad) -> str:
    write_sbd(bad.make_devkit(), "v1", GTcls=sbd_mask(CAT))
    (bad.masks / "v1.png").unlink()
    return bad.not_converted(SBD)


def write_cues(bad: Bad, **content: object) -> Path:
    path = bad.data / "localization_cues.pickle"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def labels(*ids: int) -> dict[str, np.ndarray]:
    return {f"{k}_labels": np.array([one]) for k, one in enumerate(ids)}


@case("labels from cues that lack an image")
def _(bad: Bad) -> str:
    path = write_cues(bad.make_devkit(), **labels(CAT))
    return bad.not_converted({**CUES, "classes": ["cat", "dog"]}, cue_pickle=path)


@case("an image or a number twice in the cues' input_list.txt")
def _(bad: Bad) -> str:
    path = write_cues(bad.make_devkit(), **labels(CAT, DOG))
    listing, settings = bad.data / "input_list.txt", {**CUES, "classes": ["cat", "dog"]}
    listing.write_text("t1.jpg 0\nt2.jpg 1\nt1.jpg 1\n")
    line = bad.not_converted(settings, cue_pickle=path, cue_list=listing)
    assert line == "t1 is in data/input_list.txt twice: take one of them out"
    listing.write_text("t1.jpg 1\nt2.jpg 1\n")
    return bad.not_converted(settings, cue_pickle=path, cue_list=listing)


@case("custom classes, but masks with VOC's class ids")
def _(bad: Bad) -> str:
    bad.make_devkit()
    for image_id in TAGS:
        bad.annotate(image_id, "<annotation><object><name>yak</name></object></annotation>")
    return bad.not_converted()
