"""For tests: a network's tensors under the names and on the axes of its publications.

They are listed here once more, as the publications define their networks, so that a mistake in
`seedbed.weights` shows.
"""

import torch

VGG16_BLOCKS = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}
VGG16 = {
    f"conv{block}_{number}": f"features.{place}"
    for block, places in VGG16_BLOCKS.items()
    for number, place in enumerate(places, start=1)
}
AFFINITY = {name: f"head.{name}" for name in ("f8_3", "f8_4", "f8_5", "f9")}
AFFINITY |= {name: f"head.{name}" for name in ("gn8_3", "gn8_4", "gn8_5")}
GROUP = {
    "extra_convs.0": "head.extra.0.0",
    "extra_convs.2": "head.extra.1.0",
    "extra_convs.4": "head.extra.2.0",
    "extra_convs.6": "head.extra.3",
    "extra_proja": "head.graph.receiver",
    "extra_projb": "head.graph.sender",
    "extra_gate": "head.graph.gate",
    "extra_conv_fusion": "head.graph.fuse",
    "extra_ConvGRU.reset_gate": "head.graph.gru.reset",
    "extra_ConvGRU.update_gate": "head.graph.gru.update",
    "extra_ConvGRU.out_gate": "head.graph.gru.candidate",
}


def branches(**ours_by_theirs):
    return {
        f"{theirs}_{number}": f"head.{ours}.{number - 1}"
        for theirs, ours in ours_by_theirs.items()
        for number in (1, 2, 3, 4)
    }


def vgg16_20m(state):
    """Of four branches the first is written."""
    fully = "features.{}" if "features.fc6.weight" in state else "head.{}.0"
    return VGG16 | {layer: fully.format(layer) for layer in ("fc6", "fc7")}


def resnet101_kaffe():
    layers = {"conv1": "features.conv1", "bn_conv1": "features.bn1"}
    lengths = {2: "abc", 3: ["a", "b1", "b2", "b3"], 4: ["a", *(f"b{i}" for i in range(1, 23))]}
    for stage, letters in (lengths | {5: "abc"}).items():
        for index, letter in enumerate(letters):
            block = f"features.layer{stage - 1}.{index}"
            layers[f"res{stage}{letter}_branch1"] = f"{block}.downsample.0"
            layers[f"bn{stage}{letter}_branch1"] = f"{block}.downsample.1"
            for number in (1, 2, 3):
                branch = f"{stage}{letter}_branch2{'abc'[number - 1]}"
                layers[f"res{branch}"] = f"{block}.conv{number}"
                layers[f"bn{branch}"] = f"{block}.bn{number}"
    return layers | {f"fc1_voc12_c{place}": f"head.classes.{place}" for place in range(4)}


def resnet38_ademxapp():
    # How often a block follows the first of its stage; ours number only those.
    following = {2: 2, 3: 2, 4: 5, 5: 2, 6: 0, 7: 0}
    blocks = {f"{stage}a": f"b{stage}" for stage in following}
    for stage, count in following.items():
        blocks |= {f"{stage}b{number}": f"b{stage}_{number}" for number in range(1, count + 1)}
    layers = {"conv1a": "features.conv1a", "bn7": "features.bn7"}
    for block, name in blocks.items():
        for branch in ("branch1", "branch2a", "branch2b1", "branch2b2"):
            layers[f"res{block}_{branch}"] = f"features.{name}.conv_{branch}"
            layers[f"bn{block}_{branch}"] = f"features.{name}.bn_{branch}"
    return layers


def without_prefix(state, prefix="features."):
    ours = [name.rpartition(".")[0] for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): name for name in ours}


def torchvision(state):
    """VGG, SqueezeNet and MobileNet have `features` of their own, a ResNet has not."""
    if "features.layer1.0.conv1.weight" in state:
        return without_prefix(state)
    return {name: name for name in without_prefix(state).values() if "fc" not in name}


def psa(state):
    backbone = VGG16 | {"fc6": "features.fc6", "fc7": "features.fc7"}
    if "features.conv1a.weight" in state:
        backbone = without_prefix(state)
    return backbone | AFFINITY | {"fc8": "head.fc8"}


