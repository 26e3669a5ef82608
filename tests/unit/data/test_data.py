import pickle
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from seedbed.data.classes import VOC_CLASSES, ClassInfo, ClassTable
from seedbed.data.images import decode_image, is_dark, read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.data.layouts.voc import (
    read_annotation,
    read_cls_labels,
    read_sbd_mask,
    read_train_cls,
)
from seedbed.data.lists import image_id_of, image_numbers, read_list
from seedbed.formats.mask_coding import MaskCoding
from seedbed.formats.pickles import restricted as restricted_pickle
from seedbed.runtime.errors import UserError

ROOT = Path(__file__).parents[3]
ANIMALS = ClassTable.of(["dog", "cat"])


def index_of_two():
    classes = (ClassInfo("cat", 8), ClassInfo("dog", 12))
    images = (
        ImageEntry("a", "JPEGImages/a.jpg", 4, 5, (2,), "train", True, "00"),
        ImageEntry("ü", "JPEGImages/ü.jpg", 4, 5, (), "val", False, "11"),
    )
    return Index(classes, images, "annotations", ("a",))


class TestIndex:
    def test_round_trip(self, tmp_path):
        index = index_of_two()
        index.save(tmp_path / "index.json")
        assert Index.load(tmp_path / "index.json") == index
        coded = replace(index, mask_coding=MaskCoding(values={0: 0, 255: 8}))
        coded.save(tmp_path / "index.json")
        assert Index.load(tmp_path / "index.json") == coded

    def test_answers(self):
        index = index_of_two()
        assert index.num_classes == 3
        assert index.class_names == ["background", "cat", "dog"]
        assert [entry.id for entry in index.split("val")] == ["ü"]
        assert index.split("test") == []
        assert index.tags(index.entry("a")).tolist() == [True, False, True]
        assert index.tags(index.entry("ü")).tolist() == [True, False, False]

    def test_wrong_questions(self):
        with pytest.raises(ValueError, match="trian"):
            index_of_two().split("trian")
        with pytest.raises(UserError, match="image b "):
            index_of_two().entry("b")

    @pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"classes": [{"nam": 1}]}'])
    def test_no_index(self, tmp_path, content):
        path = tmp_path / "index.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=r"index\.json.*remake"):
            Index.load(path)

    def test_the_bits_of_a_file_are_kept_only_where_they_matter(self, tmp_path):
        deep = ImageEntry("d", "d.png", 4, 5, (1,), "train", False, "", bits=12, highest=4000)
        index = Index((ClassInfo("cat", 8),), (deep, index_of_two().images[0]), "annotations")
        index.save(tmp_path / "index.json")
        assert Index.load(tmp_path / "index.json") == index
        assert (tmp_path / "index.json").read_text().count('"bits"') == 1


