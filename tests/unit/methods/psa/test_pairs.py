"""The half disc of pairs."""

from seedbed.methods.psa.pairs import pair_offsets


def test_small_radius_by_hand():
    assert pair_offsets(2) == [(0, 1), (1, -1), (1, 0), (1, 1)]


def test_each_pair_within_the_radius_once():
    found = pair_offsets()
    assert len(found) == len(set(found)) == 34
    assert all(0 < r * r + c * c < 25 and (-r, -c) not in found for r, c in found)
