"""The settings refuse what a network does not accept."""

import pytest
from pydantic import ValidationError

from seedbed.methods.psa.pairs import RADIUS
from seedbed.methods.psa.walk import CELL
from seedbed.models.registry import NETWORKS
from stages.settings import AffinitySettings, ClassifierSettings, GroupSettings, TrainingSettings

MODELS = {
    "cls": ClassifierSettings,
    "seg": TrainingSettings,
    "group": GroupSettings,
    "affinity": AffinitySettings,
}
BRIEF = {"iterations": 1, "batch": 1, "learning_rate": 0.1, "crop": 128}


def valid(network, **keys):
    try:
        MODELS[NETWORKS[network].kind](network=network, **{**BRIEF, **keys})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_accepts_the_networks_of_its_kind_alone(name):
    for kind, model in MODELS.items():
        if kind == NETWORKS[name].kind:
            assert model(network=name, **BRIEF).network == name
        else:
            with pytest.raises(ValidationError, match=f"network: {name} is not one of"):
                model(network=name, **BRIEF)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_accepts_its_own_options_alone(name):
    values = {"dropout": 0.5, "width": 8, "checkpointing": True, "dropout_in_eval": True}
    for key, value in values.items():
        assert valid(name, options={key: value}) == (key in NETWORKS[name].options)


@pytest.mark.parametrize("name", [n for n in NETWORKS if NETWORKS[n].output_strides])
def test_a_network_accepts_its_own_strides_alone(name):
    for stride in (4, 8, 16, 32):
        expected = stride in NETWORKS[name].output_strides
        assert valid(name, options={"output_stride": stride}) == expected
        assert valid(name, options={"output_stride": str(stride)}) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_a_smaller_crop_than_the_network_needs_is_refused(name):
    least = NETWORKS[name].min_crop
    assert valid(name, crop=least) and not valid(name, crop=least - 1)


def test_affinity_networks_need_whole_cells_and_all_partners_of_one():
    for crop in (64, 71, 72, 76, 80, 448, 450):
        fits = crop % CELL == 0 and crop >= CELL * (2 * RADIUS - 1)
        assert valid("resnet38_affinity", crop=crop) == fits
