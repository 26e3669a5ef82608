"""The CRF whose messages come from every n-th pixel only."""

import numpy as np
import pytest
import torch

from seedbed.crf import DenseCRFGrid, dense_crf
from seedbed.crf.parameters import CRFParameters
from tests.unit.crf.test_backends import OURS, energies, picture
from tests.unit.crf.test_crf import PARAMS

torch.set_num_threads(1)

NARROW = PARAMS | {"gaussian_sxy": 2, "bilateral_sxy": 6}


def senders(height, width, stride):
    rows, columns = np.indices((height, width))
    return ((rows % stride == 0) & (columns % stride == 0)).ravel()


@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize("stride", [1, 2, 3, 17])
@pytest.mark.parametrize("size", [(18, 23), (1, 40), (40, 1), (1, 1), (2, 2), (33, 16)])
def test_only_the_senders_energies_matter_elsewhere(backend, stride, size):
    """What the others believe reaches no other pixel."""
    image, unary = picture(*size), energies(5, *size)
    params = PARAMS | {"gaussian_sxy": 20, "stride": stride, "backend": backend}
    changed = unary.copy().reshape(5, -1)
    silent = ~senders(*size, stride)
    changed[:, silent] = energies(5, *size, seed=9).reshape(5, -1)[:, silent]
    before, after = (dense_crf(image, u, params) for u in (unary, changed.reshape(unary.shape)))
    kept = senders(*size, stride)
    np.testing.assert_array_equal(before.reshape(5, -1)[:, kept], after.reshape(5, -1)[:, kept])
    np.testing.assert_allclose(after.sum(0), 1, atol=1e-5)


def exact(image, unary, params):
    """By the definition, with a dense matrix instead of a lattice."""
    channels, height, width = unary.shape
    rows, columns = np.indices((height, width))
    place = np.stack([columns, rows], -1).reshape(-1, 2)
    colour = image.reshape(-1, 3) / params["bilateral_srgb"]
    sending = senders(height, width, params["stride"])
    kernel = 0
    for weight, features in [
        (params["gaussian_weight"], place / params["gaussian_sxy"]),
        (params["bilateral_weight"], np.hstack([place / params["bilateral_sxy"], colour])),
    ]:
        squares = ((features[:, None] - features) ** 2).sum(-1)
        k = np.exp(-squares / 2) * sending
        scale = k.sum(1) ** -0.5
        kernel = kernel + weight * scale[:, None] * k * scale
    logits = -unary.reshape(channels, -1).T
    posterior = torch.from_numpy(logits).softmax(1).numpy()
    for _ in range(params["iterations"]):
        posterior = torch.from_numpy(logits + kernel @ posterior).softmax(1).numpy()
    return posterior.T.reshape(unary.shape)


@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize("stride", [1, 2])
def test_is_as_near_to_the_definition_as_without_stride(backend, stride):
    image, unary = picture(24, 30), energies(3, 24, 30)
    params = NARROW | {"gaussian_weight": 1, "bilateral_weight": 2, "stride": stride}
    expected = exact(image, unary, params)
    found = dense_crf(image, unary, params | {"backend": backend})
    assert np.abs(found - expected).mean() < 0.04
    assert (found.argmax(0) == expected.argmax(0)).mean() > 0.93


@pytest.mark.parametrize("labels", [1, 2, 8, 9, 21, 33, 80])
@pytest.mark.parametrize("stride", [2, 3])
def test_both_backends_agree(labels, stride):
    image, unary = picture(21, 35), energies(labels, 21, 35)
    params = PARAMS | {"stride": stride}
    ours, tensors = (dense_crf(image, unary, params | {"backend": b}) for b in ("auto", "torch"))
    np.testing.assert_allclose(ours, tensors, atol=1e-4)


def test_stride_1_is_the_default():
    image, unary = picture(20, 30), energies(4, 20, 30)
    explicit = dense_crf(image, unary, PARAMS | {"stride": 1})
    assert (explicit == dense_crf(image, unary, PARAMS)).all()
    assert CRFParameters.from_mapping(PARAMS).stride == 1


@pytest.mark.parametrize("backend", OURS)
def test_lattices_of_another_stride_are_not_taken_from_the_cache(backend):
    image, unary = picture(20, 30), energies(4, 20, 30)
    one, two = ({"stride": stride, "backend": backend} for stride in (1, 2))
    results = [dense_crf(image, unary, PARAMS | extra) for extra in (one, two, one, two)]
    assert (results[0] == results[2]).all() and (results[1] == results[3]).all()
    assert np.abs(results[0] - results[1]).max() > 1e-3


def test_grids_take_a_stride_too():
    images = torch.from_numpy(picture(13, 17)).permute(2, 0, 1)[None]
    unary = torch.from_numpy(energies(5, 13, 17))[None]
    found = DenseCRFGrid(**NARROW, stride=2)(images, unary)[0].numpy()
    expected = dense_crf(picture(13, 17), energies(5, 13, 17), NARROW | {"stride": 2})
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": 0}, "stride must be a whole number, 1 or more, not 0"),
        ({"stride": 1.5}, "stride must be a whole number, 1 or more, not 1.5"),
        ({"stride": 4}, r"stride 4 must not exceed gaussian_sxy and bilateral_sxy \(3 and 80"),
        ({"stride": 2, "backend": "pydensecrf"}, "pydensecrf has no stride"),
    ],
)
def test_refuses_a_stride(changed, message):
    with pytest.raises(ValueError, match=message):
        dense_crf(picture(9, 9), energies(2, 9, 9), PARAMS | changed)
