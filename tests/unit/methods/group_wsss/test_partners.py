"""Partners of an image: the distribution of Group-WSSS' rejection sampling."""

import numpy as np

from seedbed.methods.group_wsss.partners import GroupIndex

LABELS = [(1,), (1, 2), (2,), (1, 2), (1, 2), (3, 4), (4,), (5,)]


def groups_of(index, size=3, count=200):
    groups = GroupIndex(LABELS, draws=None)
    return [groups.group(index, size, np.random.default_rng(seed)) for seed in range(count)]


def test_partners_have_the_same_labels():
    found = groups_of(1)
    assert all(group[0] == 1 and len(group) == 3 for group in found)
    assert {partner for group in found for partner in group[1:]} == {1, 3, 4}


def test_partners_are_drawn_uniformly_and_independently():
    pairs = [tuple(group[1:]) for group in groups_of(1, count=900)]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert len(counts) == 9 and min(counts.values()) > 60 and max(counts.values()) < 150


def test_partners_share_one_label_if_no_image_has_the_same_labels():
    partners = {partner for group in groups_of(5) for partner in group[1:]}
    assert partners == {5, 6}
    assert all({group[1], group[2]} <= {0, 1, 3, 4} for group in groups_of(0))


def test_image_of_unique_labels_is_its_own_partner():
    assert GroupIndex(LABELS, draws=None).group(7, 4, np.random.default_rng(0)) == [7, 7, 7, 7]


def test_groups_depend_only_on_the_generator():
    assert groups_of(3, count=20) == groups_of(3, count=20)


def test_one_common_label_suffices_when_all_draws_fail():
    labels = [(1,), (1,), *[(1, 2)] * 8]
    groups = GroupIndex(labels, draws=3)
    partners = [groups.group(0, 3, np.random.default_rng(seed))[1:] for seed in range(2000)]
    # A draw finds one of the two images with probability 0.2; all three fail with 0.512.
    equal = np.mean([[partner < 2 for partner in pair] for pair in partners])
    assert abs(equal - (0.488 + 0.512 * 0.2)) < 0.03
    assert 0 in {pair[0] for pair in partners}


def test_many_draws_find_the_image_itself():
    groups = GroupIndex(LABELS, draws=1000)
    assert all(groups.group(5, 3, np.random.default_rng(seed)) == [5] * 3 for seed in range(50))
