"""What a job may take: CPUs, memory, time, GPUs. docs/cluster.md has the measurements."""

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


def memory(need):
    """Resource mem_mb; need: function of the wildcards, MB of a job and of each of its workers.

    Doubles with each attempt. Of the job's MB 400 are those of the Snakemakes that a cluster's job
    consists of.
    """

    def mem_mb(wildcards, threads, attempt):
        base, worker = need(wildcards)
        return (base + worker * threads) * 2 ** (attempt - 1)

    return mem_mb


def minutes(count):
    """Resource runtime: a limit, not an estimate; grows with each attempt."""
    return lambda wildcards, attempt: count * attempt


ALL_CPUS = cpus(64)  # of the machine, for a pool of workers
TRAINING_CPUS = cpus(run.training_processes * run.compute_threads)
LIGHT = {"mem_mb": memory(lambda wildcards: (1000, 0)), "runtime": minutes(60)}
PER_IMAGE = {"mem_mb": memory(lambda wildcards: (700, 600)), "runtime": minutes(120)}
LEARNED = {"mem_mb": memory(lambda wildcards: (700, 1200)), "runtime": minutes(480)}  # a CPU


def inference(key):
    """Resources of a rule whose workers run the network that was trained under a key."""

    def need(wildcards):
        tiny = block(fill(key, wildcards)).network.startswith("tiny")
        return (700, 600) if tiny else (1500, 2000)

    return {"mem_mb": memory(need), "runtime": minutes(480), "gpu": 1}


def training(key):
    """Resources of the training under a key: its memory on the CPU; on a GPU it needs less.

    Two seconds an iteration, at most a day: the next attempt goes on from the checkpoint.
    """

    def need(wildcards):
        trained = block(fill(key, wildcards))
        fixed, kilobytes = (1200, 2) if trained.network.startswith("tiny") else (3000, 8)
        images = getattr(trained, "group_size", 1)  # that a sample consists of
        # The parts of the batch that the threads of a CPU compute beside each other.
        beside = min(trained.accumulation, run.compute_threads)
        part = math.ceil(trained.batch / trained.accumulation)
        pixels = part * beside * images * trained.crop**2
        return fixed * run.training_processes + kilobytes * pixels // 1000, 0

    def runtime(wildcards, attempt):
        iterations = block(fill(key, wildcards)).iterations
        return min(10 + iterations // 30, 24 * 60) * attempt

    return {"mem_mb": memory(need), "runtime": runtime, "gpu": run.training_processes}
