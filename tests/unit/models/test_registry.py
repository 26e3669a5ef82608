"""What the table says of a network without PyTorch is what the network does."""

import subprocess
import sys

import pytest
import torch

from seedbed.methods.psa.pairs import RADIUS
from seedbed.methods.psa.walk import CELL
from seedbed.models.builders import BUILDERS
from seedbed.models.registry import NETWORKS, build
from seedbed.runtime.errors import UserError

torch.set_num_threads(1)

VALUES = {
    "output_stride": 8,
    "dropout": 0.5,
    "width": 8,
    "rate": 2,
    "skip": False,
    "top_weight": 0.5,
    "top_fraction": 0.2,
    "group_size": 2,
    "graph_dropout_in_eval": True,
    "dropout_in_eval": True,
    "padding": "tf",
    "preprocessing": "imagenet",
    "stride_in_first": False,
    "norm_epsilon": 1e-3,
    "checkpointing": True,
}


def build_on_meta(name, **options):
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build(name, 3, **options)


def output(name, height, width):
    images = torch.zeros(2, 3, height, width, device="meta")
    if NETWORKS[name].kind == "group":
        images = images[:1].expand(1, 3, 3, height, width)
    return build_on_meta(name)(images)


@pytest.mark.parametrize("module", ("seedbed.models", "seedbed.models.registry"))
def test_importing_the_table_does_not_import_pytorch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_network_has_a_builder():
    assert list(NETWORKS) == list(BUILDERS)
    assert {option for info in NETWORKS.values() for option in info.options} == set(VALUES)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"vgg_seg.*tiny_cls.*mobilenet_v2_group"):
        build("vgg_seg", 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_accepts_its_options_and_no_others(name):
    build_on_meta(name, **{key: VALUES[key] for key in NETWORKS[name].options})
    for key in VALUES.keys() - set(NETWORKS[name].options):
        with pytest.raises(TypeError, match=key):
            build_on_meta(name, **{key: VALUES[key]})


@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].output_strides])
def test_a_network_has_its_output_strides_and_no_others(name):
    for stride in (2, 4, 8, 16, 32, 64):
        if stride in NETWORKS[name].output_strides:
            build_on_meta(name, output_stride=stride)
        else:
            with pytest.raises(ValueError, match="output_stride"):
                build_on_meta(name, output_stride=stride)


def test_output_strides_belong_to_the_option():
    for info in NETWORKS.values():
        assert bool(info.output_strides) == ("output_stride" in info.options)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_crop_is_enough(name):
    side = NETWORKS[name].min_crop
    outputs = output(name, side, side)
    assert all(part.numel() for part in outputs if isinstance(part, torch.Tensor))


@pytest.mark.parametrize("name", [n for n in NETWORKS if NETWORKS[n].kind == "affinity"])
def test_crops_of_affinity_networks_hold_whole_cells(name):
    info = NETWORKS[name]
    assert (info.min_crop, info.crop_multiple) == (CELL * (2 * RADIUS - 1), CELL)
    with pytest.raises(ValueError, match="no cell"):
        output(name, info.min_crop - CELL, info.min_crop - CELL)


@pytest.mark.parametrize("name", NETWORKS)
def test_kinds(name):
    """The kind says what a network returns for three classes."""
    kind, outputs = NETWORKS[name].kind, output(name, 72, 80)
    shapes = {
        "cls": lambda: outputs.shape == (2, 3),
        "seg": lambda: outputs.shape[:2] == (2, 3) and outputs.dim() == 4,
        "group": lambda: outputs.maps.shape[:3] == (1, 3, 3),
        "affinity": lambda: outputs.shape[:2] == (2, 34),
    }
    assert shapes[kind]()
