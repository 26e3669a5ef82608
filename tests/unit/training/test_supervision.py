"""Targets under a view: masks, cues and class scores."""

import numpy as np
import pytest
import torch

from seedbed.methods.resampling import label_pixels
from seedbed.training.sampler import Request
from tests.support.training_helpers import crop_view, warp_view

torch.set_num_threads(1)


def centroid(where):
    """Mean place (row, column) of the marked cells, in shares of the view."""
    cells = where.nonzero().double() + 0.5
    return cells.mean(0) / torch.tensor(where.shape)


@pytest.mark.parametrize("make_view", [warp_view, crop_view])
def test_image_mask_and_cues_stay_aligned(make_samples, make_view):
    picture, mask = np.zeros((60, 40, 3), np.uint8), np.zeros((60, 40), np.uint8)
    cues = np.zeros((4, 20, 20), np.uint8)
    picture[12:24, 20:28], mask[12:24, 20:28], cues[2, 4:8, 10:14] = 255, 2, 1
    view = make_view(48, scale=(0.7, 1.3), rotate=40, flip=True)
    masked = make_samples(picture, view, mask=mask, stride=2)
    cued = make_samples(picture, view, cues=cues, grid=48)
    samples = [(masked[Request(i, 0, 0)], cued[Request(i, 0, 0)]) for i in range(25)]
    assert {bool(sample.mirrored) for sample, _ in samples} == {True, False}
    inside = [pair for pair in samples if (pair[0].targets == 2).sum() > 20]
    assert len(inside) > 10
    for sample, other in inside:
        assert torch.equal(sample.images, other.images)
        assert sample.targets.shape == (24, 24) and other.targets.shape == (4, 48, 48)
        expected = centroid(sample.images[0] > 128)
        torch.testing.assert_close(centroid(sample.targets == 2), expected, atol=0.02, rtol=0)
        torch.testing.assert_close(centroid(other.targets[2]), expected, atol=0.02, rtol=0)
        assert not other.targets[[0, 1, 3]].any()


def test_outside_the_image_are_void_no_cues_and_the_mean_colour(make_samples, noise):
    view = warp_view(32, scale=(0.5, 0.5))
    mask, cues = np.ones((16, 24), np.uint8), np.ones((4, 8, 8), np.uint8)
    sample = make_samples(noise, view, mask=mask)[Request(1, 0, 0)]
    cues = make_samples(noise, view, cues=cues, grid=32)[Request(1, 0, 0)].targets
    void = sample.targets == 255
    assert set(sample.targets.unique().tolist()) == {1, 255}
    assert 0.7 < void.float().mean() < 0.8  # the image covers half of each side
    rows, columns = (~void).nonzero(as_tuple=True)
    assert void.sum() == 32 * 32 - len(rows.unique()) * len(columns.unique())
    mean = torch.from_numpy(noise).float().mean((0, 1))
    expected = mean[:, None].expand(-1, int(void.sum()))
    torch.testing.assert_close(sample.images[:, void], expected)
    assert not cues[:, void].any() and cues[:, ~void].all()


@pytest.mark.parametrize("sampling", ["corner_aligned", "tf_legacy"])
def test_targets_of_every_nth_pixel(make_samples, sampling):
    picture = np.zeros((330, 340, 3), np.uint8)
    mask = np.random.default_rng(1).integers(0, 21, (330, 340), np.uint8)
    view, pixels = crop_view(321, flip=True), label_pixels(321, 8, sampling)
    whole = make_samples(picture, view, mask=mask)
    sparse = make_samples(picture, view, mask=mask, stride=8, sampling=sampling)
    seen = [(whole[Request(i, 0, 0)], sparse[Request(i, 0, 0)]) for i in range(4)]
    assert len({bool(one.mirrored) for one, _ in seen}) == 2
    for one, other in seen:
        assert one.targets.shape == (321, 321) and other.targets.shape == (41, 41)
        assert torch.equal(other.targets, one.targets[pixels][:, pixels])


