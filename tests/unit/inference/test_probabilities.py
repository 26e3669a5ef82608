"""Fusion of logits, and the probabilities of a segmentation network."""

from math import exp, log

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from seedbed.inference.probabilities import (
    MIN_PROBABILITY,
    Fusion,
    PredictionOptions,
    class_log_probabilities,
    found_classes,
    fuse_logits,
)
from seedbed.inference.refine import argmax_classes
from seedbed.inference.segmentation import SegmentationPipeline
from seedbed.methods.resampling import resize, resize_image
from seedbed.models import build
from stages.settings import CRFSettings

torch.set_num_threads(1)

CPU = torch.device("cpu")
PLAIN = {
    "scales": [1.0],
    "flip": True,
    "size": None,
    "resampling": "antialias",
    "fuse": "mean",
    "fuse_on": "image",
    "map_resampling": "half_pixel",
    "seed": 0,
    "precision": "float32",
}


def fusion(fuse, *, fuse_on="image", map_resampling="half_pixel"):
    return Fusion(fuse=fuse, fuse_on=fuse_on, map_resampling=map_resampling)


def probabilities_of(*args):
    """Probabilities of fused logits."""
    return fuse_logits(*args).exp()


@pytest.mark.parametrize(
    ("fuse", "logits"),
    # of (log 4, 0) and (0, log 2)
    [
        ("mean", (log(2), log(2) / 2)),
        ("sum", (log(4), log(2))),
        ("max", (log(4), log(2))),
        ("max_with_zero", (log(4), log(2))),
    ],
)
def test_fuse_by_hand(fuse, logits):
    outputs = [torch.tensor([log(4), 0.0]), torch.tensor([0.0, log(2)])]
    fused = probabilities_of([output.view(2, 1, 1) for output in outputs], (3, 2), fusion(fuse))
    first = exp(logits[0]) / (exp(logits[0]) + exp(logits[1]))
    assert fused.shape == (2, 3, 2)
    torch.testing.assert_close(fused[0], torch.full((3, 2), first))
    torch.testing.assert_close(fused.sum(0), torch.ones(3, 2))


def test_the_sum_lowers_the_temperature():
    outputs = [torch.tensor([log(3), 0.0]).view(2, 1, 1)] * 3
    probs = {
        fuse: float(probabilities_of(outputs, (1, 1), fusion(fuse))[0])
        for fuse in ("mean", "sum", "max")
    }
    assert probs["mean"] == probs["max"] == pytest.approx(3 / 4)
    assert probs["sum"] == pytest.approx(27 / 28)


def test_outputs_of_several_sizes_are_resized():
    small, large = torch.zeros(2, 1, 1), torch.zeros(2, 4, 4)
    large[0, :, 2:] = log(9)
    fused = probabilities_of([small, large], (4, 4), fusion("mean"))
    torch.testing.assert_close(fused[0, 0], torch.tensor([0.5, 0.5, 0.75, 0.75]))
    assert small.eq(0).all() and large[0, 0, 0] == 0


def test_maximum_with_zero():
    outputs = [torch.tensor([-log(4), log(2)]), torch.tensor([-log(2), -log(8)])]
    outputs = [output.view(2, 1, 1) for output in outputs]
    assert float(probabilities_of(outputs, (1, 1), fusion("max"))[0]) == pytest.approx(0.5 / 2.5)
    assert float(probabilities_of(outputs, (1, 1), fusion("max_with_zero"))[0]) == pytest.approx(
        1 / 3
    )
    assert float(
        probabilities_of(outputs[:1], (1, 1), fusion("max_with_zero"))[0]
    ) == pytest.approx(1 / 3)


def test_maximum_of_probabilities_by_hand():
    outputs = [torch.tensor([log(4), 0.0, -99]), torch.tensor([0.0, log(2), -99])]
    fused = probabilities_of(
        [output.view(3, 1, 1) for output in outputs], (2, 2), fusion("max_probabilities")
    )
    lifted = torch.tensor([0.8 + 1e-4, 2 / 3 + 1e-4, 1e-4]) / (1 + 3e-4)
    assert fused.shape == (3, 2, 2)
    torch.testing.assert_close(fused[:, 0, 1], lifted / lifted.sum())


def test_probabilities_not_logits_are_resized():
    logits = torch.tensor([[[0.0, log(9)]], [[0.0, 0.0]]])
    (middle,) = probabilities_of([logits], (1, 3), fusion("max_probabilities"))[0, :, 1].tolist()
    assert middle == pytest.approx((0.5 + 0.9) / 2, abs=1e-4)
    (middle,) = probabilities_of([logits], (1, 3), fusion("max"))[0, :, 1].tolist()
    assert middle == pytest.approx(0.75)


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, *size, generator=generator) * 3 for size in [(5, 7), (3, 4), (9, 12)]]


