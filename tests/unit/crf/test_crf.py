"""Dense CRF: against an exact mean field, at its limits, and the inputs that it refuses."""

import numpy as np
import pytest
import torch

from seedbed.crf import DenseCRFGrid, dense_crf, unary_from_probabilities

PARAMS = {
    "iterations": 10,
    "gaussian_weight": 3,
    "gaussian_sxy": 3,
    "bilateral_weight": 10,
    "bilateral_sxy": 80,
    "bilateral_srgb": 13,
}
GRID = PARAMS | {"gaussian_sxy": 3 / 12, "bilateral_sxy": 80 / 12}


def softmax(x):
    x = np.exp(x - x.max(axis=0))
    return x / x.sum(axis=0)


def kernel(features):
    distance = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    k = np.exp(-distance / 2)
    scale = 1 / np.sqrt(k.sum(axis=1))
    return scale[:, None] * k * scale


def exact_mean_field(image, unary, p):
    """Mean field with whole kernel matrices, the pixel itself included."""
    height, width = image.shape[:2]
    place = np.indices((height, width)).reshape(2, -1).T.astype(float)
    colour = image.reshape(-1, 3).astype(float)
    both = np.hstack([place / p["bilateral_sxy"], colour / p["bilateral_srgb"]])
    message = p["gaussian_weight"] * kernel(place / p["gaussian_sxy"])
    message = message + p["bilateral_weight"] * kernel(both)
    energies = unary.reshape(len(unary), -1).astype(float)
    q = softmax(-energies)
    for _ in range(p["iterations"]):
        q = softmax(q @ message - energies)
    return q.reshape(unary.shape)


