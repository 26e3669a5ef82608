"""Where and how a run works."""

from typing import Literal

from pydantic import Field

from stages.settings.base import Block, Count, PathText


class RunSettings(Block):
    """Where and how the run works. Nothing here changes a result."""

    data: PathText = Field(
        "data",
        description="folder of the data sets and of the initial weights; paths in the config are"
        " relative to it",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of the networks; auto: a GPU if there is one"
    )
    shards: Count = Field(1, description="number of jobs of each step over the images")
    compute_threads: Count = Field(2, description="number of CPU threads of a training")
    deterministic: bool = Field(
        True, description="use deterministic CUDA algorithms: the same bytes every time, but slower"
    )
    training_processes: Count = Field(
        1,
        description="number of processes of a training, each with its own GPU and an equal part of"
        " every batch",
    )
