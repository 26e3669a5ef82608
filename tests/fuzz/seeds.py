"""Small whole files of every format, made anew each time: what the damage begins from."""

import base64
import gzip
import io
import json as python_json
import pickle as python_pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
import tifffile
import torch
from PIL import Image
from safetensors.torch import save

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.cue_pickle import write_cue_pickle
from seedbed.formats.maps import write_maps
from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.psa import write_cam, write_scores
from tests.support import caffe_writer, mxnet_writer, tensorflow_writer
from tests.support.protobuf_writer import field

SHARD_BYTES = 32
W = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.array([0.5, -1], np.float32)
MASK = np.array([[0, 0, 1, 1, 2, 2, 255, 255]] * 6, np.uint8)


def written(write: Callable[[Path], object], name: str) -> bytes:
    """What a writer of files writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def caffemodel() -> list[bytes]:
    """Both generations of layers."""
    c = caffe_writer
    new = c.layer("conv", c.shape(2, 3) + c.packed_floats(W), c.shape(2) + c.unpacked_floats(B))
    matrix = c.legacy(1, 1, 2, 3) + c.packed_floats(W, c.DOUBLES, "<f8")
    return [c.net(new), c.net(c.v1_layer("fc", matrix, kind=c.V1_INNER_PRODUCT))]


def params() -> list[bytes]:
    """All generations of arrays."""
    m = mxnet_writer
    kinds = (m.legacy_array, m.v1_array, m.v2_array)
    arrays = [write((2, 3), m.floats(*W.ravel())) for write in kinds]
    return [m.array_list(arrays, ["arg:a", "arg:b", "aux:c"])]


def tensorflow_1() -> list[bytes]:
    """A whole variable and one in parts; plain and compressed."""
    t = tensorflow_writer
    whole = t.whole("conv/weights", t.FLOAT, (2, 3), field(t.FLOAT_VAL, t.floats(*W.ravel())))
    halves = [([(k, 1), None], field(t.CONTENT, W[k].tobytes())) for k in range(2)]
    parts = ("parts", t.FLOAT, (2, 3), halves)
    return [t.v1(whole, parts, compression=kind) for kind in (t.PLAIN, t.SNAPPY)]


def tensorflow_2() -> list[bytes]:
    """An index and the data file after it."""
    t = tensorflow_writer
    first = t.bundle_entry(t.FLOAT, (2, 3), W.tobytes())
    second = t.bundle_entry(t.FLOAT, (2,), B.tobytes(), offset=W.nbytes)
    index = t.table([t.header(1), (b"a", first), (b"b", second)])
    return [index + W.tobytes() + B.tobytes()]


def safetensors() -> list[bytes]:
    """Floats, halves and whole numbers."""
    w = torch.from_numpy(W)
    return [save({"a.weight": w, "b": w.half(), "c": w.long()})]


def npz() -> list[bytes]:
    """Plain and compressed."""
    files = []
    for write in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        write(file, **{"conv.w": W, "b": B.astype(">f8")})
        files.append(file.getvalue())
    return files


def pth() -> list[bytes]:
    """A state dict alone and wrapped, in both formats; a network of this program."""
    w = torch.from_numpy(W)
    state = {"features.0.weight": w, "head.bias": w[0].half()}
    about = {"name": "tiny_cls", "num_classes": 2, "options": {}, "classes": ["a", "b"]}
    return [
        torch_file(state),
        torch_file({"epoch": 3, "state_dict": state, "best": 0.5}),
        torch_file({**state, "p": torch.nn.Parameter(w)}, _use_new_zipfile_serialization=False),
        torch_file({**about, "source_ids": None, "state_dict": state}),
    ]


def torch_file(content: object, **options: bool) -> bytes:
    """The bytes of torch.save."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def pickle() -> list[bytes]:
    """DSRG's cues, by themselves and packed; plain containers under every protocol."""
    cues = np.zeros((3, 4, 4), bool)
    cues[0, 1:], cues[2, 0, 0] = True, True
    of_dsrg = written(lambda path: write_cue_pickle(path, [cues, cues], [[1], [2]]), "cues.pickle")
    plain = {"0_labels": [1], "0_cues": B, "x": (1, 2.5, None, True, b"\xff", {"a"}, np.float32(2))}
    return [
        of_dsrg,
        gzip.compress(of_dsrg, mtime=0),
        *(python_pickle.dumps(plain, protocol) for protocol in range(6)),
    ]


