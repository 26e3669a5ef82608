"""Class activation maps, by hand."""

import torch

from seedbed.methods.cam import combine_scales, normalise_cam


def test_maps_are_normalised_separately():
    maps = torch.tensor([[[-5.0, 2.0, 4.0]], [[0.0, 0.0, 0.0]], [[100.0, 0.0, 25.0]]])
    expected = torch.tensor([[[0, 0.5, 1]], [[0, 0, 0]], [[1, 0, 0.25]]])
    torch.testing.assert_close(normalise_cam(maps), expected, atol=1e-5, rtol=0)
    assert normalise_cam(torch.tensor([[1.0]])).item() < 1
    torch.testing.assert_close(normalise_cam(torch.tensor([[1e-5]])), torch.tensor([[0.5]]))


def test_positive_parts_are_resized_and_summed():
    fine = torch.tensor([[[4.0, -8.0, 0.0, 1.0]]])
    coarse = torch.tensor([[[2.0, -6.0]]])
    # Half-pixel centres: the coarse pair (2, 0) becomes 2, 1.5, 0.5, 0.
    expected = torch.tensor([[[6.0, 1.5, 0.5, 1.0]]])
    torch.testing.assert_close(
        combine_scales([fine, coarse], (1, 4), power=1, resampling="half_pixel"), expected
    )


def test_the_power_is_applied_to_each_scale():
    maps = [torch.tensor([[[4.0]]]), torch.tensor([[[9.0]]])]
    assert combine_scales(maps, (1, 1), power=0.5, resampling="half_pixel").item() == 5


def test_resampling_is_passed_on():
    maps = combine_scales(
        [torch.tensor([[[0.0, 4.0]]])], (1, 5), power=1, resampling="corner_aligned"
    )
    assert maps.tolist() == [[[0, 1, 2, 3, 4]]]
