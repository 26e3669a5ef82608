"""From a network's name to its trained weights on disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from seedbed.formats.tables import write_tsv
from seedbed.inference.precision import Precision, warn_slow_bfloat16
from seedbed.models import build
from seedbed.models.network import Network
from seedbed.models.registry import Option, network_info
from seedbed.models.weights import NewHead, load_weights, read_description, save_network
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.determinism import set_deterministic
from seedbed.training.loop import train
from seedbed.training.objectives.objective import Objective
from seedbed.training.optimisation import Optimisation
from seedbed.training.previews import Preview
from seedbed.training.processes import ProcessGroup, launched_process_group
from seedbed.training.sampler import Request, batch_requests
from seedbed.training.samples import Batch, Samples, loader, read_ahead

Requests = Iterator[list[Request]]


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What a network is built from, and what its outputs are.

    Attributes:
        name: of `seedbed.build`.
        options: of `seedbed.build`.
        classes: names of the outputs.
        precision: in which the network is trained.
        source_ids: ids of the classes in the data set's own masks; None: unknown.

    """

    name: str
    options: Mapping[str, Option]
    classes: Sequence[str]
    precision: Precision
    source_ids: Sequence[int] | None = None

    def build(self, *, seed: int, initial: Path | None, new_head: NewHead) -> Network:
        """The network, initialised from the seed and, if given, a file of weights."""
        torch.manual_seed(seed)
        model = build(self.name, len(self.classes), **self.options)
        if initial is not None:
            self._check_classes(initial, new_head=new_head)
            _load_initial(model, initial, new_head=new_head)
        return model

    def _check_classes(self, path: Path, *, new_head: NewHead) -> None:
        """UserError if the file is a network of this kind that scores other classes."""
        kind = network_info(self.name).kind
        if new_head is not False or kind == "affinity":  # whose head has no outputs by class
            return
        about = read_description(path)
        if about is None or network_info(about["name"]).kind != kind:
            return
        if about["classes"] != list(self.classes):
            raise UserError(
                f"weights {path} are of a network of the classes {', '.join(about['classes'])}, and"
                f" this one has {', '.join(self.classes)}: set new_head: true"
            )

    def save(self, path: Path, model: Network) -> None:
        """Write the trained network, so that `load_network` can build it again."""
        save_network(
            path,
            model,
            self.name,
            len(self.classes),
            self.options,
            self.classes,
            self.source_ids,
            self.precision,
        )


def _load_initial(model: Network, path: Path, *, new_head: NewHead) -> None:
    """Load initial weights and print what was and what was not used."""
    report = load_weights(model, path, new_head=new_head)
    print(f"{path}: {len(report.placed)} tensors placed")
    print(f"  not in the file: {', '.join(report.missing) or 'none'}")
    print(f"  not used: {', '.join(report.unused) or 'none'}")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how a training runs.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; with a GPU as many processes load the images.
        deterministic: the same bytes on every CUDA run, more slowly.

    """

    device: str
    threads: int
    deterministic: bool


def train_network(
    model: Network,
    objective: Objective,
    samples: Samples,
    optimisation: Optimisation,
    *,
    execution: Execution,
    checkpoint: Checkpoint,
    log: Path,
    save: Callable[[Network], None],
    preview: Preview | None = None,
    regroup: Callable[[Requests], Requests] = iter,
) -> None:
    """Train a network to the end; write its log, and TensorBoard's events beside it.

    Under torchrun the processes share each batch, and the main process alone writes.

    Args:
        model: the network to train.
        objective: what is minimised.
        samples: of the data set; their seed is also that of their order and of dropout.
        optimisation: batch, optimiser, schedule and rates.
        execution: where and how the training runs.
        checkpoint: of this training; kept until everything is written.
        log: the TSV to write.
        save: writes the trained network and whatever else the training gives.
        preview: refreshed at intervals; None: no preview.
        regroup: turns requests of images into requests of groups.

    Raises:
        UserError: as `train`; or if the processes do not divide the batch, or the GPU has too
            little memory for the network.

    """
    set_deterministic(execution.deterministic)
    with launched_process_group() as processes, _lock(checkpoint, processes):
        _check_divides(processes, optimisation.batch)
        device = pick_device(execution.device, processes)
        if processes.is_main:
            warn_slow_bfloat16(device, optimisation.precision)
        share = _Share(samples, optimisation, processes, regroup, execution.threads, device)
        with _memory_errors_explained():
            rows = train(
                model,
                objective,
                share.batches,
                optimisation,
                device=device,
                checkpoint=checkpoint,
                seed=samples.seed,
                threads=execution.threads,
                events=log.with_name("tensorboard"),
                preview=preview,
                processes=processes,
            )
        if processes.is_main:
            write_tsv(log, rows)
            save(model.cpu())


@dataclass(frozen=True)
class _Share:
    """The batches of a training, of each the share of this process."""

    samples: Samples
    optimisation: Optimisation
    processes: ProcessGroup
    regroup: Callable[[Requests], Requests]
    threads: int
    device: torch.device

    def batches(self, start: int) -> Iterator[Batch]:
        """The batches of the iterations from `start` on."""
        batch, stop = self.optimisation.batch, self.optimisation.iterations
        requests = batch_requests(len(self.samples), batch, start, stop, self.samples.seed)
        share = self.regroup(self.processes.shard(requests))
        if self.device.type == "cpu":
            return read_ahead(loader(self.samples, share, workers=0))
        return loader(self.samples, share, workers=self.threads, pin_memory=True)


def _lock(checkpoint: Checkpoint, processes: ProcessGroup) -> AbstractContextManager[None]:
    """The main process's lock on the training."""
    return checkpoint.lock() if processes.is_main else nullcontext()


def _check_divides(processes: ProcessGroup, batch: int) -> None:
    """UserError unless the processes can share a batch equally."""
    if batch % processes.size:
        raise UserError(
            f"run.training_processes: {processes.size} must divide the batch of {batch}: change "
            "one of them in the config"
        )


@contextmanager
def _memory_errors_explained() -> Iterator[None]:
    """Turn an error of the GPU's memory outside the computation of a batch into a UserError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            "GPU out of memory beside the batch, for the network itself, its optimiser or its "
            "preview: take another network or a larger GPU"
        ) from None
