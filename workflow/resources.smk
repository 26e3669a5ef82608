"""What a job may take: CPUs, memory, time."""

import math
import os


def cpus(count):
    """Threads that claim `count` real CPUs, also when --cores promises more than there are.

    Without --cores a cluster runs the jobs, and this machine's CPUs say nothing of its nodes'.
    """
    claimed, real = workflow.resource_settings.cores, len(os.sched_getaffinity(0))
    if claimed is None:
        return count
    return max(1, math.ceil(min(count, real) * max(1, claimed / real)))


def memory(base, worker=0):
    """Resource mem_mb of a job and each of its workers; doubles with each attempt.

    In `base` are 400 MB of the Snakemakes that a cluster's job consists of.
    """
    return lambda wildcards, threads, attempt: (
        (base + worker * threads) * 2 ** (attempt - 1)
    )


def inference_memory(*blocks):
    """Resource mem_mb of a rule whose workers run one of some networks on the CPU."""
    tiny = all(block.network.startswith("tiny") for block in blocks)
    return memory(700, 600) if tiny else memory(1500, 2000)


def training_memory(*blocks, images=1):
    """Resource mem_mb of the largest of some trainings on the CPU; on a GPU they need less.

    images: that a sample consists of. docs/cluster.md has the measurements.
    """
    needs = []
    for block in blocks:
        tiny = block.network.startswith("tiny")
        fixed, kilobytes_a_pixel = (1200, 2) if tiny else (3000, 8)
        pixels = math.ceil(block.batch / block.accumulation) * images * block.crop**2
        needs.append(
            fixed * run.training_processes + kilobytes_a_pixel * pixels // 1000
        )
    return memory(max(needs))


def minutes(count):
    """Resource runtime: a limit, not an estimate; grows with each attempt."""
    return lambda wildcards, attempt: count * attempt


def training_minutes(*blocks):
    """Two seconds an iteration, at most a day: the next attempt goes on from the checkpoint."""
    return minutes(min(10 + max(block.iterations for block in blocks) // 30, 24 * 60))
