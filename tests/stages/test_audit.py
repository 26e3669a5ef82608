"""The stage audit on a small synthetic run."""

from pathlib import Path

import torch

from seedbed.formats.tables import read_tsv
from stages.audit import audit
from stages.chain_options import ChainOptions
from stages.settings import AuditSettings, CRFSettings
from tests.support.report_helpers import write_run

torch.set_num_threads(1)
ARTEFACTS = ("cams", "saliency", "cues", "pseudo_labels", "targets", "predictions", "refined")


def run_audit(folder: Path, run: dict, *artefacts: str) -> list[dict[str, str]]:
    audit(
        index=run["index"],
        truth=run["truth"][0],
        output=folder / "quality.tsv",
        settings=AuditSettings(),
        crf=CRFSettings(iterations=1).model_dump_json(),
        data=run["data"],
        workers=1,
        chain=ChainOptions(**{name: run[name] for name in artefacts}),
    )
    return read_tsv(folder / "quality.tsv")


def test_every_artefact_is_scored_in_the_order_of_the_chain(tmp_path):
    rows = run_audit(tmp_path, write_run(tmp_path), *ARTEFACTS)
    predictions = ["predictions", "predictions within tags", "predictions + crf"]
    assert [row["step"] for row in rows if row["list"] == "train"] == [
        *("cam", "cam + crf", "seeds", "saliency × tags", "saliency × tags + crf"),
        *("pseudo_labels", "pseudo_labels + crf"),
        "targets",
        *predictions,
        *predictions,
    ]
    assert [row["round"] for row in rows if row["list"] == "val"] == ["0", "0", "1", "1"]
    by_step = {row["step"]: row for row in rows}
    assert (by_step["pseudo_labels"]["miou"], by_step["pseudo_labels"]["images"]) == ("1", "2")
    assert by_step["targets"]["images"] == "1"  # the other one is not trained on


def test_a_step_that_a_recipe_lacks_has_no_row(tmp_path):
    rows = run_audit(tmp_path, write_run(tmp_path), "refined")
    assert {row["step"] for row in rows} == {"predictions + crf"}
