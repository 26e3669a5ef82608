"""The predict stage."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.inference.probabilities import PredictionOptions
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from stages.predict import log_probabilities, predict
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


class SureOfClass1(torch.nn.Module):
    """Finds one class of four everywhere, and hardly anything else."""

    def preprocess(self, images):
        return images

    def forward(self, images):
        logits = torch.tensor([-9.0, 9.0, -9.0, -9.0])
        return logits[:, None, None].expand(len(images), 4, 2, 2)


@pytest.mark.parametrize(
    ("split", "stored"), [("train", [0, 1, 2, 3]), ("val", [0, 1]), ("test", [0, 1])]
)
def test_only_train_images_keep_their_tags_whatever_the_probability(split, stored):
    entry = replace(ImageEntry("a", "", 4, 4, (2, 3), "train", True, ""), split=split)
    options = PredictionOptions(**PredictSettings().model_dump())
    place, image = torch.device("cpu"), np.zeros((4, 4, 3), np.uint8)
    found, classes = log_probabilities(
        entry, image, model=SureOfClass1(), options=options, device=place
    )
    assert classes == stored and found.shape == (len(stored), 4, 4)
