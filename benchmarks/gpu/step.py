"""The step of DSRG: what each part takes, that nothing waits, and what a CUDA graph would save."""

import torch
from torch import Tensor

from benchmarks.gpu.rows import Outcome, Row, Setup
from benchmarks.gpu.trainings import DSRG, Training, make
from seedbed.methods.dsrg.growing import grow_seeds
from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss
from seedbed.training.determinism import set_deterministic

SHARE = 0.15


class Parts:
    """The parts of a step after the network, each as a call on the same probabilities."""

    def __init__(self, training: Training) -> None:
        self.objective, self.batch = training.objective, training.batch
        shape = self.batch.targets.shape
        generator = torch.Generator().manual_seed(0)
        logits = 4 * torch.randn(shape, generator=generator)
        self.probs = logits.to(self.batch.images.device).softmax(1)
        self.refined = self.crf()
        self.grown = self.growing()

    def crf(self) -> Tensor:
        """The dense CRF with the reduction of the images."""
        return self.objective._refine(self.batch.images, -self.probs)

    def growing(self) -> Tensor:
        """Growing on the CRF's posterior."""
        return grow_seeds(
            self.batch.targets, self.refined, self.batch.tags, **self.objective.growing
        )

    def losses(self) -> Tensor:
        """Both losses and their gradient."""
        probs = self.probs.detach().requires_grad_()
        loss = balanced_seed_loss(probs, self.grown)
        loss = loss + constraint_loss(probs, self.refined, **self.objective.constraint)
        return torch.autograd.grad(loss, probs)[0]


def shares(setup: Setup) -> Outcome:
    """Milliseconds of the step, of the network alone and of the other parts."""
    set_deterministic(False)
    training = make(DSRG, setup)
    parts = Parts(training)
    calls = {
        "step": training.step,
        "network": lambda: training.step(training.network_loss),
        "CRF": parts.crf,
        "growing": parts.growing,
        "losses": parts.losses,
    }
    values = {name: 1000 * setup.seconds(call) for name, call in calls.items()}
    share = 1 - values["network"] / values["step"]
    text = ", ".join(f"{name} {value:.1f} ms" for name, value in values.items())
    goal = None if setup.small else share <= SHARE
    return Outcome(f"{text}; share {share:.1%}", goal, values | {"share": share})


def waiting(setup: Setup) -> Outcome:
    """Steps after the first, in which a read from the device is an error."""
    training = make(DSRG, setup)
    for _ in range(2):
        training.step()
    if setup.device.type != "cuda":
        return Outcome("no device to wait for; tests/unit/training/test_waiting.py looks for it")
    setup.synchronise()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Outcome("nothing", ok=True)


def launches(setup: Setup) -> Outcome:
    """Kernels that CRF and growing launch, by the profiler."""
    parts = Parts(make(DSRG, setup))
    if setup.device.type != "cuda":
        return Outcome("needs CUDA")
    counts = {}
    for name, call in {"CRF": parts.crf, "growing": parts.growing}.items():
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            call()
            setup.synchronise()
        events = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        counts[name] = len(events)
    return Outcome(", ".join(f"{name} {count}" for name, count in counts.items()), None, counts)


def graph(setup: Setup) -> Outcome:
    """CRF and growing captured once and replayed: the same bytes, and the time of both ways."""
    parts = Parts(make(DSRG, setup))

    def both() -> Tensor:
        parts.refined = parts.crf()
        return parts.growing()

    expected = both().clone()
    launched = 1000 * setup.seconds(both)
    if setup.device.type != "cuda":
        return Outcome(f"launched {launched:.1f} ms; a graph needs CUDA")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        both()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        found = both()
    replayed = 1000 * setup.seconds(captured.replay)
    text = f"launched {launched:.2f} ms, replayed {replayed:.2f} ms"
    values = {"launched": launched, "replayed": replayed}
    return Outcome(text, bool(torch.equal(found, expected)), values)


ROWS = (
    Row(
        "DSRG step, VGG-16, batch 20, 321 px: CRF, growing and losses",
        f"share ≤ {SHARE:.0%}",
        shares,
    ),
    Row("read back to the host inside a DSRG step", "nothing", waiting),
    Row("kernels launched by CRF and growing of a step", "", launches),
    Row("CRF and growing as a CUDA graph", "the same bytes", graph),
)
