"""Tiles of large images: how they lie, how they are blended, and what their masks are."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seedbed.data.images import Decoded
from seedbed.data.rasters import DecodedRaster
from seedbed.inference.probabilities import PredictionOptions, class_log_probabilities
from seedbed.inference.regions import RegionViews
from seedbed.inference.segmentation import SegmentationPipeline
from seedbed.inference.tiles import ALIGNMENT, RowBlender, Tiling
from seedbed.methods.regions import Part
from seedbed.models import build
from seedbed.models.network import Backbone, Network, Preprocessing
from tests.support import fake_timm

torch.set_num_threads(1)

CPU = torch.device("cpu")
TILINGS = [(64, 32), (64, 0), (96, 31), (100, 50), (128, 1), (160, 40)]
OPTIONS = {"scales": [1.0], "flip": True, "size": None, "resampling": "antialias"}
OPTIONS |= {"fuse": "mean", "fuse_on": "image", "map_resampling": "half_pixel", "seed": 0}
OPTIONS["precision"] = "float32"
CRF = {"iterations": 5, "gaussian_weight": 3, "gaussian_sxy": 3, "bilateral_weight": 10}
CRF |= {"bilateral_sxy": 10, "bilateral_srgb": 13}


@pytest.mark.parametrize(("side", "overlap"), TILINGS)
def test_tiles_cover_an_axis_with_weights_of_one_in_all(side, overlap):
    for length in (1, 63, *range(side - 2, side + 70), 500, 1023):
        spans = Tiling(side, overlap).spans(length)
        total = np.zeros(length)
        for span in spans:
            assert 0 <= span.start < span.stop <= length and span.stop - span.start <= side
            assert span.start % ALIGNMENT == 0
            assert len(span.weights) == span.used.stop - span.used.start
            total[span.rise[0] : span.fall[1]] += span.weights
        assert total == pytest.approx(np.ones(length))
        for before, after in itertools.pairwise(spans):
            assert before.stop - after.start >= overlap and before.fall == after.rise
            margin = overlap // 2 // 2  # context on both sides of what is blended
            assert before.stop - before.fall[1] >= margin <= after.rise[0] - after.start
            assert before.rise[1] <= before.fall[0], "no pixel is of three tiles"
        assert (spans[0].start, spans[-1].stop) == (0, length)


@pytest.mark.parametrize("size", [(40, 300), (300, 40), (201, 263), (64, 64), (65, 64)])
@pytest.mark.parametrize(("side", "overlap"), [(64, 32), (64, 0), (96, 40)])
def test_blended_scores_that_agree_are_those_of_the_whole(size, side, overlap):
    scores = np.random.default_rng(0).random((4, *size)).astype(np.float32)
    tiling = Tiling(side, overlap)
    blender = RowBlender(4, size[1])
    rows = []
    for row in tiling.spans(size[0]):
        tiles = (
            (column, scores[:, row.start : row.stop, column.start : column.stop])
            for column in tiling.spans(size[1])
        )
        rows.append(blender.labels(row, tiles))
    assert (np.concatenate(rows) == scores.argmax(0)).mean() > 0.999  # but for rounding


def test_of_tiles_that_disagree_each_counts_where_it_is_nearer():
    tiling = Tiling(64, 32)  # 0..64 and 32..96: blended in 40..56
    blender = RowBlender(2, 96)
    (row,) = tiling.spans(10)
    votes = [np.zeros((2, 10, 64), np.float32) for _ in range(2)]
    votes[0][0] = votes[1][1] = 1
    labels = blender.labels(row, zip(tiling.spans(96), votes, strict=True))
    assert (labels[:, :48] == 0).all() and (labels[:, 48:] == 1).all()


def photo(height, width):
    coarse = np.random.default_rng(1).integers(0, 256, (height // 12, width // 12, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


class Local(Network):
    """A network of stride 8 that is sure of itself and sees 63 pixels."""

    def __init__(self):
        convolutions = [nn.Conv2d(3, 16, 7, 4, 3), nn.Conv2d(16, 32, 3, 2, 1)]
        convolutions += [nn.Conv2d(32, 32, 3, 1, 2, 2), nn.Conv2d(32, 4, 1)]
        for convolution in convolutions:
            nn.init.normal_(convolution.weight, std=2 / convolution.weight[0].numel() ** 0.5)
        layers = [layer for each in convolutions for layer in (each, nn.ReLU())]
        centred = Preprocessing(64, mean=(2, 2, 2))
        super().__init__(
            Backbone(nn.Sequential(*layers[:-1]), 4, 8, None, 0, preprocessing=centred)
        )

    def forward(self, images):
        return self.features(images)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Local().eval()


def segmenter(network, crf=None, **options):
    options = PredictionOptions(**{**OPTIONS, **options})
    return SegmentationPipeline(model=network, num_classes=4, options=options, crf=crf, device=CPU)


class Rows:
    """An image that notes which of its rows are asked for."""

    def __init__(self, pixels):
        self._image, self.size, self.asked = DecodedRaster(Decoded(pixels)), pixels.shape[:2], []

    def rows(self, top, bottom):
        self.asked.append((top, bottom))
        return self._image.rows(top, bottom)


def tiled(segmenter, image, tiling, labels=None):
    raster = Rows(image)
    parts = list(segmenter.mask_rows(raster, "a", labels, tiling))
    assert all(rows.pixels.shape[:2] == mask.shape for rows, mask in parts)
    np.testing.assert_array_equal(np.concatenate([r.pixels for r, _ in parts]), image)
    if segmenter.options.scales == [1.0]:
        assert max(bottom - top for top, bottom in raster.asked) <= tiling.side
    return np.concatenate([mask for _, mask in parts])


@pytest.mark.parametrize("options", [{}, {"fuse": "max_probabilities", "flip": False}])
def test_tiled_labels_are_the_untiled_ones_but_for_a_percent(network, options):
    image = photo(256, 320)
    whole = segmenter(network, **options).mask(image, "a", None)
    assert len(np.unique(whole)) == 4
    found = tiled(segmenter(network, **options), image, Tiling(128, 64))
    assert (found != whole).mean() < 0.01
    blunt = tiled(segmenter(network, **options), image, Tiling(128, 0))
    assert (blunt != whole).mean() > 0.05, "the overlap is what helps"


ODD = [
    {},
    {"scales": [0.5, 1.0, 1.3]},
    {"scales": [0.77], "flip": False, "resampling": "half_pixel"},
    {"scales": [1.0, 0.6], "fuse": "max", "fuse_on": "grid", "map_resampling": "corner_aligned"},
    {"scales": [0.7, 0.9], "resampling": "corner_aligned", "map_resampling": "corner_aligned"},
    {"scales": [0.8], "resampling": "tf_legacy", "map_resampling": "scaled_then_nearest"},
    {"scales": [0.9, 1.1], "resampling": "bicubic", "map_resampling": "tf_legacy"},
]


@pytest.mark.parametrize("options", ODD)
def test_sides_that_are_no_multiples_of_the_stride_cost_no_agreement(network, options):
    """What the network sees lies within the overlap at all scales: only rounding remains."""
    image = photo(263, 389)
    whole = segmenter(network, **options).mask(image, "a", None)
    found = tiled(segmenter(network, **options), image, Tiling(192, 96))
    assert len(np.unique(whole)) >= 3
    assert (found != whole).mean() < 0.002


SEEN = {"tiny_seg": 260, "squeezenet1_0_seg": 260, "mobilenet_v2_seg": 400, "timm:patches/seg": 260}


@pytest.mark.parametrize("name", SEEN)
def test_a_region_has_the_probabilities_of_the_whole_image(name, monkeypatch):
    """Where the region's left edge is out of sight: a decoder raises features as for the whole."""
    fake_timm.install(monkeypatch)
    torch.manual_seed(0)
    model, seen = build(name, 4).eval(), SEEN[name]
    options = segmenter(model, scales=[1.0, 0.8]).options
    size, image = (101, 839), photo(101, 839)
    whole, _ = class_log_probabilities(model, image, "a", options, keep=range(4), device=CPU)
    whole = np.exp(np.float32(whole))
    views = RegionViews.of(model, options, size, CPU)
    region = Part(0, 101, 101), Part(320, 839, 839)
    rows = views.rows(region[0])
    found = np.exp(views.log_probabilities(image, rows, region, "a").numpy()[:, :, seen:])
    assert abs(found - whole[:, :, 320 + seen :]).max() < 1e-3
    assert abs(found[:, :, :-3] - whole[:, :, 323 + seen :]).max() > 0.01, "3 pixels beside"


def test_the_crf_runs_in_each_tile(network):
    image = photo(192, 256)
    plain, refined = segmenter(network), segmenter(network, CRF)
    whole = refined.mask(image, "a", None)
    found = tiled(refined, image, Tiling(128, 64))
    assert (found != whole).mean() < 0.02
    assert (plain.mask(image, "a", None) != whole).mean() > 0.05


def test_labels_restrict_every_tile(network):
    image = photo(128, 192)
    found = tiled(segmenter(network), image, Tiling(96, 48), labels=(2,))
    whole = segmenter(network).mask(image, "a", (2,))
    assert set(np.unique(found)) == {0, 2} and (found != whole).mean() < 0.01
