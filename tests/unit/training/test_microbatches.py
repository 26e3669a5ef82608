"""Micro-batches: the same bytes by any number of threads and processes."""

import copy

import pytest
import torch
from torch import nn

from seedbed.inference import precision
from seedbed.models import build
from seedbed.models.backbones.resnet38 import Bottleneck
from seedbed.models.dropout import ChannelDropout, Dropout, drawing_from
from seedbed.models.layers import FrozenBatchNorm
from seedbed.runtime.errors import warn_once
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.gradients import Gradients
from seedbed.training.loop import train
from seedbed.training.microbatches import MicroBatchGradients, MicroBatchResult, add_pairwise
from seedbed.training.optimisation import make_optimizer, parameter_groups
from seedbed.training.processes import SINGLE_PROCESS
from tests.support.training_helpers import Collector, adamw, optimisation, sgd

CPU = torch.device("cpu")
STEPS = 6


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """With all that parts could share by mistake: statistics and both kinds of dropout."""

    new_parts = ()

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            ChannelDropout(0.3),
            nn.Conv2d(8, 8, 3),
            FrozenBatchNorm(8),
            Dropout(0.4),
            nn.Flatten(),
            nn.Linear(8 * 36, 1),
        )
        self.unused = nn.Linear(2, 2)

    def forward(self, images):
        return self.layers(images)[:, 0]


class Squares(Collector):
    """Squared error; collects the positions of the images."""

    def __call__(self, model, batch, step):
        self.pending += batch.index.tolist()
        return {"loss": (model(batch.images) - batch.images.mean((1, 2, 3))).square().mean()}


@pytest.fixture
def run(make_batch, tmp_path):
    """Trains, and gives everything that a training leaves, as bytes."""

    def run(threads, *, group=SINGLE_PROCESS, **options):
        def batches(start):
            for step in range(start, STEPS):
                images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(step))
                (places,) = group.shard(iter([list(range(8))]))
                yield make_batch(images[places], index=places)

        torch.manual_seed(0)
        network, objective = Net(), Squares()
        options = {"learning_rate": 0.01, "optimizer": adamw(0.01), **options}
        rows = train(
            network,
            objective,
            batches,
            optimisation(STEPS, **options),
            device=CPU,
            checkpoint=Checkpoint(tmp_path / f"w{group.rank}", "d"),
            seed=5,
            threads=threads,
            processes=group,
        )
        state = {key: value.numpy().tobytes() for key, value in network.state_dict().items()}
        return state, rows, objective.kept

    return run


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_threads_change_nothing(run, parts):
    alone = run(1, accumulation=parts)
    assert alone[2] == [list(range(8))] * STEPS
    assert run(2, accumulation=parts) == alone
    assert run(parts, accumulation=parts) == alone


@pytest.mark.parametrize("parts", [2, 4])
def test_two_processes_give_the_bytes_of_one(in_group, run, parts):
    alone = run(1, accumulation=parts)
    for found in in_group(lambda group: run(1, group=group, accumulation=parts)):
        assert found == alone


def test_statistics_count_iterations_not_parts(run):
    state, *_ = run(2, accumulation=2)
    assert int.from_bytes(state["layers.1.num_batches_tracked"], "little") == STEPS
    assert int.from_bytes(state["layers.5.num_batches_tracked"], "little") == 0


class Drops(nn.Module):
    """Dropout alone, of a weight a feature."""

    def __init__(self):
        super().__init__()
        self.scale, self.dropout = nn.Parameter(torch.ones(64)), Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.scale.expand(len(images), 64))


class Draws(Collector):
    """Collects what dropout leaves of a part's first image."""

    def __call__(self, model, batch, step):
        left = model(batch.images)
        self.pending.append(tuple(left[0].tolist()))
        return {"loss": left.sum()}


@pytest.mark.parametrize("threads", [1, 2])
def test_draws_differ_by_seed_iteration_and_micro_batch(make_batch, threads):
    """Else all micro-batches, or all iterations, would drop the same features."""
    parts = make_batch(torch.zeros(4, 3, 2, 2)).split(2)

    def draws(seed, step, first=0):
        options = {"precision": "float32", "threads": threads, "device": CPU, "seed": seed}
        compute = MicroBatchGradients(Drops().train(), Draws(), count=2, **options)
        return [draw for result in compute(parts, step, first) for draw in result.collected]

    assert draws(0, 0) == draws(0, 0)
    assert len({*draws(0, 0), *draws(0, 0, first=2), *draws(0, 1), *draws(1, 0)}) == 8


