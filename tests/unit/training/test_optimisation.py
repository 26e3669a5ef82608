"""Optimisers, learning rates and schedules against values by hand."""

import pytest
import torch
from torch import nn

from seedbed.training.optimisation import (
    Constant,
    MultiStep,
    OneCycle,
    Poly,
    Step,
    base_rate,
    make_optimizer,
    make_schedule,
    parameter_groups,
)
from tests.support.training_helpers import Toy, adamw, optimisation, sgd

torch.set_num_threads(1)


def test_parameter_groups_take_the_four_multipliers():
    model = Toy()
    model.body[1].bias.requires_grad = False
    options = {"learning_rate": 0.1, "optimizer": adamw(weight_decay=0.01)}
    multipliers = (1.0, 2.0, 10.0, 20.0)
    groups = parameter_groups(model, optimisation(multipliers=multipliers, **options))
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.2, 1.0, 2.0])
    assert [group["weight_decay"] for group in groups] == [0.01, 0, 0.01, 0]
    members = [{id(p) for p in group["params"]} for group in groups]
    linear, norm, head = model.body[0], model.body[1], model.head
    assert members == [
        {id(linear.weight)},
        {id(linear.bias), id(norm.weight)},
        {id(head.weight)},
        {id(head.bias)},
    ]
    decayed = parameter_groups(
        model, optimisation(optimizer=adamw(weight_decay=0.01, decay_biases=True))
    )
    assert [group["weight_decay"] for group in decayed] == [0.01] * 4


class Normed(nn.Module):
    """With a norm of each kind, all in the pretrained part."""

    new_parts = ("head.",)

    def __init__(self):
        super().__init__()
        self.group, self.batch = nn.GroupNorm(2, 4), nn.BatchNorm2d(4)
        self.layer, self.head = nn.LayerNorm(4), nn.GroupNorm(1, 4)


def test_scales_of_group_norms_are_weights_and_those_of_other_norms_biases():
    model = Normed()
    options = {"learning_rate": 0.1, "optimizer": adamw(weight_decay=0.01)}
    groups = parameter_groups(model, optimisation(multipliers=(1, 2, 10, 20), **options))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [
        (group["lr"], group["weight_decay"], [names[id(p)] for p in group["params"]])
        for group in groups
    ] == [
        (0.1, 0.01, ["group.weight"]),
        (0.2, 0, ["group.bias", "batch.weight", "batch.bias", "layer.weight", "layer.bias"]),
        (1.0, 0.01, ["head.weight"]),
        (2.0, 0, ["head.bias"]),
    ]


def test_groups_without_parameters_are_left_out():
    model = Toy()
    model.new_parts = ("body.", "head.")
    groups = parameter_groups(model, optimisation(multipliers=(1, 2, 3, 4)))
    assert [group["lr"] for group in groups] == pytest.approx([3e-3, 4e-3])


def test_optimizers():
    optimizer = make_optimizer(Toy(), optimisation(optimizer=sgd(momentum=0.7, nesterov=True)))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.7 and optimizer.defaults["nesterov"]
    assert isinstance(make_optimizer(Toy(), optimisation()), torch.optim.AdamW)


def learning_rates(iterations, schedule):
    """The rate in every iteration, and the one after the last."""
    settings = optimisation(iterations, learning_rate=0.5, optimizer=sgd(), schedule=schedule)
    optimizer = make_optimizer(Toy(), settings)
    scheduler = make_schedule(optimizer, settings)
    rates = []
    for _ in range(iterations):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*rates, scheduler.get_last_lr()[0]]


def test_schedules_by_hand():
    assert learning_rates(3, Constant()) == [0.5] * 4
    poly = learning_rates(4, Poly(power=2.0))
    assert poly == pytest.approx([0.5, 0.5 * 9 / 16, 0.125, 0.5 / 16, 0])
    steps = learning_rates(5, Step(every=2, factor=0.1))
    assert steps == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])
    milestones = learning_rates(6, MultiStep(milestones=(1, 4), factor=0.1))
    assert milestones == pytest.approx([0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005])
    assert learning_rates(2, MultiStep(milestones=(), factor=0.1)) == [0.5] * 3


def test_one_cycle_rises_for_a_fifth_and_ends_near_nothing():
    rates = learning_rates(49, OneCycle())
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates[9] == max(rates) == pytest.approx(0.5)
    assert rates[49] == pytest.approx(0.5 / 25 / 1e4)
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.parametrize("iterations", range(1, 12))
def test_one_cycle_of_few_iterations(iterations):
    assert all(0 < rate <= 0.5 for rate in learning_rates(iterations, OneCycle()))


@pytest.mark.parametrize(
    ("multipliers", "expected"),
    [((1, 2, 10, 20), [5e-4, 5e-5]), ((0, 0, 10, 20), [5e-4, 5e-5]), ((0, 0, 0, 0), [0, 0])],
)
def test_the_base_rate_is_the_one_before_the_multipliers(multipliers, expected):
    schedule = Step(every=1, factor=0.1)
    settings = optimisation(2, learning_rate=5e-4, multipliers=multipliers, schedule=schedule)
    optimizer = make_optimizer(Toy(), settings)
    scheduler = make_schedule(optimizer, settings)
    rates = [base_rate(optimizer)]
    optimizer.step()
    scheduler.step()
    assert [*rates, base_rate(optimizer)] == pytest.approx(expected)


def test_multipliers_last_through_the_schedule():
    settings = optimisation(10, multipliers=(1, 2, 10, 20), schedule=OneCycle())
    optimizer = make_optimizer(Toy(), settings)
    schedule = make_schedule(optimizer, settings)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    rate = schedule.get_last_lr()
    assert [one / rate[0] for one in rate] == pytest.approx([1, 2, 10, 20])
