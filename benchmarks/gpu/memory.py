"""Time and memory of the large networks' steps, and a training that runs out of memory."""

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.gpu.rows import Outcome, Row, Setup, relative_difference
from benchmarks.gpu.trainings import RESNET38, RESNET101, Case, make, optimisation
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.determinism import set_deterministic
from seedbed.training.loop import train
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.samples import Batch

GIB = 2**30
LIMIT = 24  # GiB of a common GPU
STEPS = 2
WITHOUT_MEMORY = Case("masks", "vgg16_largefov", 321, 16, ("squeezenet1_0_seg", 64, 4))


def step(setup: Setup, *, case: Case) -> Outcome:
    """Time of a step and the most memory that its tensors took."""
    set_deterministic(False)
    training = make(case, setup)
    seconds = setup.seconds(training.step, 5, 2)
    if setup.device.type != "cuda":
        return Outcome(f"{1000 * seconds:.0f} ms; memory is counted on CUDA only")
    peak = torch.cuda.max_memory_allocated() / GIB
    text = f"{1000 * seconds:.0f} ms a step, at most {peak:.1f} GiB"
    return Outcome(text, peak < LIMIT, {"seconds": seconds, "peak_gib": peak})


class Refusing(MaskObjective):
    """Stands in for a device without room for more than some images, in a rehearsal."""

    def __init__(self, images: int) -> None:
        super().__init__("half_pixel")
        self.images = images

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss, or the error that CUDA would raise."""
        if len(batch.images) > self.images:
            raise torch.OutOfMemoryError("as if there were no more memory")
        return super().__call__(model, batch, step)


def trained(setup: Setup, objective: MaskObjective, accumulation: int) -> dict[str, Tensor]:
    """The weights, on the CPU, after a few iterations in the loop of all trainings."""
    made = make(WITHOUT_MEMORY, setup)
    count = len(made.batch.images)
    sgd = optimisation(count, accumulation, STEPS)
    with tempfile.TemporaryDirectory() as folder:
        train(
            made.model,
            objective,
            lambda start: [made.batch] * (STEPS - start),
            sgd,
            device=setup.device,
            checkpoint=Checkpoint(Path(folder) / "weights.pt", ""),
            seed=0,
            threads=torch.get_num_threads(),
        )
    return {name: tensor.cpu() for name, tensor in made.model.state_dict().items()}


def peak_bytes(setup: Setup, accumulation: int) -> int:
    """The most memory that a training takes from the device, with that many parts."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trained(setup, MaskObjective("half_pixel"), accumulation)
    return torch.cuda.max_memory_reserved()


def out_of_memory(setup: Setup) -> Outcome:
    """A training with room for half a batch against one that was told to halve it."""
    set_deterministic(True)
    objective = MaskObjective("half_pixel")
    if setup.device.type == "cuda":
        whole, half = (peak_bytes(setup, parts) for parts in (1, 2))
    expected = trained(setup, objective, 2)
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(setup.device).total_memory
        torch.cuda.set_per_process_memory_fraction((whole + half) / 2 / total)
        room = f"room for {(whole + half) / 2 / GIB:.1f} GiB of {whole / GIB:.1f}"
    else:
        objective = Refusing(WITHOUT_MEMORY.sizes(setup)[2] // 2)
        room = "an objective that refuses more than half a batch"
    found = trained(setup, objective, 1)
    difference = max(
        relative_difference(found[name].float(), expected[name].float()) for name in found
    )
    text = f"{room}: goes on in parts, relative difference {difference:.1e}"
    return Outcome(text, difference <= 1e-5, {"difference": difference})


ROWS = (
    Row("step of ResNet-101, 321 px, batch 10", f"< {LIMIT} GiB", partial(step, case=RESNET101)),
    Row("step of ResNet-38, 448 px, batch 4", f"< {LIMIT} GiB", partial(step, case=RESNET38)),
    Row("out of memory in a training, against accumulation: 2", "≤ 1e-5", out_of_memory),
)