# By layout: our layers by the published ones, of which a network may lack some.
LAYERS = {
    "vgg16_20M": vgg16_20m,
    "dsrg": lambda _: VGG16 | branches(**{"fc6": "fc6", "fc7": "fc7", "fc8-SEC": "fc8"}),
    "sec": lambda _: VGG16 | {"fc6_CAM": "head.fc6", "fc7_CAM": "head.fc7", "scores": "head.fc8"},
    "port": lambda _: VGG16 | branches(fc6="fc6", fc7="fc7", fc8="fc8"),
    "port_init": lambda _: VGG16 | branches(fc6="fc6", fc7="fc7"),
    "spsm_vgg16": lambda _: VGG16 | {f"fc{n}": f"head.fc{n}.0" for n in (6, 7, 8)},
    "spsm_resnet101": lambda _: resnet101_kaffe(),
    "ademxapp": lambda _: resnet38_ademxapp(),
    "torchvision": torchvision,
    "psa": psa,
    "segnet": lambda state: (
        without_prefix(state) | {"fc8_seg_conv1": "head.0", "fc8_seg_conv2": "head.2"}
    ),
    "group_wsss": lambda _: {name: name for name in VGG16.values()} | GROUP,
}

# What a file holds besides, if not written already; shapes matter only where networks look.
EXTRAS = {
    "vgg16_20M": {
        "fc6.weight": (1024, 512, 3, 3),
        "fc6.bias": (1024,),
        "fc7.weight": (1024, 1024, 1, 1),
        "fc7.bias": (1024,),
    },
    "port": {"conv1_1_weights/Momentum": (3, 3, 3, 64), "placeholder/Variable": ()},
    "spsm_vgg16": {"fc8_bias/Momentum": (21,), "Variable": ()},
    "spsm_resnet101": {"conv1/weights/Momentum": (7, 7, 3, 64), "global_step": ()},
    "ademxapp": {"arg:linear1000_weight": (1000, 4), "arg:linear1000_bias": (1000,)},
    "torchvision": {"classifier.6.weight": (1000, 4), "fc.weight": (1000, 4)},
    "group_wsss": {"extra_linear_e.weight": (20, 20)},
}

# Spellings of weight, bias, running mean and variance; a batch norm has its own weight and bias.
PARAMETERS = ("weight", "bias", "running_mean", "running_var")
DOTS = [f".{name}" for name in PARAMETERS]
SPELLINGS = {
    "port": ["_weights", "_bias"],
    "port_init": [".w", ".b"],
    "spsm_vgg16": ["_weights", "_bias"],
    "spsm_resnet101": ["/weights", "/biases"],
    "ademxapp": ["_weight", "_bias"],
}
NORM_SPELLINGS = {
    "spsm_resnet101": ["/gamma", "/beta", "/moving_mean", "/moving_variance"],
    "ademxapp": ["_gamma", "_beta", "_moving_mean", "_moving_var"],
}
HEIGHT_FIRST = ("port", "port_init", "spsm_vgg16", "spsm_resnet101")


def published(layout, model):
    """The tensors that a file of `layout` holds, by name, on the published axes."""
    state = model.state_dict()
    tensors = {}
    for theirs, ours in LAYERS[layout](state).items():
        is_norm = f"{ours}.running_mean" in state
        spellings = (NORM_SPELLINGS if is_norm else SPELLINGS).get(layout, DOTS)
        for parameter, spelling in zip(PARAMETERS, spellings, strict=False):
            name = f"{ours}.{parameter}"
            if name in state:
                published_name = f"{_prefix(layout, parameter)}{theirs}{spelling}"
                tensors[published_name] = _turned(state[name], layout, theirs)
    for name, shape in EXTRAS.get(layout, {}).items():
        tensors.setdefault(name, torch.ones(shape))
    return tensors


def _prefix(layout, parameter):
    if layout != "ademxapp":
        return ""
    return "aux:" if parameter.startswith("running") else "arg:"


def _turned(values, layout, layer):
    if layout in HEIGHT_FIRST and values.dim() == 4:
        return values.permute(2, 3, 1, 0).contiguous()
    return values[..., 0, 0] if layer == "scores" else values
