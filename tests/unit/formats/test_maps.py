import multiprocessing
import os
import re
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.masks import read_mask, write_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.tables import read_tsv, write_json, write_text, write_tsv
from seedbed.runtime import atomic as atomic_module
from seedbed.runtime.atomic import atomic, atomic_folder
from seedbed.runtime.errors import UserError


def test_atomic_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one\n")
    write_text(path, "two\n")
    assert path.read_bytes() == b"two\n"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_keeps_the_old_file_on_an_error(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_folder_replaces_or_leaves_alone(tmp_path):
    folder = tmp_path / "masks"
    for name in ("a", "b"):
        with atomic_folder(folder) as temporary:
            (temporary / name).touch()
    assert [path.name for path in folder.iterdir()] == ["b"]
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        (temporary / "c").touch()
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.fixture
def events(monkeypatch):
    """Syncs and renames, in order."""
    events = []
    fsync, syncfs, renames = os.fsync, atomic_module._sync_file_system, (Path.replace, Path.rename)

    def record(kind, path):
        events.append((kind, re.sub(r"\.([0-9a-f]{14})", ".x", Path(path).name)))

    def recorded(rename):
        return lambda path, to: (record("name", to), rename(path, to))[1]

    monkeypatch.setattr(
        os, "fsync", lambda n: (record("sync", Path(f"/proc/self/fd/{n}").readlink()), fsync(n))
    )
    monkeypatch.setattr(atomic_module, "_sync_file_system", lambda f: (record("all", f), syncfs(f)))
    for name, rename in zip(("replace", "rename"), renames, strict=True):
        monkeypatch.setattr(Path, name, recorded(rename))
    return events


def test_a_file_is_synced_before_it_is_renamed_and_its_name_after(tmp_path, events):
    folder = tmp_path / "results"
    renamed = [("name", "a.h5"), ("sync", "results")]
    for write in (lambda path: write_text(path, "a"), write_some):
        events.clear()
        write(folder / "a.h5")
        assert events == [("sync", ".a.x.h5"), *renamed]
    events.clear()
    with atomic_folder(folder / "masks") as temporary:
        (temporary / "a").touch()
    assert events == [("all", ".masks.x"), ("name", "masks"), ("sync", "results")]


def test_json_is_sorted_and_indented_by_one(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1], "a": "é"})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n "a": "é",\n "b": [\n  1\n ]\n}\n'


