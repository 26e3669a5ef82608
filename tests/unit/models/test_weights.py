import argparse
import datetime
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from seedbed.models import build
from seedbed.models.weights import load_network, load_weights, save_network
from seedbed.runtime.errors import UserError
from tests.support.published_names import published

torch.set_num_threads(1)

SHARED = Path(__file__).parents[4] / "shared"
SQUEEZENET = SHARED / "weights" / "squeezenet1_0.pth"
MOBILENET = SHARED / "weights" / "mobilenet_v2_features.pth"
VOC = SHARED / "voc-animals" / "VOCdevkit" / "VOC2012"
CAT, DOG = range(281, 286), range(151, 269)


def needs(*paths):
    absent = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(absent), reason=f"not beside the checkout: {absent}")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build("squeezenet1_0_cls", 3)


@pytest.fixture
def tensors():
    """A checkpoint as published: the backbone, and a classifier of another shape and name."""
    torch.manual_seed(1)
    backbone = build("squeezenet1_0_cls", 3).features.state_dict()
    classifier = {"classifier.1.weight": torch.zeros(1000, 512, 1, 1)}
    return {f"features.{key}": value for key, value in backbone.items()} | classifier


@pytest.fixture
def write(tmp_path):
    def write(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def assert_filled(model, tensors):
    state = model.state_dict()
    expected = {key: value for key, value in tensors.items() if key.startswith("features.")}
    assert all(torch.equal(state[key], value.float()) for key, value in expected.items())


def test_report_says_what_went_where(model, tensors, write):
    head = model.state_dict()["head.1.weight"].clone()
    report = load_weights(model, write(tensors))
    assert len(report.placed) == 50 and report.placed[0] == "features.0.weight"
    assert report.missing == ("head.1.weight",)
    assert report.unused == ("classifier.1.weight",)
    assert_filled(model, tensors)
    assert torch.equal(model.state_dict()["head.1.weight"], head)


def test_prefixes_wrappers_and_half_precision(model, tensors, write):
    halves = {f"module.{key}": value.half() for key, value in tensors.items()}
    load_weights(model, write({"state_dict": halves, "epoch": 3}, "weights.pt"))
    assert_filled(model, {key: value.half() for key, value in tensors.items()})
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())


def test_head_for_other_classes(model, tensors, write):
    path = write(tensors | {"head.1.weight": torch.zeros(7, 512, 1, 1)})
    with pytest.raises(UserError, match=r"weights.pth: head.1.weight.*\(7, 512, 1, 1\).*new_head"):
        load_weights(model, path)
    report = load_weights(model, path, new_head=True)
    assert report.missing == ("head.1.weight",) and "head.1.weight" in report.unused


def test_the_whole_vgg_16_of_its_authors_fills_what_fits(tmp_path):
    """VGG_ILSVRC_16_layers.caffemodel: fc6 and fc7 are matrices of 4096 rows there."""
    network = build("vgg16_largefov", 21)
    layers = published("vgg16_20M", network)
    generator = torch.Generator().manual_seed(0)
    layers = {name: torch.randn(value.shape, generator=generator)
              for name, value in layers.items() if name.startswith("conv")}  # fmt: skip
    for name, columns in (("fc6", 250), ("fc7", 40), ("fc8", 40)):
        layers |= {f"{name}.weight": torch.ones(40, columns), f"{name}.bias": torch.ones(40)}
    torch.save(layers, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"fc6\.weight has shape \(40, 250\)"):
        load_weights(network, tmp_path / "w.pth")
    report = load_weights(network, tmp_path / "w.pth", new_head="partial")
    assert len(report.placed) == 26
    assert {name.split(".")[1] for name in report.missing} == {"fc6", "fc7", "fc8"}
    assert {name[:3] for name in report.unused} == {"fc6", "fc7", "fc8"}
    assert torch.equal(network.features[0].weight, layers["conv1_1.weight"])
    cam = load_weights(build("vgg16_cam", 20), tmp_path / "w.pth")
    assert len(cam.placed) == 26


def test_partial_wants_the_whole_backbone(model, tensors, write):
    tensors["features.12.squeeze.weight"] = torch.zeros(64, 512, 3, 3)
    with pytest.raises(UserError, match=r"features.12.*\(64, 512, 3, 3\)"):
        load_weights(model, write(tensors), new_head="partial")


def test_wrong_shape_in_the_backbone(model, tensors, write):
    before = model.features[0].weight.clone()
    tensors["features.12.squeeze.weight"] = torch.zeros(64, 512, 3, 3)
    with pytest.raises(UserError, match=r"features.12.*\(64, 512, 3, 3\).*\(64, 512, 1, 1\)"):
        load_weights(model, write(tensors))
    assert torch.equal(model.features[0].weight, before), "nothing is placed on an error"


