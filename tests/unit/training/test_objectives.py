from math import log

import numpy as np
import pytest
import torch
from pydensecrf.densecrf import DenseCRF2D
from scipy.ndimage import label
from torch import nn

from seedbed.crf import DenseCRFGrid
from seedbed.methods.dsrg.growing import grow_seeds
from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss, smooth_softmax
from seedbed.models.heads.group import GroupOutput
from seedbed.training.objectives.dsrg import SeedGrowingObjective, warn_seed_flooding
from seedbed.training.objectives.group import (
    Accumulation,
    CollectedMaps,
    GroupObjective,
    MapAccumulator,
)
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.objectives.tags import TagObjective

torch.set_num_threads(1)

CRF = {"gaussian_weight": 3, "gaussian_sxy": 0.5, "bilateral_weight": 4, "bilateral_sxy": 5}


class Fixed(nn.Module):
    """Gives what it was told, whatever it sees, and remembers what that was."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def preprocess(self, images):
        return images / 255

    def forward(self, images):
        self.saw = images
        return self.output


def test_tags_are_compared_without_background(make_batch):
    batch = make_batch(torch.full((1, 3, 4, 4), 255.0), [[1, 1, 0]])
    model = Fixed(torch.tensor([[log(3), -log(2)]]))
    loss = TagObjective()(model, batch, 0)["loss"]
    # -log sigmoid(log 3) = log(4/3) for the class there, -log sigmoid(log 2) for the other
    assert float(loss) == pytest.approx((log(4 / 3) + log(3 / 2)) / 2)
    assert (model.saw == 1).all()


def test_masks_ignore_void(make_batch):
    targets = torch.tensor([[[0, 255], [255, 1]]], dtype=torch.uint8)
    batch = make_batch(torch.zeros(1, 3, 4, 4), targets=targets)
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 0, 0, 0] = log(3)  # p = 3/4 for the right class
    logits[0, 1, 0, 1] = 99  # on void
    loss = MaskObjective("half_pixel")(Fixed(logits), batch, 0)["loss"]
    assert float(loss) == pytest.approx((log(4 / 3) + log(2)) / 2)


def test_logits_are_brought_to_the_grid_of_the_masks(make_batch):
    targets = torch.ones(1, 4, 4, dtype=torch.uint8)
    batch = make_batch(torch.zeros(1, 3, 8, 8), targets=targets)
    logits = torch.tensor([0.0, log(3)]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert float(MaskObjective("half_pixel")(Fixed(logits), batch, 0)["loss"]) == pytest.approx(
        log(4 / 3)
    )


@pytest.mark.parametrize(
    ("how", "shares"),
    # of class 1, whose logit is log 3 in the right of two columns; the targets' grid has three
    [
        ("half_pixel", [0, 0.5, 1]),
        ("corner_aligned", [0, 0.5, 1]),
        ("tf_legacy", [0, 2 / 3, 1]),
    ],
)
def test_logits_come_to_that_grid_as_the_masks_were_sampled(make_batch, how, shares):
    batch = make_batch(torch.zeros(1, 3, 8, 8), targets=torch.ones(1, 2, 3, dtype=torch.uint8))
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, :, 1] = log(3)
    p = [3**share / (3**share + 1) for share in shares]
    loss = MaskObjective(how)(Fixed(logits), batch, 0)["loss"]
    assert float(loss) == pytest.approx(-sum(map(log, p)) / 3, rel=1e-5)


def seed_growing(iterations=2, **options):
    settings = {
        "grow_on": "crf",
        "train_unary": "logprob",
        "foreground_threshold": 0.85,
        "background_threshold": 0.9,
        "prefill_seeds": True,
        "crf_image": "corner_aligned",
        "crf_gradient": "one_minus_q",
        "constraint_clip": (0.05, 20.0),
        "constraint_weight": 1.0,
    }
    crf = DenseCRFGrid(iterations=iterations, bilateral_srgb=13, **CRF)
    return SeedGrowingObjective(crf, **{**settings, **options})


@pytest.fixture
def halves(make_batch):
    """Columns 0-1 of a 4 x 4 grid look like class 1, the rest like background; two cues."""
    logits = torch.full((1, 2, 4, 4), -2.0)
    logits[:, 1, :, :2] = logits[:, 0, :, 2:] = 2.0  # p = 0.982
    images = torch.full((1, 3, 8, 8), 40.0)
    images[..., 4:] = 200
    cues = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    cues[0, 1, 0, 0] = cues[0, 0, 3, 3] = True
    return logits.requires_grad_(), make_batch(images, [[1, 1]], targets=cues)


def test_seeds_grow_over_their_half(halves):
    logits, batch = halves
    figures = seed_growing()(Fixed(logits), batch, 0)
    assert list(figures) == ["loss", "seed_loss", "constraint_loss", "cues", "grown"]
    assert float(figures["cues"]) == 2 / 16 and float(figures["grown"]) == 1
    figures["loss"].backward()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("gradient", ["one_minus_q", "none"])
@pytest.mark.parametrize("unary", ["prob", "logprob"])
@pytest.mark.parametrize("grow_on", ["crf", "softmax"])
def test_the_loss_is_that_of_the_parts(halves, grow_on, unary, gradient):
    logits, batch = halves
    options = {"grow_on": grow_on, "train_unary": unary, "crf_gradient": gradient}
    objective = seed_growing(constraint_weight=0.5, constraint_clip=None, **options)
    figures = objective(Fixed(logits), batch, 0)
    figures["loss"].backward()
    found, logits.grad = logits.grad, None

    probs = smooth_softmax(logits)
    small = torch.full((1, 3, 4, 4), 40, dtype=torch.uint8)
    small[..., 2:] = 200
    energies = -probs if unary == "prob" else -logits.log_softmax(1)
    refined = objective.crf(small, energies.detach()).clamp(min=1e-4)
    refined = refined / refined.sum(1, keepdim=True)
    sure = refined if grow_on == "crf" else probs.detach()
    thresholds = {"foreground_threshold": 0.85, "background_threshold": 0.9}
    grown = grow_seeds(batch.targets, sure, batch.tags, **thresholds, prefill_seeds=True)
    seed = balanced_seed_loss(probs, grown)
    constraint = constraint_loss(probs, refined, clip=None, crf_gradient=gradient)
    torch.testing.assert_close(figures["seed_loss"], seed)
    torch.testing.assert_close(figures["constraint_loss"], constraint)
    torch.testing.assert_close(figures["loss"], seed + constraint / 2)
    (seed + constraint / 2).backward()
    torch.testing.assert_close(found, logits.grad)


@pytest.mark.parametrize(
    ("grow_on", "unary", "share"),
    # a CRF without iterations gives softmax(p) of -p, at most 0.73, and p itself of -log p
    [("crf", "prob", 2 / 16), ("crf", "logprob", 1), ("softmax", "prob", 1)],
)
def test_what_the_seeds_grow_on(halves, grow_on, unary, share):
    logits, batch = halves
    objective = seed_growing(0, grow_on=grow_on, train_unary=unary)
    assert float(objective(Fixed(logits), batch, 0)["grown"]) == share


@pytest.mark.parametrize(
    ("classes", "share", "noted"), [(21, 1, False), (7, 1, True), (7, 1 / 3, False), (13, 1, False)]
)
def test_a_crf_that_decides_before_the_network_is_noted(capsys, classes, share, noted):
    kernels = {"gaussian_sxy": 3 / 12, "bilateral_sxy": 80 / 12, "bilateral_srgb": 13}
    weights = {"gaussian_weight": 3 * share, "bilateral_weight": 10 * share}
    crf = DenseCRFGrid(iterations=10, **weights, **kernels)
    warn_seed_flooding(crf.params, classes)
    note = capsys.readouterr().err
    assert ("gaussian_weight: 1, bilateral_weight: 3.33" in note) == noted
    # The note is right: one class is hardly more probable, and becomes certain only there.
    images = torch.full((1, 3, 24, 24), 99, dtype=torch.uint8)
    logits = torch.zeros(1, classes, 24, 24)
    logits[:, 1] = 0.1
    probs = logits.softmax(1)
    certain = (crf(images, -probs).amax(1) > 0.85).float().mean()
    assert certain > 0.9 if noted else certain == 0


def test_seeds_grow_anew_in_every_step(halves):
    logits, batch = halves
    objective, cues = seed_growing(0), batch.targets.clone()
    assert float(objective(Fixed(logits), batch, 0)["grown"]) == 1
    assert float(objective(Fixed(logits * 0), batch, 1)["grown"]) == 2 / 16
    assert torch.equal(batch.targets, cues) and objective.state_dict() == {}


class Recording(DenseCRFGrid):
    """Remembers the images."""

    def __call__(self, images, unary):
        self.images = images
        return super().__call__(images, unary)


@pytest.mark.parametrize(
    ("how", "columns"),
    # of 0, 10.9, 21.8, … 76.3
    [
        ("half_pixel", [5, 27, 49, 71]),
        ("corner_aligned", [0, 25, 51, 76]),
        ("tf_legacy", [0, 21, 43, 65]),
    ],
)
def test_the_image_of_the_crf(make_batch, how, columns):
    images = (torch.arange(8) * 10.9).expand(1, 3, 8, 8)
    cues = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    objective = seed_growing(1, crf_image=how)
    objective.crf = Recording(iterations=1, bilateral_srgb=13, **CRF)
    objective(Fixed(torch.zeros(1, 2, 4, 4)), make_batch(images, [[1, 1]], targets=cues), 0)
    assert objective.crf.images.dtype == torch.uint8
    assert objective.crf.images[0, 0].tolist() == [columns] * 4


@pytest.mark.parametrize("how", ["corner_aligned", "tf_legacy"])  # the Caffe release and the port
def test_the_channels_of_the_image_of_the_crf_are_blue_green_red(make_batch, how):
    images = torch.tensor([10.0, 20, 30]).view(1, 3, 1, 1).expand(1, 3, 8, 8)  # red, green, blue
    cues = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    objective = seed_growing(crf_image=how)
    objective.crf = Recording(iterations=1, bilateral_srgb=13, **CRF)
    objective(Fixed(torch.zeros(1, 2, 4, 4)), make_batch(images, [[1, 1]], targets=cues), 0)
    assert objective.crf.images[0, :, 0, 0].tolist() == [30, 20, 10]


PORT = {
    "grow_on": "softmax",
    "train_unary": "logprob",
    "foreground_threshold": 0.5,
    "background_threshold": 0.7,
    "prefill_seeds": False,
    "crf_image": "tf_legacy",
    "crf_gradient": "none",
    "constraint_clip": None,
}


def port_by_numpy(images, logits, tags, cues):
    """Losses of the TensorFlow port and their gradient at p, cell by cell, in double precision."""
    count, channels, height, width = logits.shape
    e = np.exp(logits - logits.max(1, keepdims=True))
    softmax = e / e.sum(1, keepdims=True)
    p = softmax + 1e-4
    p /= p.sum(1, keepdims=True)
    seed, constraint, gradient, share = 0.0, 0.0, np.zeros_like(p), 0.0
    for n in range(count):
        rows = np.arange(height) * images.shape[2] // height  # a whole ratio: no interpolation
        columns = np.arange(width) * images.shape[3] // width
        small = np.floor(images[n][:, rows][:, :, columns]).astype(np.uint8)[::-1]  # BGR
        crf = DenseCRF2D(width, height, channels)
        crf.setUnaryEnergy(-np.log(softmax[n]).reshape(channels, -1).astype(np.float32))
        crf.addPairwiseGaussian(sxy=0.5, compat=3)
        crf.addPairwiseBilateral(
            sxy=5, srgb=13, rgbim=np.ascontiguousarray(small.transpose(1, 2, 0)), compat=4
        )
        q = np.array(crf.inference(5)).reshape(channels, height, width).clip(1e-4)
        q /= q.sum(0)

        weighted = p[n] * tags[n][:, None, None]
        best, value = weighted.argmax(0), weighted.max(0)
        sure = np.where((value > 0.5) & ((best > 0) | (value > 0.7)), best, -1)
        grown = cues[n].copy()
        for c in np.flatnonzero(tags[n]):
            numbers, _ = label(sure == c, np.ones((3, 3)))
            for y, x in np.argwhere(numbers > 0):
                met = (numbers == numbers[y, x]) & (cues[n][c] > 0)
                other = cues[n][:, y, x].sum() == 1 and not cues[n][c, y, x]
                if met.any() and not other:
                    grown[c, y, x] = 1
        for part in (slice(0, 1), slice(1, None)):
            total = grown[part].sum() + 1e-8
            seed -= (grown[part] * np.log(p[n][part])).sum() / total / count
            gradient[n][part] -= grown[part] / p[n][part] / total / count
        ratio = q / (p[n] + 1e-8) + 1e-8
        cells = count * height * width
        constraint += (q * np.log(ratio)).sum() / cells
        gradient[n] -= q / ratio * q / (p[n] + 1e-8) ** 2 / cells
        share += grown.any(0).mean() / count
    return seed, constraint, gradient, share


def test_the_port_is_what_numpy_makes_of_it(make_batch):
    rng = np.random.default_rng(0)
    images = np.repeat(np.repeat(rng.uniform(0, 255, (3, 3, 6, 7)), 2, 2), 2, 3)
    logits = np.kron(rng.normal(0, 2.5, (3, 4, 3, 7)), np.ones((1, 1, 2, 1)))
    tags = np.array([[1, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1]])
    cues = (rng.random((3, 4, 6, 7)) < 0.12).astype(float) * tags[:, :, None, None]
    seed, constraint, gradient, share = port_by_numpy(images, logits, tags, cues)

    batch = make_batch(torch.from_numpy(images).float(), tags, targets=torch.from_numpy(cues) > 0)
    variable = torch.from_numpy(logits).float().requires_grad_()
    figures = seed_growing(5, **PORT)(Fixed(variable), batch, 0)
    assert figures["seed_loss"].item() == pytest.approx(seed, rel=1e-5)
    assert figures["constraint_loss"].item() == pytest.approx(constraint, rel=1e-5)
    assert float(figures["grown"]) == pytest.approx(share)
    assert share > 1.3 * float(figures["cues"]), "something has grown"
    figures["loss"].backward()
    expected = torch.from_numpy(logits).requires_grad_()
    smooth_softmax(expected).backward(torch.from_numpy(gradient))
    torch.testing.assert_close(variable.grad.double(), expected.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("iterations", "first", "last"),
    [(896, 448, 448), (895, 448, 448), (1344, 448, 896), (1340, 448, 896), (448, 0, 0), (10, 0, 0)],
)
def test_maps_are_kept_from_the_second_epoch_even_if_batches_are_lacking(iterations, first, last):
    kept = Accumulation.from_epoch(1, images=1792, batch=4, iterations=iterations, min_score=0.1)
    assert (kept.first_step, kept.last_epoch_step) == (first, last)


LABELS = [(1, 2), (2,), (1,)]  # rows 0-1, 2, 3


def group_objective(**options):
    settings = {"first_step": 0, "last_epoch_step": 100, "min_score": 0.1, **options}
    accumulator = MapAccumulator(LABELS, 3, (1, 4), settings["min_score"])
    return GroupObjective(accumulator, Accumulation(**settings), group_size=3, before_weight=0.4)


def group_output(first, score=5.0):
    """One group of three: maps (2, 1, 4) of its first image, all others' far higher."""
    maps = torch.full((1, 3, 2, 1, 4), 50.0)
    maps[0, 0] = torch.tensor(first)[:, None]
    return Fixed(GroupOutput(torch.zeros(1, 3, 2), torch.full((1, 3, 2), score), maps))


