"""The interface of pydensecrf on our solver, against pydensecrf itself."""

from pathlib import Path

import numpy as np
import pydensecrf.densecrf
import pydensecrf.utils
import pytest
from PIL import Image

from seedbed.crf import DenseCRF2D, densecrf2d
from seedbed.crf.densecrf2d import unary_from_labels, unary_from_softmax

IMAGES = Path(__file__).parents[4] / "shared" / "crf-images"
HEIGHT, WIDTH, LABELS = 40, 60, 4


def scene(seed=0):
    """A noisy image uint8 (H, W, 3) of four stripes, and a noisy annotation 0 to 4 of them."""
    rng = np.random.default_rng(seed)
    stripes = np.repeat(np.arange(LABELS), WIDTH // LABELS)[None].repeat(HEIGHT, 0)
    image = np.stack([60 * stripes, 200 - 50 * stripes, 90 + 0 * stripes], axis=-1)
    noisy = (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
    wrong = rng.random(stripes.shape) < 0.3
    return noisy, np.where(wrong, rng.integers(0, LABELS + 1, stripes.shape), stripes + 1)


def infer(crf_class, image, unary, iterations=5):
    crf = crf_class(image.shape[1], image.shape[0], len(unary))
    crf.setUnaryEnergy(unary)
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=(80, 80), srgb=(13, 13, 13), rgbim=image, compat=10)
    return np.array(crf.inference(iterations))


def test_posterior_is_that_of_pydensecrf():
    image, labels = scene()
    unary = unary_from_labels(labels, LABELS, gt_prob=0.7)
    ours, reference = (infer(c, image, unary) for c in (DenseCRF2D, pydensecrf.densecrf.DenseCRF2D))
    assert ours.shape == reference.shape == (LABELS, HEIGHT * WIDTH)
    assert ours.dtype == reference.dtype == np.float32
    np.testing.assert_allclose(ours, reference, atol=1e-3)
    assert (ours.argmax(0) == reference.argmax(0)).mean() >= 0.9999


@pytest.mark.skipif(not IMAGES.is_dir(), reason=f"no photographs in {IMAGES}")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_labels_of_photographs_are_those_of_pydensecrf(number):
    image = np.array(Image.open(IMAGES / f"im{number}.png").convert("RGB"))
    annotation = np.array(Image.open(IMAGES / f"anno{number}.png").convert("RGB"))
    colours = annotation.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    values, labels = np.unique(colours, return_inverse=True)
    unsure = bool(values[0] == 0)  # black is unknown, as in pydensecrf's example
    count = len(values) - unsure
    unary = unary_from_labels(labels, count, gt_prob=0.7, zero_unsure=unsure)
    ours, reference = (infer(c, image, unary) for c in (DenseCRF2D, pydensecrf.densecrf.DenseCRF2D))
    assert (ours.argmax(0) == reference.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize("kernels", [(), ("gaussian",), ("bilateral",)])
def test_a_kernel_may_be_left_out(kernels):
    image, labels = scene()
    unary = unary_from_labels(labels, LABELS, gt_prob=0.7)

    def posterior(crf_class):
        crf = crf_class(WIDTH, HEIGHT, LABELS)
        crf.setUnaryEnergy(unary)
        if "gaussian" in kernels:
            crf.addPairwiseGaussian((3, 3), 3, kernel=densecrf2d.FULL_KERNEL)
        if "bilateral" in kernels:
            crf.addPairwiseBilateral(80, 13, image, 10, normalization=3)
        return np.array(crf.inference(5))

    ours, reference = posterior(DenseCRF2D), posterior(pydensecrf.densecrf.DenseCRF2D)
    np.testing.assert_allclose(ours, reference, atol=1e-3)


def test_inputs_are_copied():
    image, labels = scene()
    unary = unary_from_labels(labels, LABELS, gt_prob=0.7)
    expected = infer(DenseCRF2D, image, unary)
    crf = DenseCRF2D(WIDTH, HEIGHT, LABELS)
    energies, pixels = unary.copy(), image.copy()
    crf.setUnaryEnergy(energies)
    crf.addPairwiseGaussian(3, 3)
    crf.addPairwiseBilateral(80, 13, pixels, 10)
    energies[:], pixels[:] = 0, 0
    np.testing.assert_array_equal(crf.inference(5), expected)


def test_constants_are_those_of_pydensecrf():
    for name in [name for name in dir(densecrf2d) if name.isupper()]:
        assert getattr(densecrf2d, name) == getattr(pydensecrf.densecrf, name)


@pytest.mark.parametrize("zero_unsure", [True, False])
def test_unary_from_labels(zero_unsure):
    labels = np.random.default_rng(0).integers(0, 4, (5, 7))
    arguments = (labels, 4, 0.6, zero_unsure)
    expected = pydensecrf.utils.unary_from_labels(*arguments)
    np.testing.assert_allclose(unary_from_labels(*arguments), expected, rtol=1e-6)
    assert unary_from_labels(*arguments).dtype == np.float32
    with pytest.raises(ValueError, match="gt_prob"):
        unary_from_labels(labels, 4, 1)


@pytest.mark.parametrize(("scale", "clip"), [(None, 1e-5), (0.7, 1e-5), (0.7, None)])
def test_unary_from_softmax(scale, clip):
    probs = np.random.default_rng(0).dirichlet(np.full(3, 0.05), (5, 7)).transpose(2, 0, 1)
    expected = pydensecrf.utils.unary_from_softmax(probs, scale, clip)
    np.testing.assert_allclose(unary_from_softmax(probs, scale, clip), expected, rtol=1e-6)
    assert unary_from_softmax(probs).shape == (3, 35)
    with pytest.raises(ValueError, match="scale"):
        unary_from_softmax(probs, scale=0)


GOOD = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda c: c.setUnaryEnergy(np.zeros((4, 2400))), "float32 .* not float64"),
        (lambda c: c.setUnaryEnergy(np.zeros((3, 2400), np.float32)), r"\(4, 2400\), not"),
        (lambda c: c.setUnaryEnergy(np.zeros((2400, 4), np.float32).T), "C-contiguous"),
        (lambda c: c.addPairwiseGaussian((3, 5), 3), "between the axes are not supported"),
        (lambda c: c.addPairwiseGaussian((3, 3, 3), 3), "a number above 0 or 2 equal ones"),
        (lambda c: c.addPairwiseGaussian(0, 3), "sxy must be a number above 0"),
        (lambda c: c.addPairwiseGaussian(3, np.eye(4)), "Potts"),
        (lambda c: c.addPairwiseGaussian(3, -1), "compat must be"),
        (lambda c: c.addPairwiseGaussian(3, 3, kernel=7), "DIAG_KERNEL"),
        (lambda c: c.addPairwiseGaussian(3, 3, normalization=0), "NORMALIZE_SYMMETRIC"),
        (lambda c: [c.addPairwiseGaussian(3, 3) for _ in range(2)], "only one Gaussian"),
        (lambda c: c.addPairwiseBilateral(80, (13, 13, 1), GOOD, 3), "between the colours"),
        (lambda c: c.addPairwiseBilateral(80, 13, GOOD[1:], 3), r"rgbim must be uint8 \(40, 60, 3"),
        (lambda c: c.addPairwiseBilateral(80, 13, GOOD[..., ::-1], 3), "C-contiguous"),
        (lambda c: [c.addPairwiseBilateral(80, 13, GOOD, 3) for _ in "ab"], "only one bilateral"),
        (lambda c: c.inference(5), "call setUnaryEnergy first"),
    ],
)
def test_refuses_what_it_does_not_support(call, reason):
    with pytest.raises(ValueError, match=reason):
        call(DenseCRF2D(WIDTH, HEIGHT, LABELS))