class TestImages:
    def test_every_step_reads_the_images_of_an_index_alike(self):
        """`read_image` alone would not know the bits that the conversion has recorded."""
        paths = [path for room in ("seedbed", "stages") for path in (ROOT / room).rglob("*.py")]
        calls = [
            path.name for path in paths if re.search(r"read_image\(.*\.path", path.read_text())
        ]
        assert calls == ["images.py"]

    @pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1"])
    def test_every_mode_becomes_rgb(self, tmp_path, mode):
        Image.new("RGB", (4, 2), "white").convert(mode).save(tmp_path / "a.tif")
        image = read_image(tmp_path / "a.tif")
        assert image.dtype == np.uint8 and image.shape == (2, 4, 3)
        assert (image == 255).all()

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_of_sixteen_bits_the_upper_eight_count(self, tmp_path, name):
        grey = np.array([[0, 255, 256, 0x80FF, 65535]], np.uint16)
        Image.fromarray(grey).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.tolist() == [[[level] * 3 for level in (0, 0, 1, 128, 255)]]

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    @pytest.mark.parametrize("orientation", [1, 6])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_levels_are_inverted_where_0_is_white(self, tmp_path, kind, orientation, compression):
        white = np.iinfo(kind).max
        levels = np.array([[0, 1, white // 2, white - 1, white]], kind)
        turn = [(274, 3, 1, orientation, True)]
        options = {"photometric": "miniswhite", "compression": compression, "extratags": turn}
        tifffile.imwrite(tmp_path / "a.tif", white - levels, **options)
        found = read_image(tmp_path / "a.tif")[..., 0]
        upper = levels >> (8 if kind == np.uint16 else 0)
        assert found.tolist() == (upper if orientation == 1 else np.rot90(upper, -1)).tolist()

    def test_12_bits_whose_0_is_white_are_known_by_what_is_stored(self, tmp_path):
        stored = np.array([[0, 16, 4095]], np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
        assert is_dark(decode_image(tmp_path / "a.tif"))
        assert read_image(tmp_path / "a.tif", bits=12)[0, :, 0].tolist() == [255, 254, 0]
        with pytest.raises(UserError, match="has the level 4095, and 11 bits hold 2047 at most"):
            read_image(tmp_path / "a.tif", bits=11)

    @pytest.mark.parametrize("kind", [np.int32, np.float32])
    def test_levels_without_a_range_are_refused(self, tmp_path, kind):
        Image.fromarray(np.ones((2, 2), kind)).save(tmp_path / "a.tif")
        with pytest.raises(UserError, match=r"a\.tif has 32 bits"):
            read_image(tmp_path / "a.tif")

    def test_exif_turns_it_upright(self, tmp_path):
        image = Image.new("RGB", (4, 2))
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(tmp_path / "a.jpg", exif=exif)
        assert read_image(tmp_path / "a.jpg").shape == (4, 2, 3)
        Image.fromarray(np.zeros((2, 4), np.uint16)).save(tmp_path / "a.png", exif=exif)
        assert read_image(tmp_path / "a.png").shape == (4, 2, 3)

    def test_no_image(self, tmp_path):
        with pytest.raises(UserError, match=r"none\.jpg is missing"):
            read_image(tmp_path / "none.jpg")
        Image.effect_noise((64, 64), 50).save(tmp_path / "a.jpg")
        (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
        with pytest.raises(UserError, match=r"a\.jpg.*get it again"):
            read_image(tmp_path / "a.jpg")


class TestRestrictedPickle:
    CONTENT = {  # noqa: RUF012 - never changed
        "2007_000032": np.array([0.0, 1.0], dtype=np.float32),
        "cues": np.arange(6).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.array([1, 258], dtype=">i4"),
        "text": np.array(["ab", "ü"]),
        "bytes": np.array([b"ab"]),
        "flags": np.array([True, False]),
        "empty": np.zeros((3, 0), dtype=np.int64),
        "objects": np.array([{"a": np.arange(2)}, None], dtype=object),
        "scalar": np.float32(0.5),
        "plain": [1, 2.5, "ü", b"\xff", None, True, (1, {2}), frozenset({3})],
        np.int64(7): OrderedDict(a=np.arange(3)),
    }

    @staticmethod
    def same(one, two):
        if isinstance(two, np.ndarray) and two.dtype == object:
            return one.shape == two.shape and all(map(TestRestrictedPickle.same, one, two))
        if isinstance(two, np.ndarray):
            return one.dtype == two.dtype and np.array_equal(one, two)
        if isinstance(two, dict):
            same = TestRestrictedPickle.same
            return list(one) == list(two) and all(same(one[key], two[key]) for key in two)
        return one == two

    @pytest.mark.parametrize("protocol", range(6))
    def test_reads_what_pickle_reads(self, tmp_path, protocol):
        path = tmp_path / "a.pickle"
        path.write_bytes(pickle.dumps(self.CONTENT, protocol))
        loaded = restricted_pickle.load(path)
        assert self.same(loaded, self.CONTENT)
        assert {type(value) for value in loaded.values()} <= {np.ndarray, np.float32, list, dict}

    # pickle.dumps({"0_cues": np.array([[1, 200]], dtype="u1")}, 2) of Python 2
    PYTHON_2 = (
        b"\x80\x02}q\x00U\x060_cuesq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\n"
        b"ndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x05"
        b"U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"
        b"tb\x89U\x02\x01\xc8tbs."
    )

    def test_reads_python_2(self, tmp_path):
        (tmp_path / "a.pickle").write_bytes(self.PYTHON_2)
        loaded = restricted_pickle.load(tmp_path / "a.pickle")
        np.testing.assert_array_equal(loaded["0_cues"], np.array([[1, 200]], dtype=np.uint8))
        assert loaded["0_cues"].dtype == np.uint8

    def test_reads_npy(self, tmp_path):
        np.save(tmp_path / "dict.npy", self.CONTENT)
        np.save(tmp_path / "objects.npy", self.CONTENT["objects"])
        np.save(tmp_path / "numbers.npy", self.CONTENT["cues"])
        assert self.same(restricted_pickle.load(tmp_path / "dict.npy"), self.CONTENT)
        for name in ("objects", "numbers"):
            expected = self.CONTENT[{"numbers": "cues"}.get(name, name)]
            assert self.same(restricted_pickle.load(tmp_path / f"{name}.npy"), expected)

    def test_runs_nothing(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return Path.touch, (tmp_path / "touched",)

        np.save(tmp_path / "a.npy", {"a": Evil()})
        (tmp_path / "a.pickle").write_bytes(pickle.dumps([Evil()]))
        for name in ("a.npy", "a.pickle"):
            with pytest.raises(UserError, match=name):
                restricted_pickle.load(tmp_path / name)
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize(
        "name", ["builtins eval", "builtins getattr", "numpy load", "numpy.core.multiarray x"]
    )
    def test_refuses_names(self, tmp_path, name):
        module, attribute = name.split()
        (tmp_path / "a.pickle").write_bytes(f"c{module}\n{attribute}\n.".encode())
        with pytest.raises(UserError, match=attribute):
            restricted_pickle.load(tmp_path / "a.pickle")

    def test_refuses_forged_object_arrays(self, tmp_path):
        """NumPy's own dtype can be told to take these bytes for addresses of objects."""
        forged = self.PYTHON_2.replace(b"U\x02u1", b"U\x02O8").replace(b"K\x01K\x02", b"K\x01K\x01")
        forged = forged.replace(b"U\x02\x01\xc8", b"U\x08AAAAAAAA")
        (tmp_path / "a.pickle").write_bytes(forged)
        with pytest.raises(UserError, match=r"a\.pickle"):
            restricted_pickle.load(tmp_path / "a.pickle")

    @pytest.mark.parametrize("code", ["V8", "i4,O", "M8[s]"])
    def test_refuses_other_types(self, tmp_path, code):
        text = f"U{chr(len(code))}{code}".encode()
        (tmp_path / "a.pickle").write_bytes(self.PYTHON_2.replace(b"U\x02u1", text))
        with pytest.raises(UserError, match="an array of type"):
            restricted_pickle.load(tmp_path / "a.pickle")

    def test_broken_and_missing(self, tmp_path):
        (tmp_path / "a.pickle").write_bytes(b"\x80\x02}")
        for name in ("a.pickle", "none.pickle"):
            with pytest.raises(UserError, match=name):
                restricted_pickle.load(tmp_path / name)


class TestLists:
    def test_line_ends_and_blank_lines(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfb\r\n\r\n a \n\xc3\xbc.x\n\n")
        assert read_list(tmp_path / "a.txt") == ["b", "a", "ü.x"]

    @pytest.mark.parametrize("line", ["../a", "..", "a/b", "a\\b", "a b", ".a"])
    def test_bad_ids(self, tmp_path, line):
        (tmp_path / "a.txt").write_text(f"x\n{line}\n")
        with pytest.raises(UserError, match=r"a\.txt is not an image id"):
            read_list(tmp_path / "a.txt")

    def test_duplicates_and_nothing(self, tmp_path):
        (tmp_path / "a.txt").write_text("x\ny\nx\n")
        with pytest.raises(UserError, match=r"x is in .* twice"):
            read_list(tmp_path / "a.txt")
        (tmp_path / "a.txt").write_text("\n")
        with pytest.raises(UserError, match="empty"):
            read_list(tmp_path / "a.txt")
        with pytest.raises(UserError, match=r"none\.txt"):
            read_list(tmp_path / "none.txt")


class TestAnnotations:
    def test_difficult_objects_count_and_parts_do_not(self, tmp_path):
        (tmp_path / "a.xml").write_text(
            "<annotation><object><name>person</name><part><name>head</name></part></object>"
            "<object><difficult>1</difficult><name> dog </name></object>"
            "<object><name>dog</name></object></annotation>"
        )
        assert read_annotation(tmp_path / "a.xml") == {"dog", "person"}

    @pytest.mark.parametrize(
        "content",
        [
            "<annotation>",
            "<annotation><object/></annotation>",
            '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        ],
    )
    def test_broken_ones(self, tmp_path, content):
        (tmp_path / "a.xml").write_text(content)
        with pytest.raises(UserError, match=r"a\.xml"):
            read_annotation(tmp_path / "a.xml")


class TestClassTable:
    def test_voc_names_keep_their_source_ids(self):
        assert ANIMALS.classes == (ClassInfo("cat", 8), ClassInfo("dog", 12))
        assert list(VOC_CLASSES) == sorted(VOC_CLASSES) and len(VOC_CLASSES) == 20

    def test_other_names_are_alphabetical(self):
        table = ClassTable.of({"zebra", "ape"})
        assert table.classes == (ClassInfo("ape", 1), ClassInfo("zebra", 2))

    def test_chosen_names_keep_their_order(self):
        table = ClassTable.of(["dog", "cat"], keep_order=True)
        assert table.classes == (ClassInfo("dog", 12), ClassInfo("cat", 8))
        table = ClassTable.of(["zebra", "ape"], keep_order=True)
        assert table.classes == (ClassInfo("zebra", 1), ClassInfo("ape", 2))
        for names in ([], ["cat", "cat"], map(str, range(300))):
            with pytest.raises(UserError, match="classes"):
                ClassTable.of(names, keep_order=True)

    def test_no_class_and_a_class_twice_have_their_own_lines(self):
        with pytest.raises(UserError, match=r"^classes: the list is empty: name one or more$"):
            ClassTable.of([])
        with pytest.raises(UserError, match=r"^classes: 'cat' is named twice: take one"):
            ClassTable.of(["dog", "cat", "cat"])

    def test_labels(self):
        assert ANIMALS.labels_of([12, 8, 8, 15], Path("f")) == (1, 2)
        assert ANIMALS.labels_named(["dog", "person"], Path("f")) == (2,)
        with pytest.raises(UserError, match="f holds class 21"):
            ANIMALS.labels_of([21], Path("f"))
        with pytest.raises(UserError, match="f names 'yeti'"):
            ANIMALS.labels_named(["yeti"], Path("f"))

    def test_masks(self):
        mask = np.array([[0, 8, 12], [15, 255, 8]], dtype=np.uint8)
        assert ANIMALS.mask_of(mask, Path("f")).tolist() == [[0, 1, 2], [255, 255, 1]]
        with pytest.raises(UserError, match="f holds class 21"):
            ANIMALS.mask_of(np.full((2, 2), 21, dtype=np.uint8), Path("f"))
        apes = ClassTable.of(["ape", "zebra"])
        with pytest.raises(UserError, match="f holds class 3"):
            apes.mask_of(np.full((2, 2), 3, dtype=np.uint8), Path("f"))

    def test_back_to_source_ids(self):
        table = ClassTable.of(["dog", "cat"], keep_order=True)
        assert table.source_ids.tolist() == [0, 12, 8]
        mask = np.array([[0, 1], [2, 255]], dtype=np.uint8)
        assert table.source_mask(mask).tolist() == [[0, 12], [8, 255]]
        planes = np.array([[5], [6], [7]])
        spread = table.source_planes(planes)
        assert spread.shape == (21, 1) and np.flatnonzero(spread).tolist() == [0, 8, 12]
        assert spread[table.source_ids].tolist() == planes.tolist()
        assert spread[12] == 6

    def test_an_index_has_its_table(self):
        assert index_of_two().table == ANIMALS
        own = ClassTable.of(["zebra", "ape"], keep_order=True)
        assert Index(own.classes, (), "annotations").table.names == ("zebra", "ape")


class TestInputLists:
    @pytest.mark.parametrize("name", ["a.b", "a.b.jpg", "a.b.JPEG", "/JPEGImages/a.b.png"])
    def test_ids_of_images(self, name):
        assert image_id_of(name) == "a.b"

    def test_numbers_are_the_lists_or_the_order(self, tmp_path):
        (tmp_path / "a.txt").write_text("b.jpg 7\nv.jpg 0\na.jpg 2\n")
        assert image_numbers(["a", "b"], tmp_path / "a.txt") == {"a": 2, "b": 7}
        assert image_numbers(["b", "a"], None) == {"b": 0, "a": 1}

    @pytest.mark.parametrize("line", ["b.jpg", "b.jpg x", "b.jpg -1", "b.jpg 1 2", "c.jpg 1"])
    def test_bad_lists_are_named(self, tmp_path, line):
        (tmp_path / "a.txt").write_text(f"a.jpg 0\n{line}\n")
        with pytest.raises(UserError, match=r"a\.txt"):
            image_numbers(["a", "b"], tmp_path / "a.txt")


class TestLabelFiles:
    def test_cls_labels(self, tmp_path):
        vector = np.zeros(20, dtype=np.float32)
        vector[[7, 14]] = 1
        np.save(tmp_path / "a.npy", {"2007_000032": vector})
        assert read_cls_labels(tmp_path / "a.npy", ANIMALS) == {"2007_000032": (1,)}
        np.save(tmp_path / "a.npy", {"x": vector[:5]})
        with pytest.raises(UserError, match=r"x in .* 20 values"):
            read_cls_labels(tmp_path / "a.npy", ANIMALS)
        np.save(tmp_path / "a.npy", vector)
        with pytest.raises(UserError, match="no dict"):
            read_cls_labels(tmp_path / "a.npy", ANIMALS)

    def test_train_cls_counts_from_zero(self, tmp_path):
        (tmp_path / "a.txt").write_text("a 7 14\r\n\nb 11 7\n")
        assert read_train_cls(tmp_path / "a.txt", ANIMALS) == {"a": (1,), "b": (1, 2)}

    @pytest.mark.parametrize("line", ["a 20", "a x", "b 7", "a -1"])
    def test_train_cls_bad_lines(self, tmp_path, line):
        (tmp_path / "a.txt").write_text(f"b 7\n{line}\n")
        with pytest.raises(UserError, match=r"a\.txt"):
            read_train_cls(tmp_path / "a.txt", ANIMALS)


def test_sbds_masks(tmp_path):
    mask = np.array([[0, 8], [12, 20]], dtype=np.uint8)
    scipy.io.savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": mask}})
    np.testing.assert_array_equal(read_sbd_mask(tmp_path / "a.mat"), mask)
    (tmp_path / "b.mat").write_text("no")
    with pytest.raises(UserError, match=r"b\.mat"):
        read_sbd_mask(tmp_path / "b.mat")