@pytest.mark.parametrize("how", ["half_pixel", "corner_aligned", "tf_legacy"])
def test_resampling_of_the_outputs(outputs, how):
    raised = [resize(output[None], (11, 17), how)[0] for output in outputs]
    found = probabilities_of(outputs, (11, 17), fusion("sum", map_resampling=how))
    torch.testing.assert_close(found, sum(raised).softmax(0))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("fuse", ["mean", "max", "max_probabilities"])
def test_fusion_on_the_largest_grid(outputs, fuse, order):
    if fuse == "max_probabilities":
        maps = [(output.softmax(0) + 1e-4) / (1 + 4e-4) for output in outputs]
    else:
        maps = outputs
    met = torch.stack([resize(one[None], (9, 12), "half_pixel")[0] for one in maps])
    fused = resize((met.mean(0) if fuse == "mean" else met.amax(0))[None], (11, 17), "half_pixel")
    expected = fused[0] / fused[0].sum(0) if fuse == "max_probabilities" else fused[0].softmax(0)
    shown = [outputs[i] for i in order]
    found = probabilities_of(shown, (11, 17), fusion(fuse, fuse_on="grid"))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(0), torch.ones(11, 17))
    assert not torch.allclose(found, probabilities_of(shown, (11, 17), fusion(fuse)), atol=1e-3)


def test_scaled_then_nearest_as_in_the_tensorflow_port(outputs):
    seen = [(22, 34), (8, 13), (11, 17)]
    expected = []
    for output, size in zip(outputs, seen, strict=True):
        at_scaled = resize(output[None], size, "tf_legacy")[0].numpy()
        factors = (1, 11 / size[0], 17 / size[1])
        expected.append(torch.from_numpy(zoom(at_scaled, factors, order=0)))
    port = fusion("max_with_zero", map_resampling="scaled_then_nearest")
    found = probabilities_of(outputs, (11, 17), port, seen)
    wanted = torch.stack([torch.zeros(4, 11, 17), *expected]).amax(0).softmax(0)
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match="shorter"):
        probabilities_of(outputs, (11, 17), port)


@pytest.fixture(scope="module")
def predicted():
    """Probabilities of an image by a network whose dropout stays active."""
    torch.manual_seed(0)
    model = build("vgg16_largefov", 3, dropout_in_eval=True).eval()
    torch.nn.init.normal_(model.head.fc8[0].weight, std=1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)

    def predict(name, **settings):
        options = PredictionOptions(**{**PLAIN, **settings})
        return class_log_probabilities(model, pixels, name, options, keep=(1, 2), device=CPU)[0]

    return predict


def test_active_dropout_depends_only_on_seed_and_image(predicted):
    first = predicted("a")
    torch.rand(5)
    other = predicted("b")
    np.testing.assert_array_equal(predicted("a"), first)
    assert not np.array_equal(other, first)  # the same pixels under another name
    assert not np.array_equal(predicted("a", seed=1), first)
    np.testing.assert_array_equal(predicted("b"), other)


def test_every_option_changes_the_result(predicted):
    two_scales = {"scales": [1.0, 0.5], "flip": True}
    changes = [
        {},
        {"size": 24},
        {"resampling": "bicubic"},
        {"map_resampling": "corner_aligned"},
        {"map_resampling": "scaled_then_nearest"},
        {"fuse": "max"},
        {"fuse_on": "grid"},
        {"flip": False},
        {"scales": [1.0]},
    ]
    maps = [predicted("a", **{**two_scales, **change}) for change in changes]
    assert {probabilities.shape for probabilities in maps} == {(3, 20, 28)}
    assert np.isfinite(maps).all()
    assert len({probabilities.tobytes() for probabilities in maps}) == len(changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(20, 28), (20, 28), (14, 20), (14, 20)]),
        ({"size": 24}, [(24, 24), (24, 24), (17, 17), (17, 17)]),
        ({"flip": False, "resampling": "tf_legacy"}, [(20, 28), (14, 19)]),  # 19.6 is truncated
    ],
)
def test_the_network_sees_the_sizes_that_the_fusion_is_told(
    predicted, monkeypatch, changes, expected
):
    told, seen = [], []

    def fuse(outputs, size, fusion, input_sizes):
        told.extend(input_sizes)
        return fuse_logits(outputs, size, fusion, input_sizes)

    def record(images, size, method):
        seen.append(size)
        return resize_image(images, size, method)

    monkeypatch.setattr("seedbed.inference.probabilities.fuse_logits", fuse)
    monkeypatch.setattr("seedbed.inference.multiscale.resize_image", record)
    options = {"scales": [1.0, 0.7], "flip": True, "map_resampling": "scaled_then_nearest"}
    predicted("a", **{**options, **changes})
    assert told == expected
    assert seen == list(dict.fromkeys(expected))


