"""Statistics of cues, by hand and of SEC's published cues."""

from pathlib import Path

import numpy as np
import pytest

from seedbed.data.lists import image_numbers
from seedbed.formats.cue_pickle import read_cue_pickle
from seedbed.methods.seed_statistics import CueStatistics, cue_statistics
from tests.support.cues import CUES, MULTI_HOT

SEC_PICKLE = Path(__file__).parents[4] / "shared/artefacts/localization_cues-sec.pickle.gz"
SEC_LIST = SEC_PICKLE.with_name("input_list.txt")


def test_statistics_by_hand():
    empty = np.zeros((6, 3, 3), bool)
    found = cue_statistics([MULTI_HOT, CUES, empty], [(3, 5), (3,), (1, 2)])
    # Of 9 cells 6 are background and 4 foreground, 3 of them both; then 3 and 4; then none.
    assert found == CueStatistics(
        images=3,
        background=pytest.approx((6 + 3) / 27),
        foreground=pytest.approx((4 + 4) / 27),
        smallest=0,
        largest=4,
        labels={1: 1, 2: 2},
        multi_labelled=3,
        without_background=1,
        without_foreground=1,
        labels_without_cue=2,
    )
    assert str(found).startswith("3 images: 33.3% background, 29.6% foreground (0 to 4 cells), 3 ")
    assert "1: 1, 2: 2; without background 1, without foreground 1; labels" in str(found)
    assert str(found).endswith("labels without a cue 2")


@pytest.mark.skipif(not SEC_PICKLE.exists(), reason="SEC's published cues are not at hand")
def test_secs_published_cues():
    cues, labels = read_cue_pickle(SEC_PICKLE, num_classes=21, grid=41)
    assert cues.keys() == labels.keys() and len(cues) == 10582
    assert all(cue[list(labels[k])].any((1, 2)).all() for k, cue in cues.items())
    found = cue_statistics(cues.values(), labels.values())
    assert found == CueStatistics(
        images=10582,
        background=pytest.approx(0.098, abs=5e-4),
        foreground=pytest.approx(0.142, abs=5e-4),
        smallest=19,
        largest=819,
        labels={1: 6804, 2: 2857, 3: 758, 4: 136, 5: 27},
        multi_labelled=0,
        without_background=0,
        without_foreground=0,
        labels_without_cue=0,
    )
    numbers = image_numbers(["2008_007028", "2009_005170"], SEC_LIST)
    assert numbers == {"2008_007028": 0, "2009_005170": 10581}
