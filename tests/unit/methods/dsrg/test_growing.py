"""Seeded region growing against a literal implementation of the rules, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seedbed.methods.dsrg.growing import (
    _best_present,
    _components_on_cpu,
    _components_on_gpu,
    grow_seeds,
)

CAFFE = {"foreground_threshold": 0.85, "background_threshold": 0.99, "prefill_seeds": True}


def literal_growth(seeds, probs, labels, foreground, background, prefill):
    """One image, cell by cell and class by class, as the authors' code does."""
    classes, height, width = seeds.shape
    present = [c for c in range(classes) if labels[c]]
    region = np.zeros((height, width), int)
    for row in range(height):
        for column in range(width):
            if prefill:
                for c in range(classes):
                    if seeds[c, row, column]:
                        region[row, column] = c + 1
            best, value = None, -1.0
            for c in present:
                if probs[c, row, column] > value:
                    best, value = c, probs[c, row, column]
            if best is not None and value > foreground and (best != 0 or value > background):
                region[row, column] = best + 1
    grown = seeds.copy()
    for c in present:
        numbers, count = ndimage.label(region == c + 1, np.ones((3, 3)))
        for number in range(1, count + 1):
            cells = np.argwhere(numbers == number)
            if any(grown[c, row, column] for row, column in cells):
                for row, column in cells:
                    vector = grown[:, row, column]
                    if not (vector.sum() == 1 and not vector[c]):
                        grown[c, row, column] = True
    return grown


def grow(seeds, probs, labels, **options):
    """Grow one image given as arrays (C, H, W)."""
    batch = [torch.as_tensor(np.asarray(x, np.float32))[None] for x in (seeds, probs, labels)]
    return grow_seeds(*batch, **{**CAFFE, **options})[0].numpy()


def picture(*rows):
    """Class map from text: digits are classes, dots are -1."""
    return np.array([[-1 if cell == "." else int(cell) for cell in row] for row in rows])


def one_hot(classes_at, classes=3):
    return classes_at == np.arange(classes)[:, None, None]


def sure(classes_at, classes=3):
    """Probabilities of 0.995 for the class drawn; uniform where nothing is drawn."""
    return np.where(classes_at >= 0, 0.0025 + 0.9925 * one_hot(classes_at, classes), 1 / classes)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    density=st.sampled_from([0.05, 0.2, 0.5]),
    sharpness=st.sampled_from([2.0, 8.0, 30.0]),
    prefill=st.booleans(),
)
def test_agrees_with_the_literal_rules(seed, shape, density, sharpness, prefill):
    rng = np.random.default_rng(seed)
    seeds = rng.random(shape) < density
    logits = sharpness * ndimage.gaussian_filter(rng.normal(size=shape), (0, 0, 0.6, 0.6))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    probs = probs.astype(np.float32)
    labels = rng.random(shape[:2]) < 0.7
    thresholds = np.float32(0.5), np.float32(0.7)
    found = grow_seeds(
        torch.from_numpy(seeds.astype(np.int32)),
        torch.from_numpy(probs),
        torch.from_numpy(labels.astype(np.uint8)),
        foreground_threshold=0.5,
        background_threshold=0.7,
        prefill_seeds=prefill,
    )
    assert found.dtype == torch.bool
    for n in range(shape[0]):
        expected = literal_growth(seeds[n], probs[n], labels[n], *thresholds, prefill)
        np.testing.assert_array_equal(found[n].numpy(), expected)


def test_growth_is_8_connected():
    net = picture("1..", ".1.", "..1", "1..")
    seeds = picture("1..", "...", "...", "...")
    grown = grow(one_hot(seeds), sure(net), [1, 1, 0])
    np.testing.assert_array_equal(grown, one_hot(picture("1..", ".1.", "..1", "...")))


def test_class_without_a_seed_never_grows():
    grown = grow(np.zeros((3, 2, 2)), sure(picture("12", "01")), [1, 1, 1])
    assert not grown.any()