@pytest.fixture
def group_of(make_batch):
    """A group of an image and two others, with the first's tags."""

    def make(index, mirrored=False):
        tags = [[1, int(1 in LABELS[i]), int(2 in LABELS[i])] for i in (index, 1, 2)]
        views = {"index": [index, 1, 2], "mirrored": [mirrored, False, True]}
        return make_batch(torch.zeros(3, 3, 2, 8), tags, **views)

    return make


def test_group_loss_by_hand(group_of):
    model = group_output([[0.0] * 4] * 2, log(3))
    figures = group_objective()(model, group_of(0), 0)
    assert model.saw.shape == (1, 3, 3, 2, 8)
    # scores log 3: log(4/3) where there is a tag, log 4 where there is none; 4 of 6 have one
    after = (4 * log(4 / 3) + 2 * log(4)) / 6
    assert float(figures["before_loss"]) == pytest.approx(log(2))
    assert float(figures["after_loss"]) == pytest.approx(after)
    assert float(figures["loss"]) == pytest.approx((0.4 * 3 * log(2) + 3 * after) / 6)


def keep_step(objective, model, batch, step):
    """A step of one part, and its end."""
    objective(model, batch, step)
    objective.commit(objective.pending)
    objective.pending = []


def test_maps_of_the_first_are_kept_by_maximum(group_of):
    objective = group_objective()
    keep_step(objective, group_output([[1.0, 4, 0, -9], [0.0, 0, 0, 0]]), group_of(0), 0)
    keep_step(objective, group_output([[8.0, 2, 0, 0], [0.0, 0, 5, 1]]), group_of(0), 1)
    # each map over its own maximum: (64, 255, 0, 0) and (255, 64, 0, 0)
    assert objective.accumulator.maps(0, (1, 2)).tolist() == [[[255, 255, 0, 0]], [[0, 0, 255, 51]]]
    assert objective.accumulator.maps(0, (2,)).tolist() == [[[0, 0, 255, 51]]]
    assert (
        not objective.accumulator.maps(1, (2,)).any()
        and not objective.accumulator.maps(2, (1,)).any()
    )


