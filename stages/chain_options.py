"""Options for the map files of each step of a run, shared by audit and report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from seedbed.evaluation.chain import ChainFiles


@dataclass(frozen=True)
class ChainOptions(ChainFiles):
    """The map files of the steps; a step whose files are not given is left out."""

    cams: Annotated[list[Path], "cam/*.h5"] = ()
    saliency: Annotated[list[Path], "saliency/*.h5"] = ()
    cues: Annotated[list[Path], "seeds/cues.h5"] = ()
    pseudo_labels: Annotated[list[Path], "pseudo_labels.h5"] = ()
    targets: Annotated[list[Path], "targets.h5 of the rounds"] = ()
    predictions: Annotated[list[Path], "predictions of all rounds and splits"] = ()
    refined: Annotated[list[Path], "masks of all rounds and splits"] = ()
