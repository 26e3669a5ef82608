"""Published checkpoints of every network that has one, whole, foreign and wrong."""

import shutil
import zlib

import pytest
import torch

from seedbed.models import build
from seedbed.models.weights import load_weights
from seedbed.models.weights.names import find_prefixes, find_sources
from seedbed.runtime.errors import UserError
from tests.support.network_helpers import on_meta
from tests.support.published_names import EXTRAS, published
from tests.support.published_weights import write_checkpoint
from tests.support.weights_damage import assert_line

torch.set_num_threads(1)


@pytest.fixture
def tmp_path(tmp_path):
    """Removed at once: the files take gigabytes, which pytest would keep for three sessions."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(autouse=True)
def quick_checksums(monkeypatch):
    """TensorFlow's would cost seconds; they have their own tests."""
    for user in (
        "tests.support.tensorflow_writer",
        "seedbed.formats.weights.sstable",
        "seedbed.formats.weights.tensorflow",
    ):
        monkeypatch.setattr(f"{user}.masked_crc32c", zlib.crc32)


POOL = torch.rand(10_007, generator=torch.Generator().manual_seed(0))


def blank(name, num_classes=21, **options):
    """A network in evaluation mode that holds whatever lay in memory."""
    return on_meta(build, name, num_classes, **options).to_empty(device="cpu").eval()


