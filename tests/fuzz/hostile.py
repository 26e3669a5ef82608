"""Files made to harm, by target: bombs, false claims, parts used again and again, programs."""

import base64
import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import h5py
import numpy as np
from PIL import Image

from tests.fuzz import seeds
from tests.support import caffe_writer, mxnet_writer, tensorflow_writer
from tests.support.protobuf_writer import field, packed

MEGABYTE = 1 << 20
TERABYTE = 1 << 40


class Program:
    """Pickles as a call of os.system."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def opcodes(*parts: bytes) -> bytes:
    """A pickle of protocol 2."""
    return b"".join((b"\x80\x02", *parts, b"."))


def text(value: bytes) -> bytes:
    """The opcode of a text."""
    return b"X" + struct.pack("<I", len(value)) + value


def twice(close: bytes) -> bytes:
    """Sixty containers, each of the last one twice: 2⁶⁰ of the first."""
    return b"".join(b"q%ch%ch%c%b" % (k, k, k, close) for k in range(60))


# Of a pickle, whatever it is in.
BAD_PICKLES = {
    "runs a program": pickle.dumps(Program(), 2),
    "runs a program by eval": b'c__builtin__\neval\n(S\'open("x", "w")\'\ntR.',
    "tuples twice in tuples": opcodes(b")", twice(b"\x86")),
    "tuples twice in tuples as a key": opcodes(b"})", twice(b"\x86"), b"Ns"),
    "sets in sets": opcodes(*[b"cbuiltins\nfrozenset\n]"] * 2, b"\x85Ra\x85R"),
    "lists in lists": opcodes(b"]" * 4000, b"a" * 3999),
    "a list in itself": opcodes(b"]q\0h\0a"),
    "place of the memo": opcodes(b"Nr\xff\xff\xff\x7f"),
    "length of bytes": b"\x80\x05\x96" + struct.pack("<Q", TERABYTE) + b".",
    "state of a function": opcodes(b"c_codecs\nencode\n}", text(b"a"), b"Nsb"),
    "lists of several lengths": opcodes(b"}", text(b"0_cues"), b"](]K\x01a]K\x01aK\x02aes"),
    "number of 5000 digits": opcodes(b"}", text(b"9" * 5000 + b"_cues"), b"Ns"),
    "integer of 9000 digits": b"}I0x" + b"f" * 8000 + b"\nNs.",
}


def bad_pickle() -> dict[str, bytes]:
    """The above, and what is short when it is packed."""
    shared = text(b"a" * MEGABYTE) + b"q\1c_codecs\nencode\nq\2" + text(b"latin1") + b"q\3"
    packed_ones = {
        "tuples deep in tuples as a key": opcodes(b"})", b"\x85" * 100_000, b"Ns"),
        "text encoded 3000 times": opcodes(b"](", shared, b"h\2h\1h\3\x86R" * 3000, b"e"),
    }
    zeros = gzip.compress(bytes(MEGABYTE), mtime=0)
    return {
        **BAD_PICKLES,
        **{name: gzip.compress(data, mtime=0) for name, data in packed_ones.items()},
        "many packed zeros": zeros * 8,
    }


def bad_npy() -> dict[str, bytes]:
    """Bad pickles under a header, and bad headers."""
    headers = {
        "claims a terabyte": ("<f4", (MEGABYTE, MEGABYTE)),
        "claims more than there can be": ("<f4", (1 << 62, 1 << 62)),
        "a type within a type": ("('<f4', (9,) * 9)", (3,)),
        "text without length": ("<U0", (3,)),
    }
    return {
        **{name: _npy("|O", ()) + data for name, data in BAD_PICKLES.items()},
        **{name: _npy(*claims) + bytes(8) for name, claims in headers.items()},
        "brackets": b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000,
        "vectors of several lengths": seeds.numpy_file({"a": [[1], [1, 2]], "b": [None]}),
        "vectors of text": seeds.numpy_file({"a": np.array(["x"] * 20), 1: np.array([["x"]])}),
    }


def _npy(descr: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def bad_npz() -> dict[str, bytes]:
    """Bombs."""
    member = _npy("<f4", (1 << 23,)) + bytes(1 << 25)
    kinds = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
    return {f"32 MB packed by {name}": _archive(kind, a=member) for name, kind in kinds.items()}


def _archive(kind: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def bad_pth() -> dict[str, bytes]:
    """Bad pickles in an archive and alone, forged tensors, a program in an archive of tar."""

    def file(content: bytes, kind: int = zipfile.ZIP_STORED, size: int = 8) -> bytes:
        return _archive(kind, **{"a/data.pkl": content, "a/data/0": bytes(size)})

    def tensor(size: int, *numbers: int) -> bytes:
        storage = opcodes(text(b"storage"), b"ctorch\nFloatStorage\n", text(b"0"), text(b"cpu"))
        view = [seeds.python_pickle.dumps(n, 2)[2:-1] for n in (size, *numbers)]
        whole = b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage[2:-1] + view[0] + b"tQ"
        parts = view[1] + view[2] + b"\x85" + view[3] + b"\x85\x89}tR"
        return opcodes(b"}", text(b"a"), whole + parts, b"s")

    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("../../escaped")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    legacy = seeds.torch_file({}, _use_new_zipfile_serialization=False)
    return {
        **{name: file(data) for name, data in BAD_PICKLES.items()},
        **{f"old: {name}": legacy[:-20] + data for name, data in BAD_PICKLES.items()},
        "old: cut in a number": legacy[: legacy.index(b"type_sizes") + 20],
        "packed storage": file(tensor(2, 0, 2, 1), zipfile.ZIP_DEFLATED, 9 * MEGABYTE),
        "beyond its storage": file(tensor(2, 0, 3, 1)),
        "before its storage": file(tensor(2, -1, 2, 1)),
        "one number a trillion times": file(tensor(2, 0, TERABYTE, 0)),
        "storage of a terabyte": file(tensor(TERABYTE, 0, 2, 1)),
        "a way out of the folder": tar.getvalue(),
    }


def bad_caffemodel() -> dict[str, bytes]:
    """A blob that claims what it lacks."""
    c = caffe_writer
    blob = c.shape(MEGABYTE, MEGABYTE) + c.packed_floats([1, 2])
    return {"claims a terabyte": c.net(c.layer("conv", blob))}


def bad_params() -> dict[str, bytes]:
    """Claims of arrays and of axes."""
    m = mxnet_writer
    return {
        "claims 2⁶³ arrays": m.u64(0x112, 0, 1 << 63),
        "claims a terabyte": m.u64(0x112, 0, 1) + m.v2_array((MEGABYTE, MEGABYTE), b""),
    }


def bad_tensorflow_1() -> dict[str, bytes]:
    """A block read a thousand times."""
    t = tensorflow_writer
    entries = [(b"", b""), *((b"%04d" % k, field(2, b"")) for k in range(500))]
    block = t.block_of(entries) + b"\0" * 5
    handle = packed(0, len(block) - 5)
    index = t.block_of([(b"%04d" % k, handle) for k in range(700)]) + b"\0" * 5
    footer = packed(0, 0) + packed(len(block), len(index) - 5)
    end = footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")
    return {"one block 700 times": block + index + end}


def bad_tensorflow_2() -> dict[str, bytes]:
    """Tensors that are all the same bytes."""
    t = tensorflow_writer
    data = bytes(seeds.SHARD_BYTES)
    entry = t.bundle_entry(t.FLOAT, (len(data) // 4,), data)
    return {"all the same": t.table([t.header(1), *((b"%d" % k, entry) for k in range(40))]) + data}


def bad_safetensors() -> dict[str, bytes]:
    """A header that claims a terabyte, and one that lies about the data."""
    lie = b'{"a": {"dtype": "F32", "shape": [1048576, 1048576], "data_offsets": [0, 8]}}'
    odd = b'{"a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}'
    return {
        "header of a terabyte": struct.pack("<Q", TERABYTE) + b"{",
        "claims a terabyte": struct.pack("<Q", len(lie)) + lie + bytes(8),
        "numbers of four bits": struct.pack("<Q", len(odd)) + odd + bytes(8),
        "brackets": struct.pack("<Q", 9000) + b"[" * 9000,
    }


def bad_mat() -> dict[str, bytes]:
    """Structs and cells by the billion, zeros packed, streams in streams."""
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, *dims: int) -> bytes:
        flags, shape = struct.pack("<2I", kind, 0), struct.pack(f"<{len(dims)}i", *dims)
        return element(14, element(6, flags) + element(5, shape) + element(1, b"GTcls"))

    inner = zlib.compress(bytes(9 * MEGABYTE))
    return {
        "structs by the billion": head + matrix(2, 1 << 30, 1 << 30),
        "cells by the billion": head + matrix(1, 1 << 30, 1),
        "claims a terabyte": head + matrix(9, MEGABYTE, MEGABYTE),
        "packed zeros": head + struct.pack("<2I", 15, len(inner)) + inner,
        "matrix of half a gigabyte": head + struct.pack("<2I", 14, 1 << 29) + bytes(64),
    }


def bad_xml() -> dict[str, bytes]:
    """Entities in entities, a file of another's, an unknown encoding, depth."""
    entities = "".join(f'<!ENTITY e{k} "&e{k - 1};&e{k - 1};">' for k in range(1, 60))
    outside = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'
    return {
        "a billion laughs": f'<!DOCTYPE a [<!ENTITY e0 "x">{entities}]><a>&e59;</a>'.encode(),
        "another file": outside.encode(),
        "another document type": b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "an unknown encoding": b'<?xml version="1.0" encoding="none-1"?><a/>',
        "an encoding of bytes": b'<?xml version="1.0" encoding="rot13"?><a/>',
        "depth": b"<a>" * 3000,
    }


