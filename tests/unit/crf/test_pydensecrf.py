"""The interface of pydensecrf on our solver, against pydensecrf itself."""

from pathlib import Path

import numpy as np
import pydensecrf.densecrf
import pydensecrf.utils
import pytest
from PIL import Image

from seedbed.crf.pydensecrf import densecrf, utils
from seedbed.crf.pydensecrf.densecrf import DenseCRF2D
from seedbed.crf.pydensecrf.utils import unary_from_labels, unary_from_softmax

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
            crf.addPairwiseGaussian((3, 3), 3, kernel=densecrf.FULL_KERNEL)
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
    for name in [name for name in dir(densecrf) if name.isupper()]:
        assert getattr(densecrf, name) == getattr(pydensecrf.densecrf, name)


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
        (lambda c: c.addPairwiseGaussian((3, 3, 3), 3), "a number above 0 or 2 of them"),
        (lambda c: c.addPairwiseGaussian(0, 3), "sxy must be a number above 0"),
        (lambda c: c.addPairwiseGaussian(3, np.eye(4)), "Potts"),
        (lambda c: c.addPairwiseGaussian(3, -1), "compat must be"),
        (lambda c: c.addPairwiseGaussian(3, 3, kernel=7), "DIAG_KERNEL"),
        (lambda c: c.addPairwiseGaussian(3, 3, normalization=0), "NORMALIZE_SYMMETRIC"),
        (lambda c: c.addPairwiseBilateral(80, (13, 13), GOOD, 3), "a number above 0 or 3 of them"),
        (lambda c: c.addPairwiseBilateral(80, (13, 0, 13), GOOD, 3), "srgb must be a number"),
        (lambda c: c.addPairwiseBilateral(1e-4, 13, GOOD, 3), "deviations are too small"),
        (lambda c: c.setUnaryEnergy(np.full((4, 2400), np.inf, np.float32)), "NaN or infinity"),
        (lambda c: c.addPairwiseEnergy(np.zeros((2, 9), np.float32), 3), r"\(any, 2400\), not"),
        (lambda c: c.addPairwiseEnergy(-np.ones((2, 2400), np.float32), 3), "0 or more"),
        (lambda c: c.addPairwiseEnergy(np.full((2, 2400), np.nan, np.float32), 3), "be finite"),
        (lambda c: c.stepInference(np.zeros((4, 2400))), "Q must be float32"),
        (lambda c: c.addPairwiseBilateral(80, 13, GOOD[1:], 3), r"rgbim must be uint8 \(40, 60, 3"),
        (lambda c: c.addPairwiseBilateral(80, 13, GOOD[..., ::-1], 3), "C-contiguous"),
        (lambda c: c.inference(5), "call setUnaryEnergy first"),
    ],
)
def test_refuses_what_it_does_not_support(call, reason):
    with pytest.raises(ValueError, match=reason):
        call(DenseCRF2D(WIDTH, HEIGHT, LABELS))


def both(build):
    """The posteriors of both after 5 iterations; `build` gets the module and its utilities."""
    ours, theirs = build(densecrf, utils), build(pydensecrf.densecrf, pydensecrf.utils)
    return np.array(ours.inference(5)), np.array(theirs.inference(5))


@pytest.mark.parametrize(
    "kernels",
    [
        lambda c, image: c.addPairwiseGaussian((3, 5), 3),
        lambda c, image: c.addPairwiseBilateral((80, 20), 13, image, 10),
        lambda c, image: c.addPairwiseBilateral(30, (13, 5, 20), image, np.float64(10)),
        lambda c, image: [c.addPairwiseGaussian(deviation, 2) for deviation in (2, 6)],
        lambda c, image: [c.addPairwiseBilateral(s, 13, image, np.float32(3)) for s in (9, 40)],
        lambda c, image: [c.addPairwiseGaussian(3, 2), c.addPairwiseBilateral(9, 5, image, 0)],
    ],
)
def test_kernels_that_the_native_solver_does_not_have(kernels):
    image, labels = scene()
    unary = unary_from_labels(labels, LABELS, gt_prob=0.7)

    def build(module, tools):
        crf = module.DenseCRF2D(WIDTH, HEIGHT, LABELS)
        crf.setUnaryEnergy(unary)
        kernels(crf, image)
        return crf

    ours, reference = both(build)
    np.testing.assert_allclose(ours, reference, atol=2e-3)
    assert (ours.argmax(0) == reference.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 5)])
