"""Which images make up the batches."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.training.sampler import Request, batch_requests, group_requests

torch.set_num_threads(1)


def test_every_epoch_visits_every_image_once():
    requests = [one for batch in batch_requests(7, 3, 0, 14, seed=4) for one in batch]
    epochs = np.array([one.index for one in requests]).reshape(6, 7)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(7), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert [(one.step, one.slot) for one in requests[:5]] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 8))
@settings(max_examples=30)
def test_requests_do_not_depend_on_the_start(count, batch, start):
    whole = list(batch_requests(count, batch, 0, 8, seed=1))
    assert list(batch_requests(count, batch, start, 8, seed=1)) == whole[start:]


def test_partners_follow_each_image():
    groups = GroupIndex([(1,), (2,), (1,), (2,)], draws=None)
    whole = list(group_requests(groups, 3, batch_requests(4, 2, 0, 6, seed=0), seed=0))
    later = list(group_requests(groups, 3, batch_requests(4, 2, 4, 6, seed=0), seed=0))
    assert later == whole[4:]
    for batch, firsts in zip(whole, batch_requests(4, 2, 0, 6, seed=0), strict=True):
        assert [one.slot for one in batch] == list(range(6))
        assert [one.index for one in batch[::3]] == [one.index for one in firsts]
        for first in (0, 3):
            assert len({one.index % 2 for one in batch[first : first + 3]}) == 1


def test_the_order_of_the_images_depends_on_the_seed():
    first, again, other = (list(batch_requests(20, 5, 0, 4, seed)) for seed in (0, 0, 1))
    assert first == again and first != other


def test_partners_are_drawn_anew_for_each_iteration_place_and_seed():
    """Of an image that is asked for again and again."""
    groups = GroupIndex([(1,)] * 50, draws=None)

    def partners(step, slot, seed):
        (members,) = group_requests(groups, 5, iter([[Request(step, slot, 0)]]), seed)
        return tuple(one.index for one in members[1:])

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({partners(*place) for place in places}) == 4
    assert partners(1, 2, 3) == partners(1, 2, 3)