def scrambled(name, num_classes=21, seed=0, **options):
    """A network of random tensors, no two alike, statistics too, that keeps activations finite."""
    model = blank(name, num_classes, **options)
    for place, (key, values) in enumerate(model.state_dict().items()):
        if values.is_floating_point():
            pool = POOL.roll(11 * place + seed)
            low, high = (0.5, 1.5) if key.endswith("var") else (-0.5, 1)
            if values.dim() > 1:
                high = (6 / values[0].numel()) ** 0.5
                low = -high
            repeats = -(-values.numel() // len(pool))
            numbers = (pool * (high - low) + low).repeat(repeats)
            values.copy_(numbers[: values.numel()].view_as(values))
    return model


def own_names(model, *prefixes):
    """Names of a network's tensors but the batch norms' counters."""
    names = {name for name in model.state_dict() if name.startswith(prefixes)}
    return {name for name in names if not name.endswith("num_batches_tracked")}


def assert_report(report, model, missing, unused):
    """`missing` are prefixes of our names, `unused` whole names of the file."""
    absent = own_names(model, *missing) if missing else set()
    assert set(report.missing) == absent
    assert set(report.placed) == own_names(model, "") - absent
    assert set(report.unused) == set(unused)
    for names in (report.placed, report.missing, report.unused):
        assert len(set(names)) == len(names)


def thin(tensors):
    """The same names and shapes at the price of a number each, and no two alike."""
    return {
        name: torch.tensor(float(place)).expand(values.shape)
        for place, (name, values) in enumerate(tensors.items())
    }


def thinly_published(layout, name, num_classes=21):
    return thin(published(layout, on_meta(build, name, num_classes)))


@pytest.fixture
def write(tmp_path):
    def write(tensors):
        torch.save(tensors, tmp_path / "a.pth")
        return tmp_path / "a.pth"

    return write


# A system's own network.


@pytest.mark.parametrize(
    ("name", "classes", "layout", "file", "module"),
    [
        ("vgg16_aspp", 21, "dsrg", "model-s_iter_8000.caffemodel", False),
        ("vgg16_aspp", 21, "port", "norm-20.ckpt.index", False),
        ("vgg16_cam", 20, "sec", "fg.caffemodel", False),
        ("vgg16_largefov", 21, "spsm_vgg16", "model.ckpt", False),
        ("vgg16_group", 20, "group_wsss", "pascal_voc_epoch_14.pth", True),
        ("vgg16_group", 20, "group_wsss", "pascal_voc_epoch_14.pth", False),
        ("vgg16_cls", 20, "psa", "vgg16_cls.pth", False),
        ("vgg16_cls", 20, "psa", "vgg16_cls.pth", True),
        ("vgg16_cls", 20, "psa", "vgg16_cls.safetensors", True),
        ("vgg16_affinity", 20, "psa", "vgg16_aff.pth", True),
        ("resnet101_deeplab", 21, "spsm_resnet101", "deeplab_resnet_init.ckpt", False),
        ("resnet38_cls", 20, "psa", "res38_cls.pth", False),
    ],
)
def test_a_systems_own_network(tmp_path, name, classes, layout, file, module):
    options = {"padding": "tf"} if layout in ("port", "spsm_vgg16") else {}
    source = scrambled(name, classes, **options)
    write_checkpoint(tmp_path / file, layout, source, module=module)
    model = blank(name, classes, **options)
    report = load_weights(model, tmp_path / file)
    prefix = "module." if module else ""
    assert_report(report, model, (), [prefix + key for key in EXTRAS.get(layout, ())])
    expected, loaded = source.state_dict(), model.state_dict()
    for key in own_names(model, ""):
        assert torch.equal(loaded[key], expected[key]), key
    assert_same_outputs(model, source)


@torch.inference_mode()
def assert_same_outputs(model, source):
    group = [model.group_size] if hasattr(model, "group_size") else []
    size = 72 if hasattr(model, "affinities") else 64
    images = torch.randn(1, *group, 3, size, size, generator=torch.Generator().manual_seed(2))
    ours, theirs = model(images), source(images)
    assert all(map(torch.isfinite, [part.sum() for part in ours]))
    torch.testing.assert_close(ours, theirs)
    assert max(part.std() for part in ours) > 0


# Weights to begin with.

FC67 = ("fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias")
FC67_OF_BRANCHES = tuple(
    f"fc{layer}_{branch}.{kind}" for layer in (6, 7) for branch in (1, 2, 3, 4) for kind in "wb"
)
CLASSIFIERS = tuple(EXTRAS["torchvision"])
PSA_LACKS = ("head.", "features.fc")
RESNET = ("resnet101_deeplab", "resnet101_deeplab")
TORCHVISION = {"preprocessing": "imagenet", "stride_in_first": False}


@pytest.mark.parametrize(
    ("layout", "file", "source", "networks"),
    [
        (
            "vgg16_20M",
            "vgg16_20M.caffemodel",
            "vgg16_largefov",
            {
                "vgg16_aspp": (["head.fc8"], ()),
                "vgg16_largefov": (["head.fc8"], ()),
                "vgg16_cls": (["head."], ()),
                "vgg16_affinity": (["head."], ()),
                "vgg16_cam": (["head."], FC67),
            },
        ),
        (
            "port_init",
            "vgg16_deeplab_aspp.npy",
            "vgg16_aspp",
            {
                "vgg16_aspp": (["head.fc8"], ()),
                "vgg16_cam": (["head."], FC67_OF_BRANCHES),
            },
        ),
        (
            "torchvision",
            "vgg16-397923af.pth",
            "vgg16_group",
            {
                "vgg16_aspp": (["head."], CLASSIFIERS),
                "vgg16_largefov": (["head."], CLASSIFIERS),
                "vgg16_cam": (["head."], CLASSIFIERS),
                "vgg16_group": (["head."], CLASSIFIERS),
                "vgg16_cls": (PSA_LACKS, CLASSIFIERS),
                "vgg16_affinity": (PSA_LACKS, CLASSIFIERS),
            },
        ),
        (
            "ademxapp",
            "ilsvrc-cls_rna-a1_cls1000_ep-0001.params",
            "resnet38_cls",
            {"resnet38_cls": (["head."], EXTRAS["ademxapp"])},
        ),
        *(
            (
                "torchvision",
                f"{backbone}.pth",
                f"{backbone}_cls",
                {
                    f"{backbone}_{head}": (["head."], CLASSIFIERS)
                    for head in ("cls", "seg", "group")
                },
            )
            for backbone in ("squeezenet1_0", "mobilenet_v2")
        ),
    ],
)
def test_initial_weights(tmp_path, layout, file, source, networks):
    source = scrambled(source)
    write_checkpoint(tmp_path / file, layout, source)
    expected = published(layout, source)
    for name, (missing, unused) in networks.items():
        model = blank(name)
        assert_report(load_weights(model, tmp_path / file), model, missing, unused)
        again = published(layout, model)
        for key in expected.keys() - set(unused):
            assert torch.equal(again[key], expected[key]), (name, key)


@pytest.mark.parametrize(
    ("layout", "source", "name", "options", "line"),
    [
        ("vgg16_20M", "vgg16_largefov", "vgg16_group", {}, "are Caffe's, for images in blue"),
        ("torchvision", *RESNET, {}, "are torchvision's ResNet, for"),
        ("torchvision", *RESNET, {"preprocessing": "imagenet"}, "are torchvision's ResNet, for"),
        ("spsm_resnet101", *RESNET, TORCHVISION, "are Caffe's, for images in blue"),
    ],
)
def test_weights_for_images_of_other_values_are_refused(write, layout, source, name, options, line):
    with pytest.raises(UserError, match=line):
        load_weights(blank(name, **options), write(thinly_published(layout, source)))


@pytest.mark.parametrize(
    ("name", "options", "layout", "missing"),
    [
        ("resnet38_affinity", {}, "psa", []),
        ("resnet38_seg", {}, "segnet", []),
        ("resnet38_affinity", {}, "ademxapp", ["head."]),
        ("resnet38_seg", {}, "ademxapp", ["head."]),
        ("resnet101_deeplab", TORCHVISION, "torchvision", ["head."]),
    ],
)
def test_large_networks_by_names_alone(write, name, options, layout, missing):
    tensors = thinly_published(layout, name)
    model = blank(name, **options)
    unused = EXTRAS.get(layout, ())
    assert_report(load_weights(model, write(tensors)), model, missing, unused)
    again = published(layout, model)
    for key in tensors.keys() - set(unused):
        assert torch.equal(again[key], tensors[key]), key


def test_one_fc6_begins_four_branches(tmp_path):
    path = tmp_path / "vgg16_20M.caffemodel"
    source = scrambled("vgg16_largefov")
    write_checkpoint(path, "vgg16_20M", source)
    model = blank("vgg16_aspp")
    load_weights(model, path)
    for layer in ("fc6", "fc7"):
        for branch in getattr(model.head, layer):
            assert torch.equal(branch.weight, getattr(source.head, layer)[0].weight)
            assert torch.equal(branch.bias, getattr(source.head, layer)[0].bias)


# Names one by one.


@pytest.mark.parametrize(
    ("network", "published_name", "ours"),
    [
        ("vgg16_aspp", "conv1_1.weight", ["features.0.weight"]),
        ("vgg16_aspp", "conv3_3.bias", ["features.14.bias"]),
        ("vgg16_aspp", "conv5_3_bias", ["features.28.bias"]),
        ("vgg16_aspp", "fc7.w", [f"head.fc7.{branch}.weight" for branch in range(4)]),
        ("vgg16_aspp", "fc6_4.bias", ["head.fc6.3.bias"]),
        ("vgg16_aspp", "fc8-SEC_2.weight", ["head.fc8.1.weight"]),
        ("vgg16_aspp", "fc8_3_weights", ["head.fc8.2.weight"]),
        ("vgg16_aspp", "fc8_weights", []),
        ("vgg16_aspp", "fc8_voc12_1.weight", []),
        ("vgg16_largefov", "fc8_weights", ["head.fc8.0.weight"]),
        ("vgg16_largefov", "fc6_1_weights", []),
        ("vgg16_cam", "fc6_CAM.weight", ["head.fc6.weight"]),
        ("vgg16_cam", "scores.weight", ["head.fc8.weight"]),
        ("vgg16_cam", "fc8.weight", []),
        ("vgg16_cam", "fc7.weight", []),
        ("vgg16_cls", "fc7.weight", ["features.fc7.weight"]),
        ("vgg16_cls", "module.fc8.weight", ["head.fc8.weight"]),
        ("vgg16_affinity", "gn8_4.bias", ["head.gn8_4.bias"]),
        ("vgg16_group", "extra_convs.4.bias", ["head.extra.2.0.bias"]),
        ("vgg16_group", "extra_linear_e.weight", []),
        ("resnet101_deeplab", "layer3.22.bn3.running_var", ["features.layer3.22.bn3.running_var"]),
        ("resnet101_deeplab", "bn_conv1/gamma", ["features.bn1.weight"]),
        ("resnet101_deeplab", "res3b3_branch2c/weights", ["features.layer2.3.conv3.weight"]),
        ("resnet101_deeplab", "bn4b22_branch2a/beta", ["features.layer3.22.bn1.bias"]),
        ("resnet101_deeplab", "res5a_branch1/weights", ["features.layer4.0.downsample.0.weight"]),
        ("resnet101_deeplab", "bn5c_branch2b/moving_mean", ["features.layer4.2.bn2.running_mean"]),
        ("resnet101_deeplab", "fc1_voc12_c3/biases", ["head.classes.3.bias"]),
        ("resnet101_deeplab", "conv1/weights/Momentum", []),
        ("resnet38_cls", "arg:conv1a_weight", ["features.conv1a.weight"]),
        ("resnet38_cls", "arg:res4b5_branch2b1_weight", ["features.b4_5.conv_branch2b1.weight"]),
        ("resnet38_cls", "aux:bn6a_branch2b2_moving_var", ["features.b6.bn_branch2b2.running_var"]),
        ("resnet38_cls", "arg:bn7_gamma", ["features.bn7.weight"]),
        ("resnet38_cls", "arg:res7a_branch1_weight", ["features.b7.conv_branch1.weight"]),
        ("resnet38_affinity", "f9.weight", ["head.f9.weight"]),
        ("resnet38_seg", "fc8_seg_conv1.weight", ["head.0.weight"]),
        ("resnet38_seg", "module.fc8_seg_conv2.bias", ["head.2.bias"]),
        ("squeezenet1_0_cls", "classifier.1.weight", []),
    ],
)
def test_a_name(network, published_name, ours):
    names = on_meta(build, network, 21).state_dict()
    (prefix,) = find_prefixes(names, {published_name})
    assert list(find_sources(names, {published_name}, prefix)) == ours


def test_a_branchs_own_weights_come_before_those_to_copy(write):
    tensors = published("dsrg", scrambled("vgg16_aspp"))
    more = {"fc6.weight": torch.zeros(1024, 512, 3, 3), "module.conv1_1.bias": torch.zeros(64)}
    model = blank("vgg16_aspp")
    report = load_weights(model, write(tensors | more))
    assert set(report.unused) == set(more) and not report.missing
    assert torch.equal(model.head.fc6[2].weight, tensors["fc6_3.weight"])
    assert torch.equal(model.features[0].bias, tensors["conv1_1.bias"])


@pytest.mark.parametrize("published_name", ["conv1_1.w", "conv1_1_weights"])
def test_axes_of_tensorflow(published_name):
    names = on_meta(build, "vgg16_aspp", 21).state_dict()
    convert = find_sources(names, {published_name})["features.0.weight"].convert
    kernel = torch.arange(3.0 * 2 * 4 * 5).reshape(3, 2, 4, 5)  # height, width, in, out
    turned = convert(kernel)
    assert turned.shape == (5, 4, 3, 2)
    for row, column, channel, output in ((0, 0, 0, 0), (2, 0, 1, 4), (0, 1, 3, 2), (1, 1, 0, 3)):
        assert turned[output, channel, row, column] == kernel[row, column, channel, output]


def test_a_prefix_of_tensorflow_may_have_any_name(tmp_path):
    source = scrambled("vgg16_largefov", padding="tf")
    write_checkpoint(tmp_path / "model.vgg.index", "spsm_vgg16", source)
    model = blank("vgg16_largefov", padding="tf")
    assert not load_weights(model, tmp_path / "model.vgg").missing
    assert torch.equal(model.head.fc8[0].weight, source.head.fc8[0].weight)


# Wrong files: one line says which file, what and, if it is a shape, both. Nothing is placed.


def assert_not_loaded(model, path, words, **options):
    before = {name: values.clone() for name, values in model.state_dict().items()}
    with pytest.raises(UserError, match=words) as caught:
        load_weights(model, path, **options)
    assert_line(caught.value, path)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


@pytest.fixture(scope="module")
def aspp():
    return scrambled("vgg16_aspp", 5)


def test_wide_layers_of_the_original_vgg(aspp, write):
    tensors = thinly_published("vgg16_20M", "vgg16_largefov")
    wide = {"fc6.weight": torch.zeros(1).expand(4096, 25088)}
    words = r"fc6.weight has shape \(4096, 25088\).*head.fc6.0.weight \(1024, 512, 3, 3\)"
    assert_not_loaded(aspp, write(tensors | wide), words)


def test_wrong_shape_in_a_published_backbone(aspp, write):
    tensors = thinly_published("dsrg", "vgg16_aspp", 5)
    tensors["conv4_2.weight"] = torch.zeros(256, 512, 3, 3)
    words = r"conv4_2.weight has shape \(256, 512, 3, 3\).*features.19.weight \(512, 512, 3, 3\)"
    assert_not_loaded(aspp, write(tensors), words)


def test_wrong_class_count(aspp, write):
    path = write(thinly_published("dsrg", "vgg16_aspp", 21))
    words = r"fc8-SEC_1.weight has shape \(21, 1024, 1, 1\).*head.fc8.0.weight \(5, 1024, 1, 1\)"
    assert_not_loaded(aspp, path, words)


@pytest.mark.parametrize(
    ("name", "layout", "fc8"),
    [
        ("vgg16_aspp", "dsrg", "fc8-SEC"),
        ("vgg16_cam", "sec", "scores"),
        ("vgg16_largefov", "spsm_vgg16", "fc8_"),
        ("vgg16_cls", "psa", "fc8"),
        ("vgg16_group", "group_wsss", "extra_"),
        ("resnet101_deeplab", "spsm_resnet101", "fc1_voc12_c"),
        ("resnet38_seg", "segnet", "fc8_seg_conv"),
    ],
)
def test_a_head_for_other_classes_is_unused_where_a_new_one_is_wanted(write, name, layout, fc8):
    tensors = thinly_published(layout, name, 21)
    model = blank(name, 5)
    report = load_weights(model, write(tensors), new_head=True)
    assert report.missing and all(part.startswith(model.new_parts) for part in report.missing)
    unused = set(report.unused) - set(EXTRAS.get(layout, ()))
    assert unused and all(part.startswith(fc8) for part in unused)
    assert len(unused) == len(report.missing)


def test_a_smaller_network_of_the_kind(write):
    tensors = thinly_published("torchvision", "resnet101_deeplab")
    resnet50 = {
        name: values
        for name, values in tensors.items()
        if not name.startswith("layer3.") or int(name.split(".")[1]) < 6
    }
    model = scrambled("resnet101_deeplab", 5)
    words = r"lack features.layer3.6.conv1.weight .*\(tensors missing: 255\)"
    assert_not_loaded(model, write(resnet50), words)


def deepened(tensors, further):
    """A file's tensors with further blocks behind the last of some stages, and like these.

    `further`: a part of the names of a stage's last block, and those of the blocks that follow it.
    """
    names = list(tensors)
    for last, others in further.items():
        block = [name for name in names if last in name]
        end = names.index(block[-1]) + 1
        names[end:end] = [name.replace(last, other) for other in others for name in block]
    return {name: tensors.get(name, torch.zeros(1)) for name in names}


DEEPER = {
    "ResNet-152 of torchvision": (
        ("torchvision", *RESNET, TORCHVISION),
        {
            "layer2.3.": [f"layer2.{k}." for k in range(4, 8)],
            "layer3.22.": [f"layer3.{k}." for k in range(23, 36)],
        },
        r"this one has no layer2\.4\.conv1\.weight \(tensors too many: 255\)",
    ),
    "ResNet-152 of Caffe": (
        ("spsm_resnet101", *RESNET, {}),
        {"3b3_": [f"3b{k}_" for k in range(4, 8)], "4b22_": [f"4b{k}_" for k in range(23, 36)]},
        r"this one has no res3b4_branch2a/weights \(tensors too many: 255\)",
    ),
    "VGG-19 of its authors": (
        ("vgg16_20M", "vgg16_largefov", "vgg16_cam", {}),
        {f"conv{k}_3": [f"conv{k}_4"] for k in (3, 4, 5)},
        r"this one has no conv3_4\.weight \(tensors too many: 4\)",  # conv5_4 may be a head's
    ),
    "ResNet-38 of more blocks": (
        ("psa", "resnet38_cls", "resnet38_cls", {}),
        {"b4_5.": ["b4_6."]},
        r"this one has no b4_6\.bn_branch2a\.weight \(tensors too many: 10\)",
    ),
}


@pytest.mark.parametrize(
    ("kind", "prefix"), [*((kind, "") for kind in DEEPER), (next(iter(DEEPER)), "net.backbone.")]
)
def test_a_deeper_network_of_the_kind(write, kind, prefix):
    (layout, source, name, options), further, words = DEEPER[kind]
    tensors = deepened(thinly_published(layout, source), further)
    path = write({prefix + key: values for key, values in tensors.items()})
    assert_not_loaded(scrambled(name, 5, **options), path, words.replace("no ", f"no {prefix}"))


def test_what_is_no_block_of_the_backbone_may_have_its_names(write):
    """A head's convolutions after the backbone, another network beside it, and single layers."""
    tensors = thinly_published("torchvision", "resnet101_deeplab")
    model = blank("resnet101_deeplab", **TORCHVISION)
    head = {"conv2.weight": torch.zeros(1), "bn2.weight": torch.zeros(1)}
    others = {"layer5.0.conv1.weight": torch.zeros(1), "layer4.3.conv1.weight": torch.zeros(1)}
    beside = {f"other.{name}": torch.zeros(1) for name in ("layer3.23.conv1.weight", "conv7")}
    report = load_weights(model, write({**beside, **head, **tensors, **others}))
    extras = set(EXTRAS["torchvision"])
    assert set(report.unused) == {*head, *others, *beside, *extras}


def test_heads_of_vgg_in_caffe_may_continue_its_numbers(write):
    tensors = thinly_published("vgg16_20M", "vgg16_largefov")
    head = {f"conv{block}_{k}.weight": torch.zeros(1) for block in (6, 7) for k in (1, 2)}
    model = blank("vgg16_cam")
    report = load_weights(model, write({**tensors, **head, "fc8.weight": torch.zeros(1)}))
    assert set(report.unused) == {*FC67, *head, "fc8.weight"}


def test_a_backbone_without_an_end(aspp, write):
    tensors = thinly_published("dsrg", "vgg16_aspp", 5)
    del tensors["conv5_3.bias"]
    assert_not_loaded(aspp, write(tensors), r"lack features.28.bias .*\(tensors missing: 1\)")


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("psa", "resnet38_cls"),
        ("ademxapp", "resnet38_cls"),
        ("spsm_resnet101", "resnet101_deeplab"),
        ("torchvision", "resnet101_deeplab"),
    ],
)
def test_another_network(aspp, write, layout, name):
    path = write(thinly_published(layout, name))
    assert_not_loaded(aspp, path, "hold no tensor of this network's backbone")


def test_a_head_alone_is_no_fit(write):
    # PSA's heads on VGG and on ResNet-38 share names and some shapes.
    model = blank("vgg16_affinity", 20)
    heads = thinly_published("psa", "resnet38_affinity", 20)
    with pytest.raises(UserError, match="hold no tensor of this network's backbone"):
        load_weights(model, write(heads))


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("vgg16_20M", "a.caffemodel"),
        ("port_init", "a.npy"),
        ("port", "a.ckpt"),
        ("port", "a.index"),
        ("psa", "a.safetensors"),
        ("psa", "a.pth"),
    ],
)
def test_truncated_files(tmp_path, aspp, layout, file):
    path = tmp_path / file
    write_checkpoint(path, layout, scrambled("vgg16_group"))
    size = path.stat().st_size
    with path.open("r+b") as opened:
        opened.truncate(size - 1000)
    assert_not_loaded(aspp, path, "cut short|truncated")
