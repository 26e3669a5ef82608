"""What the settings say of networks, without torch, is what the networks say."""

import itertools

import pytest
import torch
from pydantic import ValidationError

from seedbed import models
from seedbed.runtime.errors import UserError
from stages.config import LEAST_CROP, NETWORKS, STRIDES, Settings
from stages.train_affinity import check_crop

torch.set_num_threads(1)

VALUES = {
    "output_stride": 8,
    "dropout": 0.5,
    "width": 8,
    "rate": 2,
    "skip": False,
    "graph_dropout_in_eval": True,
    "dropout_in_eval": True,
    "padding": "tf",
    "preprocessing": "imagenet",
    "stride_in_first": False,
    "norm_epsilon": 1e-3,
    "checkpointing": True,
}


def built(name, **options):
    """A network without memory for its weights."""
    with torch.device("meta"):
        return models.build(name, 3, **options)


def valid(**blocks):
    try:
        Settings.model_validate({"rounds": [{"supervise": "pseudo_labels"}], **blocks})
    except ValidationError:
        return False
    return True


def test_the_networks_are_those_that_can_be_built():
    assert set(NETWORKS) == set(models.NETWORKS)
    assert set(itertools.chain(*NETWORKS.values())) == set(VALUES)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_takes_its_options_and_no_others(name):
    built(name, **{key: VALUES[key] for key in NETWORKS[name]})
    for key in VALUES.keys() - set(NETWORKS[name]):
        with pytest.raises(TypeError, match=key):
            built(name, **{key: VALUES[key]})


@pytest.mark.parametrize("backbone", STRIDES)
def test_a_backbone_has_its_strides_and_no_others(backbone):
    for stride in (4, 8, 16, 32):
        chosen = {"network": f"{backbone}_cls", "options": {"output_stride": stride}}
        assert valid(classifier=chosen) == (stride in STRIDES[backbone])
        if stride in STRIDES[backbone]:
            built(chosen["network"], output_stride=stride)
        else:
            with pytest.raises(ValueError, match="output_stride"):
                built(chosen["network"], output_stride=stride)


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.endswith("_affinity")])
def test_every_network_sees_the_least_crop(name):
    images = torch.zeros(2, 3, LEAST_CROP, LEAST_CROP, device="meta")
    if name.endswith("_group"):
        images = torch.stack([images[:1]] * 3, dim=1)
    scores = built(name)(images)
    assert all(part.numel() for part in scores if isinstance(part, torch.Tensor))


@pytest.mark.parametrize("crop", [32, 64, 71, 72, 76, 80, 448, 450])
def test_the_settings_know_which_crops_hold_whole_cells(crop):
    try:
        check_crop(crop)
    except UserError:
        assert not valid(affinity={"crop": crop})
    else:
        assert valid(affinity={"crop": crop})


def test_a_smaller_crop_is_refused_in_every_training():
    for block in ("classifier", "group", "training"):
        assert valid(**{block: {"crop": LEAST_CROP}})
        assert not valid(**{block: {"crop": LEAST_CROP - 1}})