@pytest.mark.parametrize("content", [{"fc.weight": torch.zeros(2)}, {}, {"state_dict": {"a": 1}}])
def test_nothing_fits(model, write, content):
    with pytest.raises(UserError, match=r"weights.pth hold no tensor of this network"):
        load_weights(model, write(content))


def test_batch_norm_counters_alone_are_no_fit(write):
    with pytest.raises(UserError, match="no tensor of this network"):
        load_weights(
            build("mobilenet_v2_cls", 2),
            write({"features.0.1.num_batches_tracked": torch.tensor(3)}),
        )


def test_no_state_dict(model, write):
    with pytest.raises(UserError, match=r"weights.pth hold no state dict but a list"):
        load_weights(model, write([torch.zeros(2)]))


@pytest.mark.parametrize("size", [0, 10, 2000, 100_000, -100])
def test_truncated_file(model, tensors, write, size):
    path = write(tensors)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"weights.pth.*cut short"):
        load_weights(model, path)


def test_no_file(model, tmp_path):
    with pytest.raises(UserError, match=r"none.pth do not exist"):
        load_weights(model, tmp_path / "none.pth")


class Payload:
    """A pickle that would leave a trace if it were executed."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_nothing_is_executed(model, tensors, tmp_path, write):
    with pytest.raises(UserError, match=r"lack features\.0\.weight"):
        load_weights(model, write(tensors | {"features.0.weight": Payload(tmp_path / "trace")}))
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state},
        lambda state: {"model_state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
        lambda state: {"net": state, "best": 0.7},
        lambda state: {"checkpoint": {"network": state}},
        lambda state: {f"model.{name}": value for name, value in state.items()},
        lambda state: {f"backbone.{name}": value for name, value in state.items()},
        lambda state: {f"encoder.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {
            "state_dict": {f"module._orig_mod.model.encoder.{k}": v for k, v in state.items()}
        },
        lambda state: {"model": {k: -v for k, v in state.items()}, "model_ema": state},
        lambda state: {
            f"{prefix}{name}": sign * value
            for prefix, sign in (("online_model.", -1), ("ema_model.", 1))
            for name, value in state.items()
        },
        lambda state: {"ema_state_dict": {f"module.{name}": v for name, v in state.items()}},
    ],
)
def test_wrappers_and_prefixes_of_training_programs(model, tensors, write, wrap):
    report = load_weights(model, write(wrap(tensors)))
    assert_filled(model, tensors)
    assert report.missing == ("head.1.weight",)


def test_a_head_beside_the_backbone_is_found(tmp_path, write):
    source = saved(tmp_path / "own.pt").state_dict()
    file = write(
        {"module." + name.replace("features.", "net.features."): source[name] for name in source}
    )
    target = build("tiny_seg", 3)
    assert load_weights(target, file).missing == ()
    assert all(torch.equal(value, source[name]) for name, value in target.state_dict().items())


def test_two_networks_in_a_file_are_refused(model, tensors, write):
    with pytest.raises(UserError, match=r"several times, as student\.\* and teacher\.\*; keep one"):
        load_weights(model, write({"student": tensors, "teacher": tensors}))


def test_what_programs_save_beside_the_tensors_is_skipped(model, tensors, write):
    extras = {
        "args": argparse.Namespace(lr=0.1, path=Path("runs/1"), nested={"date": date(2024, 5, 1)}),
        "best": defaultdict(list, {"miou": [0.5]}),
        "time": datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "score": np.float64(0.5),
        "counts": Counter("aab"),
        "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.zeros(1)]), 3),
    }
    load_weights(model, write(extras | {"state_dict": tensors}))
    assert_filled(model, tensors)


@pytest.mark.parametrize("content", [lambda net: net, lambda net: {"epoch": 1, "model": net}])
def test_a_pickled_module_is_named(model, write, content):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    expected = (
        r"the pickled module torch\.nn\.modules\.container\.Sequential.*model\.state_dict\(\)"
    )
    with pytest.raises(UserError, match=expected):
        load_weights(model, write(content(network)))


def test_a_torchscript_archive_is_named(model, tmp_path):
    scripted = torch.jit.script(torch.nn.Conv2d(3, 8, 3))
    scripted.save(str(tmp_path / "model.pt"))
    with pytest.raises(UserError, match=r"the pickled module __torch__.*state_dict"):
        load_weights(model, tmp_path / "model.pt")


def saved(path, name="tiny_seg", source_ids=None, **options):
    torch.manual_seed(5)
    model = build(name, 3, **options)
    save_network(path, model, name, 3, options, ["background", "cat", "dog"], source_ids)
    return model


def test_own_network_comes_back(tmp_path):
    model = saved(tmp_path / "weights.pt", skip=False, dropout=0.5).eval()
    again, meta = load_network(tmp_path / "weights.pt")
    assert meta == {
        "name": "tiny_seg",
        "num_classes": 3,
        "options": {"skip": False, "dropout": 0.5},
        "classes": ["background", "cat", "dog"],
        "source_ids": None,
    }
    assert again.stride == 8 and not again.training
    x = torch.randn(1, 3, 40, 56)
    assert torch.equal(model(x), again(x))


def test_source_ids_come_back_if_the_file_has_them(tmp_path, write):
    saved(tmp_path / "weights.pt", source_ids=np.array([0, 8, 12]))
    assert load_network(tmp_path / "weights.pt")[1]["source_ids"] == [0, 8, 12]
    content = torch.load(tmp_path / "weights.pt", weights_only=True)
    del content["source_ids"]  # as files of an earlier version
    assert load_network(write(content, "old.pt"))[1]["source_ids"] is None


def test_own_networks_bytes_are_fixed(tmp_path):
    saved(tmp_path / "a.pt"), saved(tmp_path / "other.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_own_file_starts_another_network(tmp_path):
    trained = saved(tmp_path / "weights.pt", name="tiny_cls")
    model = build("tiny_seg", 4)
    report = load_weights(model, tmp_path / "weights.pt")
    assert all(name.startswith("features.") for name in report.placed)
    assert report.unused == ("head.1.weight",)
    assert torch.equal(model.features[5][0].weight, trained.features[5][0].weight)


def test_other_files_are_refused(tmp_path, tensors, write):
    with pytest.raises(UserError, match=r"weights.pth is not a network"):
        load_network(write(tensors))
    path = tmp_path / "cut.pt"
    saved(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"cut.pt"):
        load_network(path)


@pytest.mark.parametrize(
    "change", [{"options": {"colour": 1}}, {"num_classes": 5}, {"state_dict": {}}]
)
def test_files_of_another_version_are_refused(tmp_path, write, change):
    saved(tmp_path / "weights.pt")
    content = torch.load(tmp_path / "weights.pt", weights_only=True)
    with pytest.raises(UserError, match=r"other.pt does not fit"):
        load_network(write(content | change, "other.pt"))


@needs(MOBILENET)
def test_published_mobilenet_fills_the_backbone():
    model = build("mobilenet_v2_seg", 3)
    report = load_weights(model, MOBILENET)
    assert report.unused == () and all(name.startswith("head.") for name in report.missing)
    assert len(report.placed) == 312


def photos(class_index, count):
    """Images whose one tag is the class: uint8 (1, 3, H, W) each."""
    lines = (VOC / "ImageSets" / "Segmentation" / "train_cls.txt").read_text().splitlines()
    names = [line.split()[0] for line in lines if line.split()[1:] == [str(class_index)]]
    for name in names[:count]:
        pixels = np.array(Image.open(VOC / "JPEGImages" / f"{name}.jpg").convert("RGB"))
        yield torch.from_numpy(pixels).permute(2, 0, 1)[None]


@torch.inference_mode()
def best_five(model, classifier, image):
    """SqueezeNet's own end: 1x1 convolution, ReLU, global average."""
    maps = F.conv2d(model.features(model.preprocess(image)), *classifier).relu()
    return maps.mean((2, 3))[0].topk(5).indices.tolist()


