"""Where and how a run works."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from stages.settings.base import Block, Count, PathText
from stages.settings.layers import folders_of

# Text alone for readers and editors: Snakemake reads the pathvars of a config file too, and refuses
# null. Only a key that is left out is None.
OtherFolder = Annotated[PathText | None, WithJsonSchema({"type": "string"})]


class PathvarSettings(Block):
    """Snakemake's path variables: the folders that a run writes to, which recipes may share.

    In a file that lies over another one, `{results}`, `{shared}` and `{saliency}` in quotes stand
    for the folders of the files below it.
    """

    results: PathText = Field("results", description="folder of the run")
    shared: OtherFolder = Field(
        None,
        description="folder of the data set, the classifier, its maps and the saliency, which"
        " several recipes may share; left out: the folder of the run",
    )
    saliency: OtherFolder = Field(
        None, description="folder of the saliency alone; left out: the same as shared"
    )

    def folders(self) -> dict[str, str]:
        """The folder of every pathvar, with those that are left out filled in."""
        return folders_of(self.model_dump())


class RunSettings(Block):
    """Where and how the run works.

    Results stay the same, but for how a training rounds and cuts its batches: docs/reliability.md.
    """

    data: PathText = Field(
        "data",
        description="folder of the data sets and of the initial weights; paths in the config are"
        " relative to it",
    )
    fetch: Literal["ask", "auto", "never"] = Field(
        "ask",
        description="what happens if something that can be fetched is missing from data"
        " (docs/data.md): `auto` fetches it, `ask` ends the run and says how to get it, `never`"
        " names the missing file",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of the networks; auto: a GPU if there is one"
    )
    shards: Count = Field(
        1, description="number of jobs into which each step over the images is split"
    )
    compute_threads: Count = Field(2, description="number of CPU threads of a training")
    deterministic: bool = Field(
        True, description="use deterministic CUDA algorithms: the same bytes every time, but slower"
    )
    training_processes: Count = Field(
        1,
        description="number of processes of a training, each with its own GPU and an equal part of"
        " every batch",
    )
