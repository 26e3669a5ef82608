"""Shards of a list."""

import pytest

from seedbed.data.lists import shard_of
from seedbed.runtime.errors import UserError


def test_shards_divide_the_items():
    items = list(range(10))
    assert shard_of(items, "3-of-4") == [2, 6]
    shards = [shard_of(items, f"{k}-of-4") for k in range(1, 5)]
    assert sorted(item for shard in shards for item in shard) == items
    assert shard_of(items, "11-of-16") == []


@pytest.mark.parametrize(
    "text", ["", "3", "0-of-4", "5-of-4", "-1-of-4", "1-of-0", "a-of-b", "1-of-2 "]
)
def test_bad_shards_are_refused(text):
    with pytest.raises(UserError, match="3-of-16"):
        shard_of([1, 2], text)