def test_tsv_formats_cells_and_reads_them_back(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [
        {"name": 'a\tb"', "miou": 2 / 3, "count": np.int64(1234567)},
        {"name": None, "miou": np.float32(0.1), "count": True},
    ]
    write_tsv(path, rows)
    assert path.read_text() == 'name\tmiou\tcount\n"a\tb"""\t0.666667\t1234567\n\t0.1\tTrue\n'
    assert read_tsv(path)[0] == {"name": 'a\tb"', "miou": "0.666667", "count": "1234567"}
    with pytest.raises(ValueError, match="columns"):
        write_tsv(path, [{"a": 1}, {"b": 1}])
    with pytest.raises(UserError, match=r"none\.tsv"):
        read_tsv(tmp_path / "none.tsv")


def write_some(path, ids=("b", "ä 1", "a"), **attributes):
    with write_maps(path, **attributes) as maps:
        for place, image_id in enumerate(ids):
            maps.put(image_id, np.full((2, 3), 50 * place, dtype=np.uint8), place=place)
    return path


def test_maps_come_back_with_their_attributes(tmp_path):
    path = write_some(tmp_path / "a.h5", place=9, scales=[0.5, 1.0], rule="x")
    with Maps(path) as maps:
        assert list(maps) == ["a", "b", "ä 1"]
        assert len(maps) == 3 and "a" in maps and "c" not in maps
        np.testing.assert_array_equal(maps["a"], np.full((2, 3), 100, dtype=np.uint8))
        attributes = maps.attributes("ä 1")
        assert attributes["place"] == 1 and attributes["rule"] == "x"
        assert attributes["scales"].tolist() == [0.5, 1.0]
        assert maps.get("c") is None and maps.get("b")[0, 0] == 0


def test_maps_are_the_same_bytes_again(tmp_path):
    one = write_some(tmp_path / "1.h5", rule="x")
    time.sleep(1.1)  # a time stamp in the file would have seconds
    two = write_some(tmp_path / "2.h5", rule="x")
    assert one.read_bytes() == two.read_bytes()


def test_maps_keep_empty_arrays_and_scalars(tmp_path):
    with write_maps(tmp_path / "a.h5") as maps:
        maps.put("none", np.zeros((3, 0), dtype=np.int64))
        maps.put("one", np.float32(3))
    maps = Maps(tmp_path / "a.h5")
    assert maps["none"].shape == (3, 0)
    assert maps["one"] == 3


def test_floats_widens_and_scales(tmp_path):
    with write_maps(tmp_path / "a.h5") as maps:
        maps.put("bytes", np.array([[0, 51, 255]], dtype=np.uint8))
        maps.put("tens", np.array([[0, 5, 10]], dtype=np.uint8), levels=10)
        maps.put("half", np.array([[0.25, 2]], dtype=np.float16))
    maps = Maps([tmp_path / "a.h5"])
    assert all(maps.floats(image_id).dtype == np.float32 for image_id in maps)
    np.testing.assert_allclose(maps.floats("bytes"), [[0, 0.2, 1]])
    np.testing.assert_allclose(maps.floats("tens"), [[0, 0.5, 1]])
    np.testing.assert_allclose(maps.floats("half"), [[0.25, 2]])


def test_levels_are_handed_over_as_they_are(tmp_path):
    with write_maps(tmp_path / "a.h5", levels=255) as maps:
        maps.put("bytes", np.array([[0, 51, 255]], dtype=np.uint8))
        maps.put("tens", np.array([[0, 5, 10]], dtype=np.uint8), levels=10)
        maps.put("several", np.array([[0, 5, 10]], dtype=np.uint8), levels=[1, 2])
        maps.put("half", np.array([[0.25, 1]], dtype=np.float16))
    maps = Maps(tmp_path / "a.h5")
    assert maps.levels("bytes").dtype == np.uint8 and maps.levels("bytes").tolist() == [
        [0, 51, 255]
    ]
    for other in ("tens", "several", "half"):
        with pytest.raises(UserError, match=rf"{other} in .*a\.h5 has no levels of 0 to 255"):
            maps.levels(other)


def test_shards_are_read_as_one(tmp_path):
    one = write_some(tmp_path / "1.h5", ("z", "y"), shard=1)
    two = write_some(tmp_path / "2.h5", ("a",), shard=2)
    maps = Maps([one, two])
    assert list(maps) == ["y", "z", "a"]
    assert [maps.attributes(image_id)["shard"] for image_id in maps] == [1, 1, 2]
    write_some(two, ("y",))
    with pytest.raises(UserError, match=r"y is in .*1\.h5 and in .*2\.h5"):
        len(Maps([one, two]))


def test_what_cannot_be_read_is_named(tmp_path):
    path = write_some(tmp_path / "a.h5")
    with pytest.raises(UserError, match=r"c is not in .*a\.h5: remake it"):
        Maps(path)["c"]
    with pytest.raises(UserError, match=r"none\.h5.*remake it"):
        len(Maps(tmp_path / "none.h5"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"a\.h5.*remake it"):
        len(Maps(path))


def test_damaged_data_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    with write_maps(tmp_path / "a.h5") as maps:
        maps.put("a", noise)
    with h5py.File(tmp_path / "a.h5") as file:
        start = file["a"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[start : start + 500] = bytes(500)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read a in .*a\.h5"):
        Maps(tmp_path / "a.h5")["a"]


def test_links_out_of_the_file_are_refused(tmp_path):
    write_some(tmp_path / "other.h5")
    (tmp_path / "secret").write_bytes(b"secret")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "/a")
        file["soft"] = h5py.SoftLink("/raw")
        file.create_dataset("raw", (6,), "u1", external=[(str(tmp_path / "secret"), 0, 6)])
        layout = h5py.VirtualLayout((2, 3), "u1")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "a", (2, 3))
        file.create_virtual_dataset("virtual", layout)
        file.create_group("group")
    maps = Maps(tmp_path / "a.h5")
    for image_id in maps:
        with pytest.raises(UserError, match=r"a\.h5"):
            maps[image_id]


@pytest.mark.parametrize("image_id", ["", ".", "a/b"])
def test_ids_that_name_no_dataset_are_refused(tmp_path, image_id):
    with pytest.raises(ValueError, match="image_id"), write_maps(tmp_path / "a.h5") as maps:
        maps.put(image_id, np.zeros((1, 1)))
    assert not any(tmp_path.iterdir())


def sum_of(maps, image_id):
    return int(maps[image_id].sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_maps_serve_worker_processes(tmp_path, method):
    maps = Maps(write_some(tmp_path / "a.h5"))
    expected = [sum_of(maps, image_id) for image_id in maps]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(sum_of, [(maps, image_id) for image_id in maps]) == expected


def test_palette_is_vocs():
    assert VOC_PALETTE[[0, 1, 2, 15, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
    ]
    assert VOC_PALETTE[255].tolist() == [224, 224, 192]
    assert len(np.unique(VOC_PALETTE, axis=0)) == 256


@settings(max_examples=20)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_masks_survive_the_png(tmp_path_factory, mask):
    path = tmp_path_factory.mktemp("mask") / "a.png"
    write_mask(path, mask)
    np.testing.assert_array_equal(read_mask(path), mask)


def test_mask_is_an_eight_bit_palette_png(tmp_path):
    write_mask(tmp_path / "a.png", np.array([[0, 1, 255]], dtype=np.uint8))
    content = (tmp_path / "a.png").read_bytes()
    assert content[24:26] == bytes([8, 3])  # IHDR: bit depth, colour type
    image = Image.open(tmp_path / "a.png").convert("RGB")
    assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (128, 0, 0), (224, 224, 192)]
    with pytest.raises(ValueError, match="uint8"):
        write_mask(tmp_path / "a.png", np.zeros((2, 2)))


def test_masks_of_other_modes_are_read(tmp_path):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ids).save(tmp_path / "grey.png")
    Image.fromarray(VOC_PALETTE[ids]).save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "colour.png"), ids)


def test_masks_that_are_none_are_named(tmp_path):
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour\.png has the colour \(1, 2, 3\)"):
        read_mask(tmp_path / "colour.png")
    Image.new("RGBA", (2, 2)).save(tmp_path / "alpha.png")
    with pytest.raises(UserError, match="transparent pixels"):
        read_mask(tmp_path / "alpha.png")
    (tmp_path / "text.png").write_text("no")
    for name in ("text.png", "none.png"):
        with pytest.raises(UserError, match=name):
            read_mask(tmp_path / name)
