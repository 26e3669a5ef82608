"""The stage audit on a small synthetic run."""

from pathlib import Path

import pytest
import torch

from seedbed.data.index import Index
from seedbed.formats.tables import read_tsv
from seedbed.runtime.errors import UserError
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


def test_thresholds_and_lists_are_those_of_the_settings(tmp_path, monkeypatch):
    Index((), (), "annotations").save(tmp_path / "index.json")
    given = {}

    def score_steps(*_, **options):
        given.update(options)
        raise UserError("enough")

    monkeypatch.setattr("stages.audit.audit_steps", lambda _, **kw: given.update(kw) or [None])
    monkeypatch.setattr("stages.audit.score_steps", score_steps)
    thresholds = {"cam_background": 0.31, "saliency_threshold": 0.62, "tuning_every": 9}
    with pytest.raises(UserError, match="enough"):
        audit(
            index=tmp_path / "index.json",
            truth=tmp_path / "truth.h5",
            output=tmp_path / "quality.tsv",
            settings=AuditSettings(**thresholds, label_confidence=0.83),
            crf=CRFSettings(iterations=4).model_dump_json(),
            data=tmp_path,
            workers=1,
            chain=ChainOptions(),
        )
    crf = given.pop("crf")
    assert given == thresholds
    assert (crf.data, crf.params["iterations"], crf.label_confidence) == (tmp_path, 4, 0.83)
