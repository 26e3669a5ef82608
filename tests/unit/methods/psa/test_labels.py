"""Labels for AffinityNet: cells by hand, pairs against literal loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.methods.psa.labels import grid_labels, pair_labels
from seedbed.methods.psa.pairs import pair_offsets

torch.set_num_threads(1)


def cells(*scores):
    """One row of cells of 8 x 8 equal pixels: each of `scores` is a cell's channels."""
    return torch.tensor(scores).T[:, None].repeat_interleave(8, 1).repeat_interleave(8, 2)


def test_cells_are_labelled_where_both_alphas_agree():
    #              class 2,       background,      void,            background wins, outside
    low = cells([0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.6, 0.0, 0.4], [0.2, 0.8, 0.0], [0.0, 0.0, 0.0])
    high = cells([0.0, 0.1, 0.9], [0.8, 0.2, 0.0], [0.1, 0.0, 0.9], [0.7, 0.3, 0.0], [0, 0, 0])
    labels = grid_labels(low, high)
    assert labels.dtype == torch.uint8
    assert labels.tolist() == [[2, 0, 255, 0, 255]]
    batch = grid_labels(torch.stack([low, high]), torch.stack([high, high]))
    assert batch.tolist() == [[[2, 0, 255, 0, 255]], [[2, 0, 2, 0, 255]]]


def test_low_alpha_decides_between_classes():
    assert grid_labels(cells([0.1, 0.7, 0.2]), cells([0.1, 0.2, 0.7])).tolist() == [[1]]


def test_ties_go_to_the_lowest_channel():
    low = cells([0.5, 0.5, 0.0], [0.2, 0.4, 0.4])
    high = cells([0.5, 0.5, 0.0], [0.2, 0.4, 0.4])
    assert grid_labels(low, high).tolist() == [[0, 1]]


def test_cells_without_scores_are_outside_the_image():
    faint, none = [9e-6, 0.0], [0.0, 0.0]
    low = cells(faint, none, [2e-5, 0.0], none)
    high = cells(none, faint, none, [2e-5, 0.0])
    assert grid_labels(low, high).tolist() == [[255, 255, 0, 0]]


def test_scores_are_averaged_before_the_arg_max():
    # Class 1 wins most pixels by a little, class 2 the rest by far: on average, class 2.
    scores = cells([0.0, 0.5, 0.4])
    scores[:, 5:] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    assert grid_labels(scores, scores).tolist() == [[2]]


def test_size_that_is_no_multiple_of_8():
    scores = cells([0.0, 1.0], [1.0, 0.0])[:, :3, :9]
    assert grid_labels(scores, scores).tolist() == [[1, 0]]


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="high"):
        grid_labels(torch.zeros(2, 8, 8), torch.zeros(2, 8, 16))


def pairs_by_loops(labels):
    """Rows of background, foreground and negative, pair after pair, source after source."""
    height, width = len(labels), len(labels[0])
    kinds = [], [], []
    for down, right in pair_offsets():
        rows = [], [], []
        for y in range(height - 4):
            for x in range(4, width - 4):
                one, other = labels[y][x], labels[y + down][x + right]
                known = 255 not in (one, other)
                rows[0].append(known and one == other == 0)
                rows[1].append(known and one == other != 0)
                rows[2].append(known and one != other)
        for kind, row in zip(kinds, rows, strict=True):
            kind.append(row)
    return list(kinds)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(5, 9), st.integers(9, 12)),
    batch=st.sampled_from([(), (2,), (2, 1)]),
)
@settings(max_examples=25)
def test_pair_labels_equal_literal_loops(seed, size, batch):
    rng = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 0, 1, 2, 255], dtype=torch.uint8)
    labels = values[torch.randint(5, (*batch, *size), generator=rng)]
    found = pair_labels(labels)
    sources = (size[0] - 4) * (size[1] - 8)
    assert all(f.dtype == torch.bool and f.shape == (*batch, 34, sources) for f in found)
    stacked = torch.stack(found, -3).view(-1, 3, 34, sources)
    for image, expected in zip(labels.view(-1, *size), stacked, strict=True):
        assert expected.tolist() == pairs_by_loops(image.tolist())


def test_number_of_pairs_of_psas_crop():
    found = pair_labels(torch.zeros(56, 56, dtype=torch.uint8))
    assert found.background.shape == (34, 52 * 48) and found.background.all()
    assert not found.foreground.any() and not found.negative.any()


def test_pairs_of_one_source_by_hand():
    labels = torch.full((5, 9), 255, dtype=torch.uint8)
    labels[0, 4], labels[0, 8], labels[4, 4], labels[0, 0] = 3, 3, 0, 3
    found = pair_labels(labels)
    offsets = pair_offsets()
    assert not found.background.any()
    assert found.foreground.nonzero().tolist() == [[offsets.index((0, 4)), 0]]
    assert found.negative.nonzero().tolist() == [[offsets.index((4, 0)), 0]]


@pytest.mark.parametrize("size", [(4, 9), (5, 8)])
def test_grid_without_a_source_cell_is_refused(size):
    with pytest.raises(ValueError, match="labels"):
        pair_labels(torch.zeros(size, dtype=torch.uint8))