@needs(SQUEEZENET, VOC)
def test_published_squeezenet_knows_dogs_and_cats(model):
    report = load_weights(model.eval(), SQUEEZENET)
    assert report.missing == ("head.1.weight",)
    assert report.unused == ("classifier.1.weight", "classifier.1.bias")
    content = torch.load(SQUEEZENET, weights_only=True)
    classifier = [content[name] for name in report.unused]
    dogs = [best_five(model, classifier, image) for image in photos(11, 20)]
    cats = [best_five(model, classifier, image) for image in photos(7, 20)]
    assert sum(five[0] in DOG for five in dogs) >= 14
    assert sum(five[0] in CAT for five in cats) >= 8
    assert sum(any(index in CAT for index in five) for five in cats) >= 12


def test_a_safetensors_file_fills_a_network_as_a_pth_does(tmp_path):
    source, target = build("tiny_cls", 3), build("tiny_cls", 3)
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    assert not load_weights(target, path).missing
    assert all(map(torch.equal, source.state_dict().values(), target.state_dict().values()))


@pytest.mark.parametrize(
    "name",
    ["a.caffemodel", "a-0001.params", "a.npy", "a.safetensors", "model.ckpt-18000", "a.ckpt.index"],
)
def test_files_are_read_by_their_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(UserError, match=name) as error:
        load_weights(build("tiny_cls", 3), tmp_path / name)
    assert "PyTorch" not in str(error.value) and "\n" not in str(error.value)