def npy() -> list[bytes]:
    """Weights, class maps, scores, labels, and an array of numbers."""
    grid = np.linspace(0, 1, 6).reshape(2, 3)
    return [
        numpy_file({"conv": {"w": W, "b": B}, "fc": [W, B]}),
        written(lambda path: write_cam(path, {1: grid, 2: grid}), "a.npy"),
        written(lambda path: write_scores(path, {0: grid, 2: grid}), "a.npy"),
        numpy_file({"a": np.eye(20)[7], "b": np.eye(20)[11]}),
        written(lambda path: np.save(path, W), "a.npy"),
    ]


def numpy_file(content: object) -> bytes:
    """The bytes of numpy.save of an object."""
    return written(lambda path: np.save(path, np.array(content, object)), "a.npy")


def mat() -> list[bytes]:
    """SBD's struct, packed, plain and in the format of before 1996."""
    struct = {
        "Boundaries": np.array([[W, None]], object)[:, :1],
        "Segmentation": MASK,
        "CategoriesPresent": np.array([[1], [2]], np.uint8),
    }
    return [
        written(lambda p: scipy.io.savemat(p, {"GTcls": struct}, do_compression=True), "a.mat"),
        written(lambda p: scipy.io.savemat(p, {"GTcls": struct}), "a.mat"),
        written(lambda p: scipy.io.savemat(p, {"GTcls": MASK}, format="4"), "a.mat"),
    ]


def xml() -> list[bytes]:
    """An annotation, plain and with what XML may hold before it."""
    body = (
        "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>1</xmin>"
        "</bndbox><part><name>head</name></part></object></annotation>"
    )
    entity = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>'
    return [
        body.encode(),
        f'<?xml version="1.0" encoding="UTF-16"?>{body}'.encode("utf-16"),
        f'<?xml version="1.0" encoding="latin-1"?><!--x--><!DOCTYPE a>{body}'.encode(),
        f'<?xml version="1.0"?>{entity}{body}'.encode(),
        f"<![CDATA[x]]>{body}".encode(),
    ]


