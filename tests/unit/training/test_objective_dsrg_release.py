"""A training step of DSRG against the same step written down anew from the Caffe release.

Image, CRF, growing and losses are computed one image after the other with SciPy and pydensecrf, in
the release's order of channels.
"""

import numpy as np
import pytest
import torch
from pydensecrf.densecrf import DenseCRF2D
from scipy.ndimage import label, zoom
from torch import nn

from seedbed.crf import DenseCRFGrid
from seedbed.training.objectives import dsrg
from stages.settings import DSRGSettings
from tests.unit.crf.test_backends import OURS

torch.set_num_threads(1)

MEAN = np.array([104.0, 117.0, 123.0])  # of blue, green and red
CLASSES, SIDE, GRID = 21, 321, 41


class Logits(nn.Module):
    """A network that gives the same logits for every image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits).float())

    def preprocess(self, images):
        return images

    def forward(self, images):
        return self.logits


def crf_image(image):
    """The 41 × 41 image of the CRF, BGR uint8, of the network's input (3, 321, 321), BGR − MEAN."""
    steps = (GRID / SIDE, GRID / SIDE, 1)
    return np.round(zoom(image.transpose(1, 2, 0), steps, order=1) + MEAN).astype(np.uint8)


def refine(small, p):
    """The posterior (21, 41, 41) of the release's CRF layer."""
    crf = DenseCRF2D(GRID, GRID, CLASSES)
    crf.setUnaryEnergy(np.ascontiguousarray(-p.reshape(CLASSES, -1), np.float32))
    crf.addPairwiseGaussian(sxy=3 / 12, compat=3)
    crf.addPairwiseBilateral(sxy=80 / 12, srgb=13, rgbim=np.ascontiguousarray(small), compat=10)
    q = np.array(crf.inference(10), float).reshape(p.shape).clip(1e-4)
    return q / q.sum(0)


def grow(cues, q, tags):
    """The cues (21, 41, 41) after growing, class by class, at 0.85 and 0.99."""
    present = np.flatnonzero(tags)
    best, value = present[q[present].argmax(0)], q[present].max(0)
    classes = np.where(cues.any(0), CLASSES - 1 - cues[::-1].argmax(0), -1)
    sure = (value > 0.85) & ((best > 0) | (value > 0.99))
    classes[sure] = best[sure]
    grown = cues.copy()
    for c in present:
        numbers, _ = label(classes == c, np.ones((3, 3)))
        met = np.unique(numbers[(numbers > 0) & cues[c]])
        other = (cues.sum(0) == 1) & ~cues[c]
        grown[c] |= np.isin(numbers, met) & (numbers > 0) & ~other
    return grown


def losses(p, q, grown):
    """Seed loss and constraint loss of one image."""
    seed = 0.0
    for part in (slice(0, 1), slice(1, None)):
        seed -= (grown[part] * np.log(p[part])).sum() / max(grown[part].sum(), 1e-4)
    return seed, (q * np.log((q / p).clip(0.05, 20))).sum(0).mean()


@pytest.fixture(scope="module")
def inputs():
    """Images RGB (2, 3, 321, 321) of coloured patches, logits, tags and cues of a fair network."""
    rng = np.random.default_rng(3)
    classes = rng.choice([0, 0, 3, 9], (2, 6, 6)).repeat(7, 1).repeat(7, 2)[:, :GRID, :GRID]
    colours = rng.uniform(40, 215, (CLASSES, 3))[classes].repeat(8, 1).repeat(8, 2)
    images = (colours[:, :SIDE, :SIDE] + rng.normal(0, 18, (2, SIDE, SIDE, 3))).clip(0, 255).round()
    truth = np.eye(CLASSES)[classes].transpose(0, 3, 1, 2)
    logits = rng.normal(0, 1.2, truth.shape) + 3 * truth
    tags = np.zeros((2, CLASSES))
    tags[:, [0, 3, 9]] = 1
    cues = (truth > 0) & (rng.random(truth.shape) < 0.05)
    return images.transpose(0, 3, 1, 2), logits, tags, cues


def released(images, logits, tags, cues):
    """Grown cues (2, 21, 41, 41) and both losses of a step of the release for BGR images."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True) + 1e-4
    p /= p.sum(1, keepdims=True)
    smalls = [crf_image(image - MEAN[:, None, None]) for image in images]
    q = np.stack([refine(*pair) for pair in zip(smalls, p, strict=True)])
    grown = np.stack([grow(*image) for image in zip(cues, q, tags, strict=True)])
    both = np.mean([losses(*image) for image in zip(p, q, grown, strict=True)], 0)
    return grown, *both


@pytest.mark.parametrize("backend", OURS)
def test_a_step_is_that_of_the_release(inputs, make_batch, monkeypatch, backend):
    images, logits, tags, cues = inputs
    grown, seed, constraint = released(images[:, ::-1], logits, tags, cues)
    options = DSRGSettings(crf={"backend": backend}).model_dump()
    found = []
    grow_seeds = dsrg.grow_seeds
    monkeypatch.setattr(
        dsrg, "grow_seeds", lambda *a, **k: found.append(grow_seeds(*a, **k)) or found[0]
    )
    objective = dsrg.SeedGrowingObjective(DenseCRFGrid(**options.pop("crf")), **options)
    batch = make_batch(torch.from_numpy(images).float(), tags, targets=torch.from_numpy(cues))
    figures = objective(Logits(logits), batch, 0)
    np.testing.assert_array_equal(found[0].numpy(), grown)
    assert figures["seed_loss"].item() == pytest.approx(seed, rel=1e-5)
    assert figures["constraint_loss"].item() == pytest.approx(constraint, rel=1e-5)


def test_the_case_depends_on_the_order_of_channels(inputs):
    """So the comparison above would notice images in the order red, green, blue."""
    images, *others = inputs
    bgr, rgb = (released(order, *others)[0] for order in (images[:, ::-1], images))
    assert (bgr != rgb).any(1).mean() > 0.01 and bgr.sum() > 2 * others[2].sum()
