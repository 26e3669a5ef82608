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


def inference_memory(key, *, unless_given=None):
    """Resource mem_mb of a rule whose workers run the network trained under a key on the CPU.

    unless_given: key of a folder of maps that the rule reads instead, if it is set.
    """

    def mem_mb(wildcards, threads, attempt):
        reads = unless_given and block(unless_given)
        light = reads or block(of_job(key, wildcards)).network.startswith("tiny")
        ask = memory(700, 600) if light else memory(1500, 2000)
        return ask(wildcards, threads, attempt)

    return mem_mb


def training_memory(key):
    """Resource mem_mb of the training under a key on the CPU; on a GPU it needs less.

    docs/cluster.md has the measurements.
    """

    def mem_mb(wildcards, threads, attempt):
        training = block(of_job(key, wildcards))
        tiny = training.network.startswith("tiny")
        fixed, kilobytes_a_pixel = (1200, 2) if tiny else (3000, 8)
        images = getattr(training, "group_size", 1)  # that a sample consists of
        samples = math.ceil(training.batch / training.accumulation)
        pixels = samples * images * training.crop**2
        need = fixed * run.training_processes + kilobytes_a_pixel * pixels // 1000
        return memory(need)(wildcards, threads, attempt)

    return mem_mb


def minutes(count):
    """Resource runtime: a limit, not an estimate; grows with each attempt."""
    return lambda wildcards, attempt: count * attempt


def training_minutes(key):
    """Two seconds an iteration, at most a day: the next attempt goes on from the checkpoint."""

    def runtime(wildcards, attempt):
        iterations = block(of_job(key, wildcards)).iterations
        return minutes(min(10 + iterations // 30, 24 * 60))(wildcards, attempt)

    return runtime