def test_targets_at_the_centres_of_cells(make_samples, noise):
    mask = np.repeat(np.repeat(np.arange(9, dtype=np.uint8).reshape(3, 3), 4, 0), 4, 1)
    samples = make_samples(noise[:12, :12], warp_view(12), mask=mask, stride=4)
    np.testing.assert_array_equal(samples[Request(0, 0, 0)].targets, np.arange(9).reshape(3, 3))


@pytest.mark.parametrize("levels", [1.0, 255])
def test_scores_become_the_labels_of_cells(make_samples, levels):
    # columns of 8 pixels: surely background, surely class 1, surely class 2, unsure
    low, high = np.zeros((2, 3, 16, 32), np.float32)
    high[0, :, :8] = low[0, :, :8] = 0.6
    low[1, :, 8:16] = high[1, :, 8:16] = 1
    low[2, :, 16:24] = high[2, :, 16:24] = 1
    low[0, :, 24:], high[1, :, 24:] = 1, 1
    scores = (np.stack([low, high]) * levels).astype(np.float32 if levels == 1 else np.uint8)
    picture = np.zeros((16, 32, 3), np.uint8)
    view = crop_view(40, placement="top_left", flip=True, flip_before_padding=False)
    samples = make_samples(picture, view, scores=scores)
    expected = torch.full((5, 5), 255, dtype=torch.uint8)
    expected[:2, :3] = torch.tensor([0, 1, 2])
    found = {}
    for step in range(10):
        sample = samples[Request(step, 0, 0)]
        assert sample.targets.dtype == torch.uint8
        found[bool(sample.mirrored)] = sample.targets
    assert torch.equal(found[False], expected)
    assert torch.equal(found[True], expected.flip(-1))
    odd = crop_view(36, placement="top_left")
    assert torch.equal(
        make_samples(picture, odd, scores=scores)[Request(0, 0, 0)].targets, expected
    )


def test_cells_whose_levels_add_up_to_equal_scores_go_to_the_lowest_channel(make_samples):
    """Class 1 has the levels of background, in each cell in another order."""
    rng = np.random.default_rng(2)
    cells = rng.integers(0, 256, (11, 7, 64)).astype(np.uint8)
    planes = [
        values.reshape(11, 7, 8, 8).swapaxes(1, 2).reshape(88, 56)
        for values in (cells, rng.permuted(cells, axis=-1))
    ]
    view = crop_view(100, placement="top_left")
    samples = make_samples(np.zeros((88, 56, 3), np.uint8), view, scores=np.stack([planes] * 2))
    assert samples[Request(0, 0, 0)].targets[:11, :7].eq(0).all()


def test_nothing_is_sure_beyond_the_image(make_samples):
    scores = np.full((2, 2, 13, 21), 255, np.uint8)
    scores[:, 1] = 0
    view = crop_view(64)
    samples = make_samples(np.zeros((13, 21, 3), np.uint8), view, scores=scores)
    for step in range(40):
        targets = samples[Request(step, 0, 0)].targets
        rows, columns = (targets == 0).any(1).sum(), (targets == 0).any(0).sum()
        assert set(targets.unique().tolist()) == {0, 255}
        assert 2 <= rows <= 3 and 3 <= columns <= 4


def test_what_interpolation_leaves_beyond_the_border_is_no_score(make_samples):
    scores = np.full((2, 2, 8, 16), 255, np.uint8)
    view = crop_view(48, scale=(2.0, 2.0), placement="top_left")
    samples = make_samples(np.zeros((8, 16, 3), np.uint8), view, scores=scores)
    targets = samples[Request(0, 0, 0)].targets
    expected = torch.full((6, 6), 255, dtype=torch.uint8)
    expected[:2, :4] = 0
    assert torch.equal(targets, expected)


def test_an_unknown_sampling_is_refused(make_samples, noise):
    with pytest.raises(ValueError, match=r"^sampling must be one of 'half_pixel', "):
        make_samples(noise, warp_view(8), mask=noise[..., 0].copy(), sampling="bilinear")