def test_classes_without_a_tag_are_not_kept(group_of):
    objective = group_objective()
    keep_step(objective, group_output([[9.0, 9, 9, 9], [5.0, 0, 0, 1]]), group_of(1), 0)
    assert objective.accumulator.maps(1, (2,)).tolist() == [[[255, 0, 0, 51]]]
    assert objective.accumulator.kept.sum() == 306


def test_maps_of_mirrored_images_are_mirrored_back(group_of):
    objective = group_objective()
    keep_step(objective, group_output([[5.0, 0, 0, 1]] * 2), group_of(0, mirrored=True), 0)
    assert objective.accumulator.maps(0, (1,)).tolist() == [[[51, 0, 0, 255]]]


def test_an_image_that_comes_twice_in_a_batch(make_batch):
    maps = torch.zeros(2, 3, 2, 1, 4)
    maps[0, 0, 0, 0, 0] = maps[1, 0, 0, 0, 3] = 7
    output = GroupOutput(torch.zeros(2, 3, 2), torch.full((2, 3, 2), 5.0), maps)
    batch = make_batch(torch.zeros(6, 3, 2, 8), [[1, 1, 0]] * 6, index=[2] * 6)
    objective = group_objective()
    keep_step(objective, Fixed(output), batch, 0)
    assert objective.accumulator.maps(2, (1,)).tolist() == [[[255, 0, 0, 255]]]


