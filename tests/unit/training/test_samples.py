"""Samples, batches and their loader."""

import numpy as np
import pytest
import torch

from seedbed.training.sampler import Request, batch_requests
from seedbed.training.samples import loader
from tests.support.training_helpers import crop_view, warp_view

torch.set_num_threads(1)


def test_a_plain_sample_of_its_own_size_is_the_image(make_samples, noise):
    square = np.ascontiguousarray(noise[:, :16])
    mask = (square[..., 0] % 4).astype(np.uint8)
    sample = make_samples(square, warp_view(16), mask=mask)[Request(3, 1, 0)]
    np.testing.assert_allclose(sample.images.permute(1, 2, 0), square, atol=1e-2)
    np.testing.assert_array_equal(sample.targets, mask)
    assert sample.tags.tolist() == [1, 0, 1, 0]
    assert sample.index == 0 and not sample.mirrored


def test_a_batch_is_split_in_equal_parts(make_batch):
    images = torch.arange(6.0).view(6, 1, 1, 1)
    batch = make_batch(images, targets=torch.arange(6).view(6, 1, 1))
    parts = batch.split(3)
    assert [part.images.flatten().tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    for part in parts:
        assert torch.equal(part.targets.flatten(), part.images.flatten().long())
        assert torch.equal(part.index, part.targets.flatten()) and part.tags.shape == (2, 3)
        assert part.mirrored.shape == (2,)
    assert batch.split(1)[0].images.shape == images.shape
    with pytest.raises(ValueError, match="4 does not divide a batch of 6"):
        batch.split(4)


def test_a_sample_is_a_function_of_seed_step_and_slot(make_samples, noise):
    view = crop_view(8, scale=(0.5, 2), rotate=20, jitter=0.3, flip=True)
    samples, again = make_samples(noise, view), make_samples(noise, view)
    base = samples[Request(5, 1, 0)].images
    samples[Request(9, 9, 0)]
    assert torch.equal(again[Request(5, 1, 0)].images, base)
    for other in (Request(6, 1, 0), Request(5, 2, 0)):
        assert not torch.equal(samples[other].images, base)
    assert not torch.equal(make_samples(noise, view, seed=1)[Request(5, 1, 0)].images, base)


def test_the_loader_gives_the_same_batches_with_workers(make_samples, noise):
    mask, view = noise[..., 0].copy(), warp_view(8, rotate=9, flip=True)
    samples = make_samples(noise, view, mask=mask, copies=4)
    plain, worked = (
        list(loader(samples, batch_requests(4, 3, 1, 4, seed=0), workers=workers))
        for workers in (0, 1)
    )
    assert len(plain) == len(worked) == 3
    for one, other in zip(plain, worked, strict=True):
        assert one.images.shape == (3, 3, 8, 8) and one.tags.shape == (3, 4)
        assert one.mirrored.dtype == torch.bool
        for name in ("images", "tags", "index", "mirrored", "targets"):
            assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("workers", [0, 1])
def test_requests_are_taken_only_a_little_ahead(make_samples, noise, workers):
    taken = []

    def requests():
        for batch in batch_requests(4, 2, 0, 10**9, seed=0):
            taken.append(batch)
            assert len(taken) < 20
            yield batch

    batches = loader(make_samples(noise, warp_view(8), copies=4), requests(), workers=workers)
    first = next(batches)
    batches.close()
    assert first.index.tolist() == [request.index for request in taken[0]]