def test_absent_class_does_not_grow_and_keeps_its_seed():
    net, seeds = picture("222"), picture("2..")
    np.testing.assert_array_equal(grow(one_hot(seeds), sure(net), [1, 1, 0]), one_hot(seeds))


def test_probabilities_of_absent_classes_are_ignored():
    probs = np.array([0.01, 0.09, 0.9])[:, None, None] * np.ones((1, 1, 2))
    seeds = one_hot(picture("1."))
    options = {"foreground_threshold": 0.05, "background_threshold": 0.7}
    assert grow(seeds, probs, [1, 1, 0], **options)[1].all()


def test_contradicted_seed_stays_but_starts_no_growth():
    net, seeds = picture("2.11"), picture("11..")
    grown = grow(one_hot(seeds), sure(net), [1, 1, 1])
    np.testing.assert_array_equal(grown[1], [[1, 1, 1, 1]])  # the second seed is unsure: it grows
    assert not grown[2].any()  # the first cell is claimed by class 1
    lone = grow(one_hot(picture("1...")), sure(picture("2111")), [1, 1, 1])
    np.testing.assert_array_equal(lone, one_hot(picture("1...")))


def test_seed_below_the_threshold_grows_only_if_prefilled():
    net, seeds = picture(".11"), picture("1..")
    assert grow(one_hot(seeds), sure(net), [1, 1, 0])[1].all()
    without = grow(one_hot(seeds), sure(net), [1, 1, 0], prefill_seeds=False)
    np.testing.assert_array_equal(without, one_hot(seeds))


def test_seed_of_another_class_connects_regions_but_is_not_added():
    net, seeds = picture("111"), picture("12.")
    grown = grow(one_hot(seeds), sure(net), [1, 1, 1])
    np.testing.assert_array_equal(grown, one_hot(picture("121")))


def test_cell_with_two_seeds_may_get_a_third_and_prefills_the_highest():
    seeds = np.zeros((3, 1, 3), bool)
    seeds[1, 0, 0] = seeds[0, 0, 1] = seeds[2, 0, 1] = True
    taken = grow(seeds, sure(picture("11.")), [1, 1, 1])
    assert taken[:, 0, 1].all()
    unsure = grow(seeds, sure(picture("..2")), [1, 1, 1])
    np.testing.assert_array_equal(unsure[:, 0, 2], [0, 0, 1])


@pytest.mark.parametrize(
    ("best", "value", "grows"),
    [(0, 0.99, False), (0, 0.995, True), (0, 0.9, False), (1, 0.85, False), (1, 0.86, True)],
)
def test_thresholds_are_strict(best, value, grows):
    probs = np.full((2, 1, 2), 1 - value)
    probs[best] = value
    seeds = np.zeros((2, 1, 2))
    seeds[best, 0, 0] = 1
    assert grow(seeds, probs, [1, 1])[best, 0, 1] == grows


def test_background_needs_both_thresholds():
    seeds, probs = np.array([[[1, 0]], [[0, 0]]]), np.array([[[0.7, 0.7]], [[0.3, 0.3]]])
    options = {"foreground_threshold": 0.8, "background_threshold": 0.6}
    assert not grow(seeds, probs, [1, 1], **options)[0, 0, 1]


def spiral(size):
    """A spiral path, one cell wide, from the corner to the centre."""
    path = np.zeros((size, size), bool)
    row, column, step = 0, 0, (0, 1)
    path[0, 0] = True
    for _ in range(size * size):
        ahead = [(row + k * step[0], column + k * step[1]) for k in (1, 2)]
        inside = [0 <= r < size and 0 <= c < size for r, c in ahead]
        if not inside[0] or (inside[1] and path[ahead[1]]):
            step = (step[1], -step[0])
            continue
        (row, column), _ = ahead
        if path[row, column]:
            break
        path[row, column] = True
    return path


