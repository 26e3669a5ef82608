"""Backbones of timm: with a stand-in for the package, and where it is installed with itself."""

import sys

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch.nn import functional as F

from seedbed.inference.onnx_export import export_onnx
from seedbed.models.registry import NETWORKS, build, names_of_kind, network_info, pretrained_file
from seedbed.models.weights import load_network, load_weights, save_network
from seedbed.runtime.errors import UserError
from stages.settings import ClassifierSettings, GroupSettings, TrainingSettings, parse_config
from tests.support import fake_timm

torch.set_num_threads(1)
BRIEF = {"iterations": 1, "batch": 1, "learning_rate": 0.1, "crop": 128}
KINDS = {"cls": ClassifierSettings, "seg": TrainingSettings, "group": GroupSettings}


@pytest.fixture
def timm(monkeypatch):
    fake_timm.install(monkeypatch)


def images(height, width):
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.manual_seed(0))


# Names, known without timm


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_says_backbone_and_kind(kind):
    info = network_info(f"timm:convnext_tiny.fb_in22k/{kind}")
    assert (info.backbone, info.kind) == ("timm:convnext_tiny.fb_in22k", kind)
    assert info.options == NETWORKS[f"tiny_{kind}"].options
    assert network_info("timm:vit_base_patch16_siglip_224.v2-webli/cls").kind == "cls"
    assert names_of_kind(kind)[-1] == f"timm:NAME/{kind}"


@pytest.mark.parametrize(
    "name",
    ["timm:resnet50", "timm:resnet50/affinity", "timm:../a/seg", "timm:a.b.c/seg", "timm:a/seg\n"],
)
def test_other_names_are_unknown(name):
    with pytest.raises(UserError, match=r"not known.*timm:NAME/seg"):
        network_info(name)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_accept_them_where_they_fit(kind):
    for other, model in KINDS.items():
        if other == kind:
            found = model(network=f"timm:resnet50/{kind}", options={"output_stride": 8}, **BRIEF)
            assert found.network == f"timm:resnet50/{kind}"
        else:
            with pytest.raises(ValidationError, match=r"network: timm:resnet50/\w+ is not one of"):
                model(network=f"timm:resnet50/{kind}", **BRIEF)


def test_pretrained_weights_have_a_file_for_names_that_say_which():
    path = pretrained_file("timm:convnext_tiny.fb_in22k/seg")
    assert path == "weights/timm/convnext_tiny.fb_in22k.safetensors"
    TrainingSettings(network="timm:resnet50.a1_in1k/seg", weights="pretrained", **BRIEF)
    for name in ("timm:resnet50/seg", "tiny_seg"):
        with pytest.raises(ValidationError, match=rf"weights: pretrained is for.*not {name}"):
            TrainingSettings(network=name, weights="pretrained", **BRIEF)


def test_only_the_same_backbone_starts_from_the_classifier():
    def config(network):
        classifier = {"network": "timm:resnet50.a1_in1k/cls", **BRIEF}
        training = {"network": network, "weights": "classifier", **BRIEF}
        rounds = [{"supervise": "pseudo_labels"}]
        return {"classifier": classifier, "training": training, "rounds": rounds}

    parse_config(config("timm:resnet50.a1_in1k/seg"))
    with pytest.raises(UserError, match="both need the same backbone"):
        parse_config(config("timm:resnet50.tv_in1k/seg"))


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm:resnet50 needs timm.*'seedbed\[timm\]'"):
        build("timm:resnet50/seg", 3)


# What Seedbed makes of a network, with the stand-in


def test_images_are_enlarged_to_whole_cells(timm):
    model, image = build("timm:patches/cls", 3).eval(), torch.rand(1, 3, 33, 50)
    whole = F.interpolate(image, (48, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found, (_, expected) = model.features(image), model.features.levels(whole)
        kept = model.features.timm.stage(model.features.timm.stem(whole))  # gamma 1, token 0
    assert model.stride == 16 and found.shape == (1, 10, 3, 4)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(expected, kept)


def test_preprocessing_is_the_networks_own(timm):
    model = build("timm:patches/seg", 3)
    image = images(8, 9)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (fake_timm.MEAN, fake_timm.STD))
    torch.testing.assert_close(model.preprocess(image), (image / 255 - mean) / std)


def test_segmentation_uses_low_level_features_where_there_are_some(timm):
    fine, coarse = build("timm:patches/seg", 3).eval(), build("timm:tokens/seg", 3).eval()
    assert (fine.stride, coarse.stride) == (4, 16)
    with torch.no_grad():
        assert fine(torch.rand(1, 3, 40, 64)).shape == (1, 3, 12, 16)
        assert coarse(torch.rand(1, 3, 40, 64)).shape == (1, 3, 3, 4)
    assert build("timm:patches/seg", 3, skip=False).stride == 16
    with pytest.raises(UserError, match=r"options.skip: .*one stride only"):
        build("timm:tokens/seg", 3, skip=True)


def test_output_strides_are_the_networks_or_refused(timm):
    assert build("timm:patches/cls", 3, output_stride=8).stride == 8
    assert build("timm:tokens/cls", 3, output_stride=16).stride == 16
    for name, stride in (("patches", 4), ("tokens", 8)):
        with pytest.raises(UserError, match=rf"output_stride: timm:{name} cannot have {stride}"):
            build(f"timm:{name}/cls", 3, output_stride=stride)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("patchs.a_in1k", r"timm 0.0 has no network patchs.a_in1k; similar ones: patches.a_in1k"),
        ("one_size", r"gives no maps of an image of 128 x 192 pixels \(Input height \(128\)"),
        ("unpadded", r"gives 7 x 11 cells of an image of 128 x 192 pixels, not cells of 16"),
    ],
)
def test_networks_that_cannot_be_used_are_refused(timm, name, message):
    with pytest.raises(UserError, match=message):
        build(f"timm:{name}/seg", 3)


