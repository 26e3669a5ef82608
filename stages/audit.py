"""Every step of the chain scored against the ground truth by the same code."""

from pathlib import Path
from typing import Annotated

from seedbed.data.index import Index
from seedbed.evaluation.audit_steps import audit_steps
from seedbed.evaluation.common_crf import CommonCRF
from seedbed.evaluation.scoring import score_steps
from seedbed.formats.maps import Maps
from seedbed.formats.tables import write_tsv
from seedbed.runtime.errors import UserError
from stages.chain_options import ChainOptions
from stages.command import Data, Workers, parse_settings, run_stage
from stages.settings import AuditSettings, CRFSettings


def audit(
    *,
    index: Annotated[Path, "dataset/index.json"],
    truth: Annotated[Path, "dataset/masks.h5"],
    output: Annotated[Path, "to write: a row for each step and list"],
    settings: AuditSettings,
    crf: Annotated[
        str, "settings of the CRF that refines CAMs, control and pseudo labels, as JSON"
    ],
    data: Data,
    workers: Workers,
    chain: ChainOptions,
) -> None:
    """Score the steps whose artefacts are given, on every list of the data set."""
    dataset = Index.load(index)
    params = parse_settings(CRFSettings, crf, "--crf").model_dump()
    common_crf = CommonCRF(data, params, settings.label_confidence)
    steps = audit_steps(
        chain,
        cam_background=settings.cam_background,
        saliency_threshold=settings.saliency_threshold,
        crf=common_crf,
    )
    if not (steps := list(steps)):
        raise UserError("no step to score: give its files, such as --cams, --cues or --refined")
    scores = score_steps(dataset, steps, Maps([truth]), workers, tuning_every=settings.tuning_every)
    write_tsv(output, [score.as_row(dataset.class_names) for score in scores])


if __name__ == "__main__":
    run_stage(audit)