def test_features_are_those_of_pydensecrf(shape):
    image = np.random.default_rng(0).random((2, *shape)) * 9
    deviations = [2.0, 3, 0.5][: len(shape)]
    expected = pydensecrf.utils.create_pairwise_gaussian(deviations, shape)
    np.testing.assert_allclose(utils.create_pairwise_gaussian(deviations, shape), expected)
    for schan, values, axis in ((3, image, 0), ((3, 5), image, 0), (3, image[0], -1)):
        arguments = (deviations, schan, values, axis)
        found = utils.create_pairwise_bilateral(*arguments)
        expected = pydensecrf.utils.create_pairwise_bilateral(*arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.dtype == np.float32 and found.flags.c_contiguous
    with pytest.raises(ValueError, match="schan has 3 values for 2"):
        utils.create_pairwise_bilateral(deviations, (1, 2, 3), image, 0)
    with pytest.raises(ValueError, match="sdims has"):
        utils.create_pairwise_gaussian([1.0] * 4, shape)


# The examples of pydensecrf, written anew: an annotation refined with features of any kind, the
# same step by step with its divergence, and an image of a single channel that is no RGB.
def annotated(module, tools, number):
    """The CRF of a photograph with the example's features in place of the 2-D kernels."""
    image = np.array(Image.open(IMAGES / f"im{number}.png").convert("RGB"))
    annotation = np.array(Image.open(IMAGES / f"anno{number}.png").convert("L"))
    _, labels = np.unique(annotation, return_inverse=True)
    count = labels.max() + 1
    crf = module.DenseCRF(labels.size, count)
    crf.setUnaryEnergy(tools.unary_from_labels(labels, count, 0.7, zero_unsure=False))
    position = tools.create_pairwise_gaussian(sdims=(3, 3), shape=image.shape[:2])
    crf.addPairwiseEnergy(position, compat=3)
    colour = tools.create_pairwise_bilateral(sdims=(80, 80), schan=(13, 13, 13), img=image, chdim=2)
    crf.addPairwiseEnergy(colour, compat=10)
    return crf


@pytest.mark.skipif(not IMAGES.is_dir(), reason=f"no photographs in {IMAGES}")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_example_with_features(number):
    ours, reference = both(lambda *modules: annotated(*modules, number))
    assert (ours.argmax(0) == reference.argmax(0)).mean() >= 0.9999


def step_by_step(module, tools):
    """Posterior and divergence a pixel after each of five steps."""
    image, labels = scene()
    crf = module.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.setUnaryEnergy(tools.unary_from_labels(labels, LABELS, 0.7))
    crf.addPairwiseGaussian(sxy=(3, 3), compat=3)
    crf.addPairwiseBilateral((30, 30), (13, 13, 13), rgbim=image, compat=10)
    assert (crf.npixels() if module is densecrf else WIDTH * HEIGHT) == WIDTH * HEIGHT
    state, divergences = crf.startInference(), []
    for _ in range(5):
        divergences.append(crf.klDivergence(state[0]) / (WIDTH * HEIGHT))
        crf.stepInference(*state)
    return np.array(state[0]), divergences, np.array(crf.inference(5))


def test_example_step_by_step():
    ours, ours_kl, whole = step_by_step(densecrf, utils)
    reference, reference_kl, _ = step_by_step(pydensecrf.densecrf, pydensecrf.utils)
    np.testing.assert_allclose(ours, reference, atol=2e-3)
    np.testing.assert_allclose(ours_kl, reference_kl, rtol=1e-4, atol=1e-4)
    assert ours_kl == sorted(ours_kl, reverse=True)
    np.testing.assert_allclose(ours, whole, atol=2e-3)


def test_example_without_rgb():
    rng = np.random.default_rng(0)
    height, width = 40, 52
    distance = np.hypot(*(np.indices((height, width)) - np.array([20, 26])[:, None, None]))
    probability = 1 / (1 + np.exp((distance - 12) / 6)) + rng.normal(0, 0.1, (height, width))
    probability = probability.clip(0.01, 0.99)
    energies = np.stack([1 - probability, probability])

    def build(module, tools):
        crf = module.DenseCRF2D(width, height, 2)
        crf.setUnaryEnergy(tools.unary_from_softmax(energies))
        values = np.float32(distance < 14)[:, :, None]
        bilateral = tools.create_pairwise_bilateral((10, 10), (0.01,), values, chdim=2)
        crf.addPairwiseEnergy(bilateral, compat=10)
        return crf

    ours, reference = both(build)
    np.testing.assert_allclose(ours, reference, atol=2e-3)
    assert (ours.argmax(0) == reference.argmax(0)).all()