def bad_png() -> dict[str, bytes]:
    """Large pictures of few bytes, false lengths, packed text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", 0)

    def picture(width: int, height: int, *chunks: bytes) -> bytes:
        head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks)

    zeros = zlib.compress(bytes(MEGABYTE))
    note = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 * MEGABYTE)))
    return {
        "50000 x 50000": picture(50000, 50000, chunk(b"IDAT", zeros)),
        "9490 x 9490": picture(9490, 9490, chunk(b"IDAT", zeros)),
        "data of four gigabytes": picture(8, 6, struct.pack(">I", 0xFFFFFF00) + b"IDAT" + zeros),
        "packed text": picture(8, 6, note * 2, chunk(b"IDAT", zeros)),
    }


def bad_photo() -> dict[str, bytes]:
    """A file that is a program to Ghostscript, large pictures of few bytes."""
    jpeg = seeds.photo()[0]
    place = jpeg.index(b"\xff\xc0") + 5
    tiff = b"II*\0\x08\0\0\0\1\0" + struct.pack("<2H2I", 256, 4, 1 << 30, 0)
    return {
        "a program of PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
        "65500 x 65500": jpeg[:place] + struct.pack(">2H", 65500, 65500) + jpeg[place + 4 :],
        "entries of a gigabyte": tiff,
    }


def bad_lists() -> dict[str, bytes]:
    """Numbers that are too long, ids many times, names of other files."""
    return {
        "number of 5000 digits": b"a " + b"9" * 5000,
        "the same at the end": b"\n".join(b"%d" % k for k in [*range(1500), 1499]),
        "other files": b"../../etc/passwd 0\n/etc/passwd 1\na\0b 2\n",
    }


def bad_table() -> dict[str, bytes]:
    """Cells too long to compare, and quotes that never end."""
    marks = "\u0301\u0323" * 2400
    return {
        "marks": f"image,labels\n{marks},a\n".encode(),
        "more marks": f"image,labels\n{marks * 26},a\n".encode(),
        "an open quote": b'image,labels\n"' + b"a" * 140_000,
        "a byte of zero": b"image,labels\na\0b.jpg,cat\n",
    }


def bad_json() -> dict[str, bytes]:
    """Depth, and a number that is too long."""
    return {
        "brackets": b"[" * 9000,
        "braces": b'{"a":' * 1900,
        "number of 5000 digits": b'{"classes": ' + b"9" * 5000 + b"}",
        "another file's shape": b'{"classes": [1], "images": {}, "audit_list": null}',
    }


def bad_coco() -> dict[str, bytes]:
    """Depth, long ways around, and run lengths that lie."""

    def file(segmentation: str) -> bytes:
        annotation = f'{{"image_id": 1, "category_id": 1, "segmentation": {segmentation}}}'
        return (
            seeds.coco()[0].split(b'"annotations"')[0] + f'"annotations": [{annotation}]}}'.encode()
        )

    there_and_back = ", ".join("0, 0, 8, 6" for _ in range(900))
    return {
        "brackets": file("[" * 9000),
        "there and back": file(f"[[{there_and_back}]]"),
        "runs of a terabyte": file(f'{{"size": [6, 8], "counts": [{TERABYTE}, 8]}}'),
        "size of a terabyte": file(f'{{"size": [{MEGABYTE}, {MEGABYTE}], "counts": [{TERABYTE}]}}'),
        "long runs": file('{"size": [6, 8], "counts": "oooooo0oooooo0"}'),
    }


def bad_labelme() -> dict[str, bytes]:
    """Depth, numbers and paths without end, and pictures in pictures."""

    def file(points: str, kind: str = "polygon", mask: str = "") -> bytes:
        shape = f'"label": "cat", "points": {points}, "shape_type": "{kind}", "mask": "{mask}"'
        return f'{{"shapes": [{{{shape}}}]}}'.encode()

    large = Image.new("1", (4000, 4000))  # in a picture of 8 x 6
    bomb = base64.b64encode(seeds.image_file(large, "PNG")).decode()
    there_and_back = ", ".join(["[0, 0], [8, 6]"] * 900)
    return {
        "brackets": file("[" * 9000),
        "there and back": file(f"[{there_and_back}]"),
        "points at the end of the numbers": file("[[-1e308, 1e308], [1e308, 0], [1e308, 1e308]]"),
        "a circle without end": file("[[1e308, 0], [-1e308, 0]]", "circle"),
        "no points": file("[]"),
        "a circle of one point": file("[[1, 1]]", "circle"),
        "a mask far off": file("[[1e300, 1], [2, 2]]", "mask", bomb[:60]),
        "a mask larger than the picture": file("[[1, 1], [2, 2]]", "mask", bomb),
        "a shape of many labels": b'{"shapes": [{"label": ["cat"], "points": []}]}',
    }


def bad_tiff() -> dict[str, bytes]:
    """Directories that lie about sizes and places, or lead in a circle."""

    def file(**tags: int) -> bytes:
        """A TIFF of 8 x 6 grey pixels whose directory says otherwise."""
        said = {"width": 8, "height": 6, "bits": 8, "compression": 1, "photometric": 1}
        said |= {"offset": 8, "samples": 1, "rows": 6, "count": 48, **tags}
        numbers = {"width": 256, "height": 257, "bits": 258, "compression": 259}
        numbers |= {"photometric": 262, "offset": 273, "samples": 277, "rows": 278, "count": 279}
        numbers |= {"tile_width": 322, "tile_height": 323, "tile_offset": 324, "tile_count": 325}
        entries = sorted((numbers[name], value) for name, value in said.items())
        directory = b"".join(struct.pack("<HHII", n, 4, 1, value) for n, value in entries)
        head = b"II*\0" + struct.pack("<I", 56) + bytes(48)
        return head + struct.pack("<H", len(entries)) + directory + bytes(4)

    most = (1 << 32) - 1
    again = bytearray(file())
    again[-4:] = struct.pack("<I", 56)  # the directory after this one is this one
    return {
        "sides without end": file(width=most, height=most),
        "a strip of one row each": file(height=9000, rows=1),
        "no rows": file(rows=0),
        "no width": file(width=0),
        "a strip beyond the file": file(offset=most),
        "a strip of gigabytes": file(count=most),
        "bits without end": file(bits=most),
        "samples without end": file(samples=60_000),
        "tiles of no size": file(tile_width=0, tile_height=0, tile_offset=8, tile_count=48),
        "tiles without end": file(tile_width=most, tile_height=most, tile_offset=8, tile_count=48),
        "a directory in a circle": bytes(again),
        "no directory": b"II*\0" + struct.pack("<I", 8),
    }


def bad_maps() -> dict[str, bytes]:
    """Maps that claim what they lack, ways to other files, attributes of other types."""

    def file(fill: object) -> bytes:
        return seeds.written(lambda path: _with(path, fill), "a.h5")

    large = (MEGABYTE, MEGABYTE)
    return {
        "claims a terabyte": file(lambda f: f.create_dataset("a", large, "u1", chunks=(64, 64))),
        "another file": file(lambda f: f.update(a=h5py.ExternalLink("/etc/passwd", "/a"))),
        "bytes of another file": file(
            lambda f: f.create_dataset("a", (9,), "u1", external=[("/etc/passwd", 0, 9)])
        ),
        "levels of text": file(
            lambda f: f.create_dataset("a", data=seeds.MASK).attrs.update(levels="x")
        ),
        "text": file(lambda f: f.create_dataset("a", data="text")),
        "a group": file(lambda f: f.create_group("a")),
    }


def _with(path: object, fill: object) -> None:
    with h5py.File(path, "w") as file:
        fill(file)


def cases(name: str) -> Iterator[tuple[str, bytes]]:
    """The hostile files of a target, by what is wrong with them."""
    return iter(globals()[f"bad_{name}"]().items())