def scene(seed, height=12, width=10, channels=3):
    """A picture of a bright disc, and noisy probabilities that roughly follow it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    centre = rng.uniform(3, 8, 2)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    disc = 1 / (1 + np.exp(4 * (distance - 3)))
    image = np.stack([60 + 150 * disc, 90 + 60 * disc, 120 - 80 * disc], axis=-1)
    image = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    logits = rng.normal(0, 0.3, (channels, height, width))
    logits[1] += 3 - distance
    return image, softmax(logits).astype(np.float32)


def assert_distribution(posterior):
    assert np.isfinite(posterior).all()
    assert (posterior >= 0).all()
    np.testing.assert_allclose(posterior.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("params", [PARAMS, GRID], ids=["image", "grid"])
def test_agrees_with_exact_mean_field(params):
    same = []
    for seed in range(12):
        image, probs = scene(seed)
        unary = unary_from_probabilities(probs)
        ours = dense_crf(image, unary, params).argmax(axis=0)
        same.append(ours == exact_mean_field(image, unary, params).argmax(axis=0))
    assert np.mean(same) >= 0.97


def test_cleans_a_noisy_square():
    image = np.full((40, 40, 3), 30, np.uint8)
    image[10:30, 10:30] = (200, 180, 20)
    truth = (image[..., 0] > 100).astype(int)
    flipped = np.random.default_rng(0).random(truth.shape) < 0.2
    rough = np.where(flipped, 1 - truth, truth)
    probs = np.where(np.arange(2)[:, None, None] == rough, 0.7, 0.3)
    assert (dense_crf(image, unary_from_probabilities(probs), PARAMS).argmax(0) == truth).all()


def test_message_includes_the_pixel_itself():
    # Normalised, a kernel narrower than a pixel is the identity: the message is weight · q.
    image = np.zeros((4, 4, 3), np.uint8)
    unary = unary_from_probabilities(scene(3, 4, 4, 2)[1])
    identity = GRID | {"bilateral_weight": 0, "gaussian_sxy": 0.1, "iterations": 1}
    q = softmax(-unary)
    expected = softmax(3 * q - unary)
    np.testing.assert_allclose(dense_crf(image, unary, identity), expected, atol=1e-3)


def test_no_iterations_is_softmax():
    image, probs = scene(1)
    posterior = dense_crf(image, -np.log(probs), PARAMS | {"iterations": 0})
    np.testing.assert_allclose(posterior, probs, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (7, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 2, 81])
@pytest.mark.parametrize("params", [PARAMS, GRID], ids=["image", "grid"])
@pytest.mark.parametrize(
    "change", [lambda u: u, lambda u: 50 * u, lambda u: u - 1000], ids=["plain", "x50", "-1000"]
)
def test_stays_a_distribution(size, channels, params, change):
    rng = np.random.default_rng(0)
    unary = change(rng.random((channels, *size)).astype(np.float32))
    for image in (np.zeros((*size, 3)), rng.integers(0, 256, (*size, 3))):
        posterior = dense_crf(image.astype(np.uint8), unary, params)
        assert posterior.shape == unary.shape
        assert posterior.dtype == np.float32
        assert_distribution(posterior)


def test_shape_is_height_then_width():
    image, probs = scene(2, 12, 7)
    unary = unary_from_probabilities(probs)
    upright = dense_crf(image, unary, PARAMS)
    turned = dense_crf(image.transpose(1, 0, 2), unary.transpose(0, 2, 1), PARAMS)
    assert (upright.argmax(0) == turned.argmax(0).T).mean() > 0.97


def test_inputs_are_not_changed_and_bytes_repeat():
    image, probs = scene(4)
    unary = unary_from_probabilities(probs)
    copies = image.copy(), unary.copy()
    first, second = (dense_crf(image, unary, PARAMS) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert (image == copies[0]).all() and (unary == copies[1]).all()


def test_tensors_and_lists():
    scenes = [scene(seed, 6 + seed, 9) for seed in range(3)]
    images = [image for image, _ in scenes]
    unaries = [unary_from_probabilities(probs) for _, probs in scenes]
    alone = [dense_crf(*pair, PARAMS) for pair in zip(images, unaries, strict=True)]
    for single, listed in zip(alone, dense_crf(images, unaries, PARAMS), strict=True):
        np.testing.assert_array_equal(single, listed)
    leaf = torch.from_numpy(unaries[0]).requires_grad_()
    tensor = dense_crf(torch.from_numpy(images[0]), leaf, PARAMS)
    assert isinstance(tensor, torch.Tensor) and not tensor.requires_grad
    np.testing.assert_array_equal(tensor.numpy(), alone[0])


def test_unary_from_probabilities():
    probs = np.array([0.0, 0.5, 1.0], np.float32)
    expected = [-np.log(1e-5), np.log(2), 0]
    np.testing.assert_allclose(unary_from_probabilities(probs), expected, rtol=1e-6)
    tensor = unary_from_probabilities(torch.from_numpy(probs), floor=1e-4)
    np.testing.assert_allclose(tensor[0], -np.log(1e-4), rtol=1e-6)
    with pytest.raises(ValueError, match="floor"):
        unary_from_probabilities(probs, floor=0)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"image": np.zeros((5, 6, 3))}, "image must be uint8"),
        ({"image": np.zeros((3, 5, 6), np.uint8)}, "image must have the shape"),
        ({"image": np.zeros((5, 6), np.uint8)}, "image must have the shape"),
        ({"unary": np.zeros((2, 6, 5))}, r"unary must have the shape \(C, 5, 6\), not"),
        ({"unary": np.zeros((0, 5, 6))}, "unary must have the shape"),
        ({"unary": np.full((2, 5, 6), np.nan)}, "unary holds NaN"),
        ({"unary": np.full((2, 5, 6), 1e300)}, "unary holds NaN or infinity"),
        ({"params": PARAMS | {"gaussian_sxy": -1}}, "gaussian_sxy"),
        ({"params": PARAMS | {"bilateral_srgb": 0}}, "bilateral_srgb"),
        ({"params": PARAMS | {"bilateral_weight": float("nan")}}, "bilateral_weight"),
        ({"params": PARAMS | {"iterations": 2.5}}, "iterations"),
        ({"params": PARAMS | {"iterations": "10"}}, "iterations"),
        ({"params": PARAMS | {"sigma": 1}}, "unknown or missing sigma"),
        ({"params": {k: v for k, v in PARAMS.items() if k != "iterations"}}, "missing iterations"),
        ({"image": [np.zeros((5, 6, 3), np.uint8)]}, "unary must be a list of 1"),
    ],
)
def test_refuses(changed, named):
    good = {"image": np.zeros((5, 6, 3), np.uint8), "unary": np.zeros((2, 5, 6)), "params": PARAMS}
    with pytest.raises(ValueError, match=named):
        dense_crf(**(good | changed))


@pytest.fixture
def batch():
    scenes = [scene(seed) for seed in range(2)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _ in scenes])
    return images, torch.stack([torch.from_numpy(probs) for _, probs in scenes])


def test_grid_is_dense_crf_of_each_image(batch):
    images, probs = batch
    leaf = probs.clone().requires_grad_()
    posterior = DenseCRFGrid(**GRID)(images, -leaf)
    assert posterior.shape == probs.shape and not posterior.requires_grad
    for image, prob, ours in zip(images, probs, posterior, strict=True):
        expected = dense_crf(image.permute(1, 2, 0).numpy(), -prob.numpy(), GRID)
        np.testing.assert_array_equal(ours.numpy(), expected)


def test_grid_with_labels_leaves_absent_channels_out(batch):
    images, probs = batch
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
    posterior = DenseCRFGrid(**GRID)(images, -probs, labels)
    assert (posterior[0, 1] == 0).all() and (posterior[1] == 0).all()
    expected = dense_crf(images[0].permute(1, 2, 0), -probs[0, [0, 2]], GRID)
    assert torch.equal(posterior[0, [0, 2]], expected)
    everything = DenseCRFGrid(**GRID)(images, -probs, torch.ones(2, 3))
    assert torch.equal(everything, DenseCRFGrid(**GRID)(images, -probs))


def test_grid_refuses(batch):
    images, probs = batch
    with pytest.raises(ValueError, match="bilateral_sxy"):
        DenseCRFGrid(**(GRID | {"bilateral_sxy": 0}))
    with pytest.raises(ValueError, match="labels"):
        DenseCRFGrid(**GRID)(images, -probs, torch.ones(2, 4))
    with pytest.raises(ValueError, match="images and unary"):
        DenseCRFGrid(**GRID)(images[:1], -probs)
    with pytest.raises(ValueError, match="image must be uint8"):
        DenseCRFGrid(**GRID)(images.float(), -probs)