def test_only_probable_and_kept_classes_are_stored():
    class Constant(torch.nn.Module):
        def preprocess(self, images):
            return images

        def forward(self, images):
            logits = torch.tensor([-9.0, 5.0, -9.0, -9.0, 4.0])
            return logits[:, None, None].expand(len(images), 5, 2, 2)

    options = PredictionOptions(**PLAIN)
    image = np.zeros((4, 4, 3), np.uint8)
    stored, classes = class_log_probabilities(
        Constant(), image, "a", options, keep=(3,), device=CPU
    )
    assert classes == [0, 1, 3, 4] and stored.shape == (4, 4, 4) and stored.dtype == np.float16
    segmenter = SegmentationPipeline(
        model=Constant(), num_classes=5, options=options, crf=None, device=CPU
    )
    mask = segmenter.mask(image, "a", None)
    assert mask.dtype == np.uint8 and (mask == 1).all()
    assert (segmenter.mask(image, "a", [4]) == 4).all()


def test_a_class_is_stored_that_reaches_five_hundredths_at_some_pixel():
    probabilities = torch.zeros(4, 2, 2)
    probabilities[0] = 0.9
    probabilities[1, 1, 0], probabilities[2] = 0.05, 0.0499
    stored, classes = found_classes(probabilities.log(), ())
    assert classes == [0, 1] and np.isfinite(stored).all()
    np.testing.assert_allclose(np.exp(np.float32(stored[1])), [[0, 0], [0.05, 0]], rtol=2e-3)
    assert found_classes(probabilities.log(), (3,))[1] == [0, 1, 3]


@pytest.mark.parametrize("wrong", [{"fuse": "avg"}, {"fuse_on": "imag"}], ids=str)
def test_an_unknown_rule_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name} must be one of '.*, not '"):
        Fusion(**{"fuse": "mean", "fuse_on": "image", "map_resampling": "half_pixel"} | wrong)
    with pytest.raises(ValueError, match=f"^{name} must be one of "):
        PredictionOptions(**PLAIN | wrong)


def test_of_many_classes_the_best_is_stored_though_it_is_unlikely():
    logits = torch.randn(60, 9, 8, generator=torch.Generator().manual_seed(0)) / 5
    everywhere = logits.log_softmax(0)
    everywhere[:, 0, 0] = torch.full((60,), 0.5 / 59).log()
    everywhere[7, 0, 0] = log(0.5)
    assert (everywhere.exp().amax((1, 2)) >= MIN_PROBABILITY).sum() == 1
    stored, classes = found_classes(everywhere, ())
    assert 7 in classes and len(classes) < 60
    assert (argmax_classes(stored, classes) == everywhere.argmax(0).numpy()).all()


@pytest.mark.parametrize("gap", [17.0, 150.0, 1e6])
@pytest.mark.parametrize("crf", [None, CRFSettings(iterations=0).model_dump()])
def test_tags_compete_though_another_class_is_certain(gap, crf):
    class Sure(torch.nn.Module):
        def preprocess(self, images):
            return images

        def forward(self, images):
            logits = torch.tensor([0.0, gap, 1.0])
            return logits[:, None, None].expand(len(images), 3, 2, 2)

    options = PredictionOptions(**PLAIN)
    segmenter = SegmentationPipeline(
        model=Sure(), num_classes=3, options=options, crf=crf, device=CPU
    )
    image = np.zeros((4, 4, 3), np.uint8)
    assert (segmenter.mask(image, "a", None) == 1).all()
    if gap < 1e4:  # beyond, float16 holds no difference
        (background, tag), classes = segmenter.scores(image, "a", (2,))
        assert classes.tolist() == [0, 2]
        np.testing.assert_allclose(background + tag, 1, rtol=1e-6)
        np.testing.assert_allclose(tag, 1 / (1 + exp(-1)), atol=0.02)
    assert np.isfinite(segmenter.scores(image, "a", (2,))[0]).all()