def test_growth_follows_a_spiral_to_its_end():
    path = spiral(41)
    assert path.sum() > 800
    seeds = np.zeros((2, 41, 41))
    seeds[1, 0, 0] = 1
    grown = grow(seeds, sure(np.where(path, 1, -1), 2), [1, 1])
    np.testing.assert_array_equal(grown[1], path)


def canonical(region, numbers):
    """Components renumbered by their first cell, -1 where region is negative."""
    numbers = np.where(region < 0, -1, numbers)
    first = {number: place for place, number in reversed(list(enumerate(numbers.flat)))}
    return [first[number] if number >= 0 else -1 for number in numbers.flat]


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_components_on_cpu_and_gpu_agree(classes):
    region = torch.from_numpy(np.random.default_rng(classes).integers(-1, classes, (6, 23, 17)))
    region[0, :17, :17] = torch.from_numpy(spiral(17).astype(int)) - 1
    on_cpu, on_gpu = (f(region).numpy() for f in (_components_on_cpu, _components_on_gpu))
    assert canonical(region.numpy(), on_cpu) == canonical(region.numpy(), on_gpu)


def comb(teeth):
    """A comb whose lengths of teeth make trees join only in pairs: the most rounds."""
    bits = teeth.bit_length() - 1
    lengths = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(teeth)]
    rows, columns = np.indices((teeth + 1, 2 * teeth))
    return (rows == teeth) | ((columns % 2 == 0) & (rows > np.array(lengths)[columns // 2]))


@pytest.mark.parametrize("mask", [np.ones((1, 1)), spiral(41), comb(4), comb(128)])
def test_components_on_gpu_are_complete_after_the_fixed_rounds(mask):
    region = torch.from_numpy(mask.astype(int) - 1)[None]
    numbers = _components_on_gpu(region)[region == 0]
    assert (numbers == numbers[0]).all()


class OnGpu(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    device = property(lambda _: torch.device("cuda"))


def test_the_best_present_class_is_found_on_a_gpu_too():
    rng = torch.Generator().manual_seed(0)
    probs, present = torch.rand(4, 6, 5, 7, generator=rng), torch.rand(4, 6, generator=rng) < 0.4
    present[0], present[1] = False, True
    best, best_class = (
        each.as_subclass(torch.Tensor) for each in _best_present(probs.as_subclass(OnGpu), present)
    )
    assert present[1:].gather(1, best_class[1:].flatten(1)).all()
    for found, expected in zip((best, best_class), _best_present(probs, present), strict=True):
        assert torch.equal(found, expected)


def test_growth_never_synchronises_with_the_device():
    # Meta tensors have no values: reading one from the device raises.
    seeds = torch.zeros(2, 3, 9, 9, device="meta")
    grown = grow_seeds(seeds, torch.zeros_like(seeds), torch.ones(2, 3, device="meta"), **CAFFE)
    assert grown.shape == seeds.shape and grown.device.type == "meta"


def test_images_of_a_batch_are_independent():
    seeds = torch.zeros(2, 2, 1, 1)
    seeds[0, 1] = 1
    probs, labels = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(2, 2, 1, 1), torch.ones(2, 2)
    assert grow_seeds(seeds, probs, labels, **CAFFE)[:, 1].flatten().tolist() == [True, False]


def test_inputs_are_not_modified_and_the_result_has_no_gradient():
    seeds = torch.zeros(1, 2, 1, 2)
    seeds[0, 1, 0, 0] = 1
    probs = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    grown = grow_seeds(seeds, probs, torch.ones(1, 2), **CAFFE)
    assert grown.sum() == 2 and seeds.sum() == 1 and not grown.requires_grad


@pytest.mark.parametrize("name", ["cues", "probs", "labels"])
def test_wrong_shapes_are_refused(name):
    arguments = {
        "cues": torch.zeros(1, 2, 3, 3),
        "probs": torch.zeros(1, 2, 3, 3),
        "labels": torch.zeros(1, 2),
    }
    arguments[name] = arguments[name][0]
    with pytest.raises(ValueError, match=name):
        grow_seeds(**arguments, **CAFFE)
