import io
import zipfile

import pytest
import torch

from seedbed.formats.weights.files import read_file
from seedbed.formats.weights.pytorch import read_pytorch
from seedbed.models import build

torch.set_num_threads(1)

T = torch.arange(24.0).reshape(2, 3, 4)
TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")
CONTENT = {
    "views": [T, T.permute(2, 0, 1), T[:, 1], T[1, ::2], T[0, 0, 0], T[0:0], T[:1].expand(2, 3, 4)],
    "types": [*(T.to(getattr(torch, name)) for name in TYPES), T > 5],
    "parameter": torch.nn.Parameter(T),
    "plain": (1, None, "ü", 2.5, [True], {"a": -1}),
}


def save(path, content, *, archive=True):
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    return path


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("archive", [True, False])
def test_reads_what_torch_reads(tmp_path, archive):
    path = save(tmp_path / "a.pth", CONTENT, archive=archive)
    assert same(read_pytorch(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("archive", [True, False])
def test_reads_networks_and_optimisers(tmp_path, archive):
    model = build("tiny_cls", 3)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    optimiser.step()
    content = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    path = save(tmp_path / "a.pth", content, archive=archive)
    assert same(read_pytorch(path), {**content, "model": dict(content["model"])})


def test_tensors_do_not_share(tmp_path):
    found = read_pytorch(save(tmp_path / "a.pth", {"a": T, "b": T}))
    found["a"].zero_()
    assert torch.equal(found["b"], T)


def test_refuses_a_size_that_the_storage_lacks(tmp_path):
    path = save(tmp_path / "a.pth", {"a": torch.zeros(3)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in members if name.endswith("data.pkl"))
    forged = members[name].replace(b"K\x03\x85", b"K\x04\x85")
    assert forged != members[name]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, data in {**members, name: forged}.items():
            archive.writestr(member, data)
    path.write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="ends at 3, in a storage of 3"):
        read_pytorch(path)


@pytest.mark.parametrize("archive", [True, False])
def test_numbers_of_a_big_endian_machine(tmp_path, archive):
    path = save(tmp_path / "a.pth", {"a": T}, archive=archive)
    data = path.read_bytes()
    if archive:
        forged = data.replace(b"little", b"big\0\0\0")
    else:
        forged = data.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    assert forged != data
    path.write_bytes(forged)
    with pytest.raises((ValueError, zipfile.BadZipFile), match="big-endian"):
        read_pytorch(path)


def test_sparse_tensors_are_refused(tmp_path):
    path = save(tmp_path / "a.pth", {"a": T[0].to_sparse()})
    with pytest.raises(Exception, match="sparse"):
        read_pytorch(path)
    with pytest.raises(Exception, match="no plain PyTorch file"):
        read_file(path)