def test_the_maximum_of_many_maps_is_that_of_one_after_another(recwarn):
    generator = torch.Generator().manual_seed(0)
    accumulator = MapAccumulator(LABELS, 3, (3, 4), 0.5)
    expected = torch.zeros_like(accumulator.kept)
    tagged = torch.tensor([[1, 1], [0, 1], [1, 0]], dtype=torch.bool)
    for count in (7, 0, 5):
        index = torch.randint(3, (count,), generator=generator)
        batch = CollectedMaps(
            maps=torch.rand(count, 2, 3, 4, generator=generator),
            scores=torch.randn(count, 2, generator=generator),
            tags=tagged[index],
            index=index,
            mirrored=torch.zeros(count, dtype=torch.bool),
            last_epoch=False,
        )
        accumulator.add(batch)
        levels = batch.maps / (batch.maps.amax((2, 3), keepdim=True) + 1e-8) * 255
        for i, k in batch.tags.nonzero().tolist():
            if batch.scores[i, k] >= 0:
                row = accumulator.rows[index[i], k + 1]
                new = levels[i, k].round().to(torch.uint8)
                expected[row] = torch.maximum(expected[row], new)
    assert torch.equal(accumulator.kept, expected) and expected.any()
    assert not recwarn


@pytest.mark.parametrize("option", ["grow_on", "train_unary"])
def test_an_unknown_option_is_refused(option):
    with pytest.raises(ValueError, match=rf"^{option} must be one of '\w+', '\w+', not 'CRF'$"):
        seed_growing(2, **{option: "CRF"})


