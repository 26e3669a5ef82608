"""The predict stage."""

import pytest

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from stages.predict import predict
from stages.settings import PredictSettings


def test_images_too_small_for_the_network_are_refused_before_any_is_read(tmp_path):
    name, classes = "squeezenet1_0_seg", ["background", "cat"]
    save_network(tmp_path / "w.pt", build(name, 2), name, 2, {}, classes)
    entry = ImageEntry("a", "no-such-file.jpg", 6, 8, (1,), "val", False, "")
    Index((ClassInfo("cat", 1),), (entry,), "annotations").save(tmp_path / "index.json")
    with pytest.raises(UserError, match=r"no-such-file\.jpg: shown .* which needs 13"):
        predict(
            index=tmp_path / "index.json",
            weights=tmp_path / "w.pt",
            round=0,
            split="val",
            shard="1-of-1",
            output=tmp_path / "out.h5",
            settings=PredictSettings(),
            data=tmp_path,
            device="cpu",
            workers=1,
        )
