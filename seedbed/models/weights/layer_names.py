"""The names that published checkpoints give to the layers of our networks.

Sources: the network definitions of DSRG and its TensorFlow port, SEC, PSA (which also reads
ademxapp's names), ResNet38-Semantic-Segmentation, Group-WSSS, SPSM's author and torchvision.
"""

from collections.abc import Collection

from seedbed.models.backbones import resnet, resnet38
from seedbed.models.backbones.vgg import BLOCKS

LayerNames = dict[str, tuple[str, ...]]  # our name → published names, the preferred one first


def _vgg16() -> LayerNames:
    """Caffe's names; each convolution is followed by a ReLU, each block by a pool."""
    names, index = {}, 0
    for block, channels in enumerate(BLOCKS, start=1):
        for number in range(1, len(channels) + 1):
            names[f"features.{index}"] = (f"conv{block}_{number}",)
            index += 2
        index += 1
    return names


def _aspp() -> LayerNames:
    """Four branches; in DeepLab's initial weights, which have one branch, all start from it."""
    names: LayerNames = {}
    for place in range(4):
        number = place + 1
        names[f"head.fc6.{place}"] = (f"fc6_{number}", "fc6")
        names[f"head.fc7.{place}"] = (f"fc7_{number}", "fc7")
        names[f"head.fc8.{place}"] = (f"fc8-SEC_{number}", f"fc8_{number}")
    return names


def _resnet101() -> LayerNames:
    """Torchvision's names, and those of Caffe's release, which its TensorFlow converter keeps."""
    names: LayerNames = {"features.conv1": ("conv1",), "features.bn1": ("bn1", "bn_conv1")}
    for stage, (blocks, *_) in enumerate(resnet.STAGES, start=1):
        for index in range(blocks):
            ours = f"layer{stage}.{index}"
            theirs = f"{stage + 1}{_letter(index, blocks)}_branch"
            layers = {"downsample.0": f"res{theirs}1", "downsample.1": f"bn{theirs}1"}
            for number, letter in enumerate("abc", start=1):
                layers[f"conv{number}"] = f"res{theirs}2{letter}"
                layers[f"bn{number}"] = f"bn{theirs}2{letter}"
            for layer, name in layers.items():
                names[f"features.{ours}.{layer}"] = (f"{ours}.{layer}", name)
    return names | {f"head.classes.{place}": (f"fc1_voc12_c{place}",) for place in range(4)}


def _letter(index: int, blocks: int) -> str:
    """A block's name in its stage: a, b, c if there are three blocks, else a, b1, b2 and so on."""
    if blocks == 3:
        return "abc"[index]
    return f"b{index}" if index else "a"


def _resnet38() -> LayerNames:
    """PSA's names of the backbone's layers, and ademxapp's."""
    names: LayerNames = {"features.conv1a": ("conv1a",), "features.bn7": ("bn7",)}
    stages = {stage: blocks for stage, blocks, *_ in resnet38.STAGES} | {"b6": 1, "b7": 1}
    for stage, blocks in stages.items():
        for index in range(blocks):
            ours = f"{stage}_{index}" if index else stage
            theirs = f"{stage[1]}b{index}" if index else f"{stage[1]}a"
            for branch in ("branch1", "branch2a", "branch2b1", "branch2b2"):
                for kind, prefix in (("conv", "res"), ("bn", "bn")):
                    layer = f"{ours}.{kind}_{branch}"
                    names[f"features.{layer}"] = (layer, f"{prefix}{theirs}_{branch}")
    return names


PSA_HEADS: LayerNames = {
    f"head.{layer}": (layer,)
    for layer in ("fc8", "f8_3", "f8_4", "f8_5", "gn8_3", "gn8_4", "gn8_5", "f9")
}
# Layers of DeepLab's VGG-16 that ImageNet's VGG-16 does not have.
PSA_VGG16: LayerNames = {"features.fc6": ("fc6",), "features.fc7": ("fc7",)}
SEC: LayerNames = {"head.fc6": ("fc6_CAM",), "head.fc7": ("fc7_CAM",), "head.fc8": ("scores",)}
GROUP: LayerNames = {
    **{f"head.extra.{place}.0": (f"extra_convs.{2 * place}",) for place in range(3)},
    "head.extra.3": ("extra_convs.6",),
    "head.graph.receiver": ("extra_proja",),
    "head.graph.sender": ("extra_projb",),
    "head.graph.gate": ("extra_gate",),
    "head.graph.fuse": ("extra_conv_fusion",),
    "head.graph.gru.update": ("extra_ConvGRU.update_gate",),
    "head.graph.gru.reset": ("extra_ConvGRU.reset_gate",),
    "head.graph.gru.candidate": ("extra_ConvGRU.out_gate",),
}
SEGMENTATION: LayerNames = {"head.0": ("fc8_seg_conv1",), "head.2": ("fc8_seg_conv2",)}

# Each table belongs to the networks that have the layer of this name. Networks with four branches
# have a first branch too: later tables replace the names of earlier ones.
NAMES_BY_MARK: dict[str, LayerNames] = {
    "features.28": _vgg16(),
    "features.fc6": PSA_VGG16 | PSA_HEADS,
    "head.fc6": SEC,
    "head.fc6.0": {f"head.{layer}.0": (layer,) for layer in ("fc6", "fc7", "fc8")},
    "head.fc6.3": _aspp(),
    "head.graph.gate": GROUP,
    "features.conv1a": _resnet38() | PSA_HEADS | SEGMENTATION,
    "features.layer4.2.conv3": _resnet101(),
}

TIMM = "features.timm."  # what stands before timm's own names, which its files have


def published_layers(ours: Collection[str]) -> LayerNames:
    """The published names of the layers of a network, given all its layers' names."""
    names: LayerNames = {}
    for mark, table in NAMES_BY_MARK.items():
        if mark in ours:
            names |= table
    timm = (name for name in ours if f"{name}.".startswith(TIMM))
    return names | {name: (f"{name}."[len(TIMM) : -1],) for name in timm}