def image_file(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png() -> list[bytes]:
    """Palette, grey, colours, deep and two-valued, with text and a profile."""
    palette, grey = Image.fromarray(MASK), Image.fromarray(MASK)
    palette.putpalette(VOC_PALETTE.tobytes())
    colours = Image.fromarray(VOC_PALETTE[MASK])
    deep = Image.fromarray(MASK.astype(np.uint16) << 8)
    kinds = [palette, grey, colours, deep, grey.convert("1"), colours.convert("RGBA")]
    return [image_file(kind, "PNG") for kind in kinds]


def photo() -> list[bytes]:
    """Every kind of file that is taken for an image, one turned by its EXIF data."""
    image = Image.fromarray(VOC_PALETTE[MASK])
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x"
    kinds = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
    return [
        *(image_file(image, kind, exif=exif) for kind in kinds),
        image_file(image, "TIFF", compression="tiff_lzw"),
        image_file(image.convert("CMYK"), "JPEG"),
        image_file(image, "GIF"),
        image_file(image, "PPM"),
        image_file(image, "EPS"),
    ]


def tiff() -> list[bytes]:
    """Strips and tiles, packed and not, deep, grey and with a palette; a BigTIFF; a turned one."""
    pixels = VOC_PALETTE[np.kron(MASK, np.ones((4, 4), np.uint8))]
    grey = pixels[..., 0].astype(np.uint16) << 8
    forms = [
        {"rowsperstrip": 5},
        {"rowsperstrip": 5, "compression": "zlib", "predictor": True},
        {"tile": (16, 16), "compression": "zlib", "bigtiff": True},
        {"tile": (16, 16), "byteorder": ">"},
        {"extratags": [(274, 3, 1, 6, True)]},
    ]
    colour = [tiff_file(pixels, photometric="rgb", **form) for form in forms]
    palette = Image.fromarray(MASK)
    palette.putpalette(VOC_PALETTE.tobytes())
    packed = [image_file(palette, "TIFF", compression=kind) for kind in ("tiff_lzw", "packbits")]
    return [*colour, tiff_file(grey, tile=(16, 16)), *packed]


def tiff_file(pixels: np.ndarray, **options: object) -> bytes:
    """The bytes of a TIFF as tifffile writes it."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def labelme() -> list[bytes]:
    """Every kind of shape, and what stands beside the shapes."""
    brush = base64.b64encode(image_file(Image.fromarray(MASK[:2, :3]), "PNG")).decode()
    shapes = [
        ("polygon", "cat", [[0, 0], [4, 0], [4.5, 3]], None),
        ("rectangle", "dog", [[1, 1], [6, 4]], None),
        ("circle", "__ignore__", [[4, 3], [4, 5]], None),
        ("mask", "_background_", [[1, 1], [3, 2]], brush),
    ]
    keys = ("shape_type", "label", "points", "mask")
    whole = {"shapes": [dict(zip(keys, shape, strict=True)) for shape in shapes]}
    beside = {"version": "5.5.0", "imagePath": "a.jpg", "imageHeight": 6, "imageWidth": 8}
    old = {"shapes": [{"label": "cat", "points": shapes[0][2], "flags": {}}], "imageData": None}
    return [python_json.dumps(content).encode() for content in (whole, {**whole, **beside}, old)]


def lists() -> list[bytes]:
    """The four kinds of lists."""
    return [
        b"a\r\nb\r\n\r\n2007_000032\n",
        "\ufeffa.jpg 0\nb.jpg 1\n\u00fc.png 2\n".encode(),
        b"a 7\nb 11 7\n",
        b"/JPEGImages/a.jpg /proxy/a.png\n",
    ]


def table() -> list[bytes]:
    """Labels in several spellings, and an audit."""
    return [
        b"image,labels\na.jpg,cat dog\nb.jpg,dog\n",
        '\ufeffImage,Labels,Split\r\n"a.jpg","big cat; d\u00f6g",train\r\nb.jpg,,val\r\n'.encode(),
        b"round\tstep\tlist\timages\tmiou\n0\ttrain\tval\t5\t0.5\n\tcam\tval\t5\t\n",
    ]


def json() -> list[bytes]:
    """An index and the final figures."""
    entries = (
        ImageEntry("a", "JPEGImages/a.jpg", 6, 8, (1,), "train", True, "00"),
        ImageEntry("\u00fc", "JPEGImages/b.jpg", 6, 8, (), "val", False, "11"),
    )
    index = Index((ClassInfo("cat", 8),), entries, "annotations", ("a",))
    figures = b'{"miou": 0.5, "iou": {"cat": 0.25}, "split": "val", "images": 2, "variant": "voc"}'
    return [written(index.save, "index.json"), figures]


def coco() -> list[bytes]:
    """Polygons, run lengths of both kinds, a crowd, and boxes alone."""
    head = (
        '{"images": [{"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}, '
        '{"id": "2", "file_name": "b/c.jpg"}], "categories": [{"id": 1, "name": "cat"}, '
        '{"id": 2, "name": "dog"}], "annotations": ['
    )
    polygons = '{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4.5, 3, 0, 3]]}'
    runs = (
        '{"image_id": 1, "category_id": 2, "iscrowd": 1, "segmentation": {"size": [6, 8], '
        '"counts": [10, 8, 30]}}'
    )
    text = '{"image_id": "2", "category_id": 2, "segmentation": {"size": [6, 8], "counts": ":8N0"}}'
    box = '{"image_id": "2", "category_id": 1, "bbox": [0, 0, 1, 1]}'
    bodies = (f"{polygons}, {runs}", text, f"{polygons}, {box}")
    return [f"{head}{body}]}}".encode() for body in bodies]


def maps() -> list[bytes]:
    """Maps of levels and of floats."""

    def write(path: Path) -> None:
        with write_maps(path, levels=255, settings="{}") as file:
            file.put("a", MASK)
            file.put("\u00fc", W.astype(np.float16), classes=[1, 2])

    return [written(write, "maps.h5")]