def test_batch_norms_keep_their_statistics(timm):
    model = build("timm:patches/seg", 3).train()
    norm = model.features.timm.stem[1]
    assert model.training and model.head.context[1].training and not norm.training
    assert model.eval().train().features.timm.stem.training and norm.weight.requires_grad
    assert model.new_parts == ("head.",)


@pytest.mark.parametrize("prefix", ["", "module.", "state_dict.backbone."])
def test_timms_files_fill_the_backbone(timm, tmp_path, prefix):
    published = fake_timm.Patches().state_dict()
    for value in published.values():
        value.copy_(torch.rand(value.shape))
    save_file({prefix + k: v for k, v in published.items()}, tmp_path / "a.safetensors")
    model = build("timm:patches.a_in1k/seg", 3)
    report = load_weights(model, tmp_path / "a.safetensors")
    assert all(name.startswith("head.") for name in report.missing)
    assert set(report.unused) == {f"{prefix}head.{part}" for part in ("weight", "bias")}
    for name, value in model.features.timm.state_dict().items():
        torch.testing.assert_close(value, published[name])


def test_files_of_other_networks_are_refused(timm, tmp_path):
    published = fake_timm.Patches(output_stride=8).state_dict()
    save_file(published, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"stage.weight has shape \(10, 6, 2, 2\)"):
        load_weights(build("timm:patches/seg", 3), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"lack features.timm.pos_embed of"):
        load_weights(build("timm:tokens/seg", 3), tmp_path / "a.safetensors")


def test_checkpoints_build_the_network_again_and_start_others(timm, tmp_path):
    name, options = "timm:patches.a_in1k/cls", {"output_stride": 8}
    model = build(name, 2, **options).eval()
    save_network(tmp_path / "weights.pt", model, name, 2, options, ["a", "b"])
    again, about = load_network(tmp_path / "weights.pt")
    x = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(again(x), model(x)) and about["name"] == name
    other = build("timm:patches.a_in1k/group", 2, output_stride=8).eval()
    load_weights(other, tmp_path / "weights.pt")
    with torch.no_grad():
        assert torch.equal(other.features(x), model.features(x))


def test_networks_export_unless_they_resample_positions(timm, tmp_path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    assert export_onnx(tmp_path / "a.onnx", build("timm:patches/seg", 3).eval(), {}) < 1e-4
    with pytest.raises(UserError, match=r"ONNX \d+ cannot resample .* position embeddings"):
        export_onnx(tmp_path / "b.onnx", build("timm:tokens/seg", 3).eval(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


# The package itself


FAMILIES = {
    "resnet18.a1_in1k": (32, 8),
    "convnext_atto.d2_in1k": (32, 8),
    "vit_tiny_patch16_224.augreg_in21k": (16, None),
}


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_families_of_timm(name, tmp_path):
    package = pytest.importorskip("timm", reason="timm is not installed")
    own, finer = FAMILIES[name]
    full = package.create_model(name, pretrained=False).eval()
    save_file(full.state_dict(), tmp_path / "a.safetensors")
    model = build(f"timm:{name}/cls", 3).eval()
    report = load_weights(model, tmp_path / "a.safetensors")
    assert all(part.startswith("head.") for part in report.missing)
    size = (3, 224, 224)  # at which timm's own network can be compared
    expected = full.forward_features(torch.ones(1, *size))
    if expected.ndim == 3:  # a ViT's tokens, of which the first is that of the class
        expected = expected[:, 1:].transpose(1, 2).unflatten(2, (224 // own, -1))
    torch.testing.assert_close(model.features(torch.ones(1, *size)), expected)
    assert model.maps(torch.rand(1, 3, 97, 130)).shape[2:] == (-(-97 // own), -(-130 // own))
    if finer:
        assert build(f"timm:{name}/cls", 3, output_stride=finer).stride == finer
    else:
        with pytest.raises(UserError, match="output_stride"):
            build(f"timm:{name}/cls", 3, output_stride=8)
    groups = build(f"timm:{name}/group", 3).eval()(torch.rand(1, 3, 3, 64, 64))
    assert groups.scores_after.shape == (1, 3, 3)
    assert build(f"timm:{name}/seg", 3).eval()(torch.rand(1, 3, 64, 96)).shape[:2] == (1, 3)