def test_groups_in_parts_keep_the_maps_of_the_whole(make_batch):
    maps = torch.rand(2, 3, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    scores = torch.randn(2, 2, 3, 2, generator=torch.Generator().manual_seed(1)) + 3
    batch = make_batch(
        torch.zeros(6, 3, 2, 8),
        [[1, 1, 1], [1, 0, 1], [1, 1, 0]] * 2,
        index=[0, 1, 2, 2, 1, 0],
        mirrored=[True, False, False] * 2,
    )
    whole, parts = group_objective(), group_objective()
    loss = whole(Fixed(GroupOutput(*scores, maps)), batch, 0)["loss"]
    losses = [
        parts(Fixed(GroupOutput(*scores[:, i : i + 1], maps[i : i + 1])), part, 0)["loss"]
        for i, part in enumerate(batch.split(2))
    ]
    assert not parts.accumulator.kept.any()  # the step is not over
    parts.commit(parts.pending)
    whole.commit(whole.pending)
    torch.testing.assert_close(torch.stack(losses).mean(), loss)
    assert (
        torch.equal(parts.accumulator.kept, whole.accumulator.kept)
        and whole.accumulator.seen.sum() == 3
    )


def test_nothing_is_kept_before_its_time(group_of):
    objective = group_objective(first_step=3)
    keep_step(objective, group_output([[1.0] * 4] * 2), group_of(0), 2)
    assert not objective.accumulator.kept.any()
    keep_step(objective, group_output([[1.0] * 4] * 2), group_of(0), 3)
    assert objective.accumulator.maps(0, (1, 2)).eq(255).all()


def test_unsure_maps_are_kept_only_by_the_last_epoch_and_where_none_is(group_of):
    objective = group_objective(last_epoch_step=2)
    left, right = group_output([[1.0, 0, 0, 0]] * 2), group_output([[0.0, 0, 0, 1]] * 2, -5.0)
    keep_step(objective, right, group_of(0), 0)  # sigmoid(-5) is below 0.1
    assert not objective.accumulator.kept.any()
    keep_step(objective, left, group_of(0), 1)
    keep_step(objective, right, group_of(0), 2)  # image 0 has a map already
    keep_step(objective, right, group_of(2), 2)  # image 2 has none
    assert objective.accumulator.maps(0, (1,)).tolist() == [[[255, 0, 0, 0]]]
    assert objective.accumulator.maps(2, (1,)).tolist() == [[[0, 0, 0, 255]]]


def test_group_state_survives(group_of):
    objective, other = group_objective(last_epoch_step=1), group_objective(last_epoch_step=1)
    keep_step(objective, group_output([[1.0, 0, 0, 0]] * 2), group_of(0), 0)
    other.load_state_dict(objective.state_dict())
    unsure = group_output([[0.0, 0, 0, 1]] * 2, -5.0)
    keep_step(other, unsure, group_of(0), 1)
    keep_step(other, unsure, group_of(2), 1)
    assert other.accumulator.maps(0, (1,)).tolist() == [[[255, 0, 0, 0]]]
    assert other.accumulator.maps(2, (1,)).tolist() == [[[0, 0, 0, 255]]]