def test_the_seed_of_a_generator_decides_the_draws():
    layer, draws = Dropout(0.5).train(), []
    for seed in (1, 1, 2):
        with drawing_from(torch.Generator().manual_seed(seed)):
            draws.append(layer(torch.ones(64)))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Dropout(0.3), nn.Dropout(0.3)), (ChannelDropout(0.3), nn.Dropout2d(0.3))]
)
def test_dropout_draws_as_pytorch_s_from_either_generator(ours, theirs):
    features = torch.randn(4, 6, 5, 5).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(3)
    expected = theirs(features)
    torch.manual_seed(3)
    assert torch.equal(ours(features), expected)
    with drawing_from(torch.Generator().manual_seed(3)):
        assert torch.equal(ours(features), expected)
    assert 0 < (expected == 0).float().mean() < 0.6
    with drawing_from(torch.Generator()):
        assert ours.eval()(features) is features or torch.equal(ours(features), features)


def test_checkpointing_repeats_the_draws_of_the_thread_s_generator():
    images = torch.randn(2, 16, 4, 4)

    def gradients(checkpointing):
        torch.manual_seed(0)
        block = Bottleneck(16, 16, dilation=1, dropout=0.5, checkpointing=checkpointing).train()
        with drawing_from(torch.Generator().manual_seed(1)):
            (block(images).square().sum() + block(images).sum()).backward()
        return [p.grad for p in block.parameters() if p.grad is not None]

    for kept, computed_again in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(kept, computed_again) and kept.abs().sum() > 0


def test_sums_are_pairwise():
    class Item(str):
        __slots__ = ()

        def __add__(self, other):
            return Item(f"({self}{other})")

    results = [MicroBatchResult({"loss": Item(k)}, [], [], [k]) for k in "abcdefg"]
    total = add_pairwise(results)
    assert total.values["loss"] == "(((ab)(cd))((ef)g))" and total.collected == list("abcdefg")
    assert add_pairwise(results[:1]) == results[0]


def test_bfloat16_changes_the_operations_and_not_the_weights(run):
    exact, rough = run(1, accumulation=2), run(1, accumulation=2, precision="bfloat16")
    assert exact[0] != rough[0] and exact[0].keys() == rough[0].keys()
    assert all(len(exact[0][key]) == len(rough[0][key]) for key in exact[0])
    assert rough[1][-1]["loss"] == pytest.approx(exact[1][-1]["loss"], rel=0.1)
    assert run(2, accumulation=2, precision="bfloat16") == rough


def test_a_machine_without_bfloat16_says_so(monkeypatch, capsys):
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    warn_once.cache_clear()
    said_without = "warning: precision: bfloat16: this CPU computes it without"
    for has, said in ((True, ""), (False, said_without)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        precision.warn_slow_bfloat16(CPU, "bfloat16")
        assert capsys.readouterr().err.startswith(said) and (said or has)
    precision.warn_slow_bfloat16(CPU, "float32")
    assert capsys.readouterr().err == ""
    with precision.autocast(CPU, "float32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with precision.autocast(CPU, "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["tiny_cls", "tiny_seg", "mobilenet_v2_cls", "mobilenet_v2_seg"])
def test_networks_compute_in_bfloat16(name):
    torch.manual_seed(0)
    model = build(name, 3).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        exact = model(model.preprocess(images))
        with precision.autocast(CPU, "bfloat16"):
            rough = model(model.preprocess(images)).float()
    assert 0 < (rough - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize("name", ["tiny_seg", "tiny_cls", "mobilenet_v2_cls"])
@pytest.mark.parametrize("kind", [adamw(0.01), sgd()])
def test_an_update_is_the_one_of_the_optimiser_s_definition(name, kind, make_batch):
    """Of a real network, whose features are channels_last, by gradients of backward()."""
    torch.manual_seed(0)
    network = build(name, 3).train()
    literal = copy.deepcopy(network)
    options = optimisation(1, optimizer=kind, batch=4, accumulation=2, learning_rate=0.1)
    batch = make_batch(255 * torch.rand(4, 3, 64, 64))

    class Loss(Collector):
        def __call__(self, model, batch, step):
            return {"loss": model(model.preprocess(batch.images)).sigmoid().square().mean()}

    gradients = Gradients(
        network, Loss(), options, CPU, seed=0, threads=2, processes=SINGLE_PROCESS
    )
    gradients(batch, 0)
    make_optimizer(network, options).step()
    for images in batch.images.chunk(2):
        (literal(literal.preprocess(images)).sigmoid().square().mean() / 2).backward()
    groups = parameter_groups(literal, options)
    by_name = dict(literal.named_parameters())
    for key, parameter in network.named_parameters():
        if by_name[key].grad is not None:
            assert parameter.grad.stride() == parameter.stride(), key
            torch.testing.assert_close(parameter.grad, by_name[key].grad, rtol=1e-3, atol=1e-6)
    for group in groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if kind == sgd():
                parameter.data -= group["lr"] * parameter.grad
            else:  # the first step of Adam is the sign of the gradient
                parameter.data *= 1 - group["lr"] * group["weight_decay"]
                step = parameter.grad / (parameter.grad.abs() + 1e-8)
                parameter.data -= group["lr"] * step
    for key, parameter in network.named_parameters():
        difference = (parameter - by_name[key]).abs()
        assert float((difference > 1e-3).float().mean()) < 0.01, key
