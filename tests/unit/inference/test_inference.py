import os
import threading
import time
from math import exp, log

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.inference.multiscale import check_sides, fuse_logits, multi_scale, scaled_sizes
from seedbed.methods.resampling import resize
from seedbed.models import build
from seedbed.models.weights import load_network, save_network
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map
from stages.predict import predict, probabilities
from stages.settings import PredictSettings

torch.set_num_threads(1)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)


def scaled(image, network=lambda x: x, **options):
    settings = {"scales": [1.0], "flip": False, "size": None, "device": CPU, **options}
    return multi_scale(network, image, **settings)


def test_small_images_are_refused_where_the_network_cannot_see_them():
    network = build("squeezenet1_0_seg", 3)
    entries = [
        ImageEntry("a", "images/a.jpg", 30, 40, (1,), "train", False, ""),
        ImageEntry("b", "images/b.jpg", 40, 25, (1,), "train", False, ""),
    ]
    check_sides(entries, network, None, [0.52, 1.0])
    check_sides(entries, network, 13, [1.0])
    with pytest.raises(UserError, match=r"images/b\.jpg.* 12 pixels a side, which needs 13"):
        check_sides(entries, network, None, [1.0, 0.48])
    with pytest.raises(UserError, match=r"images/a\.jpg.* 12 pixels a side"):
        check_sides(entries, network, 12, [1.0])


def test_the_stage_refuses_small_images_before_it_reads_any(tmp_path):
    name, classes = "squeezenet1_0_seg", ["background", "cat"]
    save_network(tmp_path / "w.pt", build(name, 2), name, 2, {}, classes)
    entry = ImageEntry("a", "no-such-file.jpg", 6, 8, (1,), "val", False, "")
    Index((ClassInfo("cat", 1),), (entry,), "annotations").save(tmp_path / "index.json")
    with pytest.raises(UserError, match=r"no-such-file\.jpg: shown .* which needs 13"):
        predict(
            index=tmp_path / "index.json",
            weights=tmp_path / "w.pt",
            round=0,
            split="val",
            shard="1-of-1",
            output=tmp_path / "out.h5",
            settings=PredictSettings(),
            data=tmp_path,
            device="cpu",
            workers=1,
        )


def test_scale_one_hands_the_network_the_raw_image(image):
    (output,) = scaled(image)
    assert output.dtype == torch.float32
    np.testing.assert_array_equal(output.permute(1, 2, 0), image)


def test_scales_and_their_order(image):
    outputs = scaled(image, scales=[1.0, 0.5, 2.0])
    assert [tuple(output.shape) for output in outputs] == [(3, 6, 10), (3, 3, 5), (3, 12, 20)]


def test_size_warps_before_scaling(image):
    outputs = scaled(image, scales=[0.5, 1.5], size=8)
    assert [tuple(output.shape) for output in outputs] == [(3, 4, 4), (3, 12, 12)]


def test_a_size_meets_the_published_squares():
    assert scaled_sizes((321, 321), [0.75, 1.0, 1.25], flip=False) == [
        (241, 241),
        (321, 321),
        (401, 401),
    ]
    small = np.zeros((5, 7, 3), np.uint8)
    outputs = scaled(small, scales=[0.75, 1.0, 1.25], size=321)
    assert [output.shape[1:] for output in outputs] == [(241, 241), (321, 321), (401, 401)]
    assert scaled_sizes((6, 10), [1.0, 0.5], flip=True) == [(6, 10), (6, 10), (3, 5), (3, 5)]


@pytest.mark.parametrize(
    "how", ["antialias", "bicubic", "half_pixel", "corner_aligned", "tf_legacy"]
)
def test_images_are_resampled_as_asked(image, how):
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    outputs = scaled(image, scales=[0.5, 1.7], resampling=how)
    for output, size in zip(outputs, [(3, 5), (10, 17)], strict=True):
        expected = resize(pixels, size, how)[0]
        if how == "bicubic":
            expected = expected.round().clamp(0, 255)
        torch.testing.assert_close(output, expected)
    torch.testing.assert_close(
        scaled(image, scales=[0.5])[0], resize(pixels, (3, 5), "antialias")[0]
    )


def test_no_scale_is_smaller_than_a_pixel(image):
    assert scaled(image, scales=[0.01])[0].shape == (3, 1, 1)


def test_flip_is_undone(image):
    plain, mirrored = scaled(image, flip=True)
    assert torch.equal(plain, mirrored)


def test_flip_shows_the_network_the_mirrored_image(image):
    def pair(images):  # marks the left half of what it is shown
        assert torch.equal(images[1], images[0].flip(-1))
        marks = torch.zeros(len(images), 1, 6, 10)
        marks[..., :5] = 1
        return marks

    plain, mirrored = scaled(image, pair, flip=True)
    assert plain[0, 0].tolist() == [1.0] * 5 + [0.0] * 5
    assert mirrored[0, 0].tolist() == [0.0] * 5 + [1.0] * 5


@pytest.mark.parametrize("flip", [True, False])
def test_each_scale_is_one_batch_of_its_sides_channels_last(image, flip):
    model, seen = build("tiny_seg", 3).eval(), []

    def network(images):
        ready = model.preprocess(images)
        assert ready.is_contiguous(memory_format=torch.channels_last)
        seen.append(tuple(ready.shape))
        return ready

    scaled(image, network, flip=flip, scales=[1.0, 0.5])
    assert seen == [(1 + flip, 3, 6, 10), (1 + flip, 3, 3, 5)]


@pytest.mark.parametrize("name", ["tiny_seg", "squeezenet1_0_seg", "vgg16_largefov"])
def test_memory_layout_and_batch_change_nothing_but_the_last_bits(name):
    torch.manual_seed(0)
    model = build(name, 3).eval()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)

    @torch.no_grad()
    def outputs(image=pixels, layout=torch.channels_last, flip=True):
        model.to(memory_format=layout)
        show = lambda images: model(model.preprocess(images).contiguous(memory_format=layout))  # noqa: E731
        return scaled(image, show, scales=[1.0, 0.5], flip=flip)

    found = outputs()
    one_by_one = [
        side
        for plain, mirrored in zip(
            outputs(flip=False), outputs(pixels[:, ::-1].copy(), flip=False), strict=True
        )
        for side in (plain, mirrored.flip(-1))
    ]
    largest = max(float(output.abs().max()) for output in found)
    for others in (outputs(layout=torch.contiguous_format), one_by_one):
        for output, other in zip(found, others, strict=True):
            torch.testing.assert_close(output, other, rtol=1e-5, atol=1e-5 * largest)


def test_the_network_alone_works_at_the_precision_of_the_device(image, monkeypatch):
    monkeypatch.setattr(
        "seedbed.inference.multiscale.mixed_precision",
        lambda device: torch.autocast("cpu", torch.bfloat16),
    )
    torch.manual_seed(0)
    layer, inside = torch.nn.Conv2d(3, 2, 1), []

    @torch.no_grad()
    def network(images):
        assert images.dtype == torch.float32
        inside.append(layer(images).dtype)
        return layer(images)

    outputs = scaled(image, network, flip=True)
    assert inside == [torch.bfloat16] and {output.dtype for output in outputs} == {torch.float32}
    monkeypatch.undo()
    for rough, exact in zip(outputs, scaled(image, network, flip=True), strict=True):
        torch.testing.assert_close(rough, exact, rtol=0.02, atol=2)


def test_flip_doubles_the_outputs_scale_by_scale(image):
    outputs = scaled(image, scales=[1.0, 0.5], flip=True)
    assert [output.shape[1] for output in outputs] == [6, 6, 3, 3]


@pytest.mark.parametrize(
    ("fuse", "logits"),
    # of (log 4, 0) and (0, log 2): the mean halves the sum; the maximum takes either
    [
        ("mean", (log(2), log(2) / 2)),
        ("sum", (log(4), log(2))),
        ("max", (log(4), log(2))),
        ("max_with_zero", (log(4), log(2))),
    ],
)
def test_fuse_by_hand(fuse, logits):
    outputs = [torch.tensor([log(4), 0.0]), torch.tensor([0.0, log(2)])]
    fused = fuse_logits([output.view(2, 1, 1) for output in outputs], (3, 2), fuse)
    first = exp(logits[0]) / (exp(logits[0]) + exp(logits[1]))
    assert fused.shape == (2, 3, 2)
    torch.testing.assert_close(fused[0], torch.full((3, 2), first))
    torch.testing.assert_close(fused.sum(0), torch.ones(3, 2))


def test_the_sum_sharpens_and_the_maximum_does_not():
    outputs = [torch.tensor([log(3), 0.0]).view(2, 1, 1)] * 3
    probs = {fuse: float(fuse_logits(outputs, (1, 1), fuse)[0]) for fuse in ("mean", "sum", "max")}
    assert probs["mean"] == probs["max"] == pytest.approx(3 / 4)
    assert probs["sum"] == pytest.approx(27 / 28)


def test_outputs_of_several_sizes_meet_at_one():
    small, large = torch.zeros(2, 1, 1), torch.zeros(2, 4, 4)
    large[0, :, 2:] = log(9)
    fused = fuse_logits([small, large], (4, 4), "mean")
    torch.testing.assert_close(fused[0, 0], torch.tensor([0.5, 0.5, 0.75, 0.75]))
    assert small.eq(0).all() and large[0, 0, 0] == 0


def test_zeros_take_part_in_the_maximum_when_asked_to():
    outputs = [torch.tensor([-log(4), log(2)]), torch.tensor([-log(2), -log(8)])]
    outputs = [output.view(2, 1, 1) for output in outputs]
    assert float(fuse_logits(outputs, (1, 1), "max")[0]) == pytest.approx(0.5 / 2.5)
    assert float(fuse_logits(outputs, (1, 1), "max_with_zero")[0]) == pytest.approx(1 / 3)
    assert float(fuse_logits(outputs[:1], (1, 1), "max_with_zero")[0]) == pytest.approx(1 / 3)


def test_the_maximum_of_probabilities_by_hand():
    outputs = [torch.tensor([log(4), 0.0, -99]), torch.tensor([0.0, log(2), -99])]
    fused = fuse_logits([output.view(3, 1, 1) for output in outputs], (2, 2), "max_probabilities")
    lifted = torch.tensor([0.8 + 1e-4, 2 / 3 + 1e-4, 1e-4]) / (1 + 3e-4)
    assert fused.shape == (3, 2, 2)
    torch.testing.assert_close(fused[:, 0, 1], lifted / lifted.sum())


def test_probabilities_rather_than_logits_are_resized():
    logits = torch.tensor([[[0.0, log(9)]], [[0.0, 0.0]]])
    (middle,) = fuse_logits([logits], (1, 3), "max_probabilities")[0, :, 1].tolist()
    assert middle == pytest.approx((0.5 + 0.9) / 2, abs=1e-4)
    (middle,) = fuse_logits([logits], (1, 3), "max")[0, :, 1].tolist()
    assert middle == pytest.approx(0.75)


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, *size, generator=generator) * 3 for size in [(5, 7), (3, 4), (9, 12)]]


@pytest.mark.parametrize("how", ["half_pixel", "corner_aligned", "tf_legacy"])
def test_maps_are_resampled_as_asked(outputs, how):
    raised = [resize(output[None], (11, 17), how)[0] for output in outputs]
    found = fuse_logits(outputs, (11, 17), "sum", map_resampling=how)
    torch.testing.assert_close(found, sum(raised).softmax(0))


@pytest.mark.parametrize("fuse", ["mean", "max", "max_probabilities"])
def test_fusing_on_the_first_grid(outputs, fuse):
    if fuse == "max_probabilities":
        maps = [(output.softmax(0) + 1e-4) / (1 + 4e-4) for output in outputs]
    else:
        maps = outputs
    met = torch.stack([resize(one[None], (5, 7), "half_pixel")[0] for one in maps])
    fused = resize((met.mean(0) if fuse == "mean" else met.amax(0))[None], (11, 17), "half_pixel")
    expected = fused[0] / fused[0].sum(0) if fuse == "max_probabilities" else fused[0].softmax(0)
    found = fuse_logits(outputs, (11, 17), fuse, fuse_on="grid")
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(0), torch.ones(11, 17))
    assert not torch.allclose(found, fuse_logits(outputs, (11, 17), fuse), atol=1e-3)


def test_the_ports_way_to_the_image(outputs):
    seen = [(22, 34), (8, 13), (11, 17)]
    expected = []
    for output, size in zip(outputs, seen, strict=True):
        at_scaled = resize(output[None], size, "tf_legacy")[0].numpy()
        factors = (1, 11 / size[0], 17 / size[1])
        expected.append(torch.from_numpy(zoom(at_scaled, factors, order=0)))
    options = {"map_resampling": "scaled_then_nearest", "scaled": seen}
    found = fuse_logits(outputs, (11, 17), "max_with_zero", **options)
    wanted = torch.stack([torch.zeros(4, 11, 17), *expected]).amax(0).softmax(0)
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match="shorter"):
        fuse_logits(outputs, (11, 17), "max", map_resampling="scaled_then_nearest")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Probabilities that the stage finds for an image by a network whose dropout stays on."""
    tmp_path = tmp_path_factory.mktemp("predicted")
    torch.manual_seed(0)
    network = build("vgg16_largefov", 3, dropout_in_eval=True)
    torch.nn.init.normal_(network.head.fc8[0].weight, std=1.0)
    options = {"dropout_in_eval": True}
    save_network(tmp_path / "w.pt", network, "vgg16_largefov", 3, options, ["b", "cat", "dog"])
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    model, _ = load_network(tmp_path / "w.pt")

    def predict(name, **settings):
        entry = ImageEntry(name, "a.png", 20, 28, (1, 2), "train", True, "")
        return probabilities(
            entry,
            pixels,
            model=model,
            settings=PredictSettings(**settings),
            device=CPU,
        )[0]

    return predict


def test_a_dropout_that_stays_on_depends_on_seed_and_image_alone(predicted):
    first = predicted("a")
    torch.rand(5)
    other = predicted("b")
    np.testing.assert_array_equal(predicted("a"), first)
    assert not np.array_equal(other, first)  # the same pixels under another name
    assert not np.array_equal(predicted("a", seed=1), first)
    np.testing.assert_array_equal(predicted("b"), other)


def test_the_stage_hands_the_settings_on(predicted):
    plain = {"scales": [1.0, 0.5], "flip": True}
    changes = [
        {},
        {"size": 24},
        {"resampling": "bicubic"},
        {"map_resampling": "corner_aligned"},
        {"map_resampling": "scaled_then_nearest"},
        {"fuse": "max"},
        {"fuse_on": "grid"},
    ]
    found = [predicted("a", **{**plain, **change}) for change in changes]
    assert {one.shape for one in found} == {(3, 20, 28)} and np.isfinite(found).all()
    assert len({one.tobytes() for one in found}) == len(changes), "each changes the result"


@pytest.mark.parametrize(("size", "whole"), [(None, (20, 28)), (24, (24, 24))])
def test_the_stage_knows_the_sizes_that_the_network_saw(predicted, monkeypatch, size, whole):
    sizes = []

    def record(outputs, *arguments, scaled=(), **options):
        sizes.extend(scaled)
        return fuse_logits(outputs, *arguments, scaled=scaled, **options)

    monkeypatch.setattr("seedbed.inference.multiscale.fuse_logits", record)
    predicted("a", scales=[1.0, 0.5], size=size, map_resampling="scaled_then_nearest")
    half = (whole[0] // 2, whole[1] // 2)
    assert sizes == [whole, whole, half, half]


def test_tensorflow_cuts_the_sizes_that_others_round():
    assert scaled_sizes((375, 333), [0.75, 0.5], flip=False) == [(281, 250), (188, 166)]
    cut = scaled_sizes((375, 333), [0.75, 0.5], flip=False, resampling="tf_legacy")
    assert cut == [(281, 249), (187, 166)]


def test_the_network_sees_the_sizes_that_are_told(predicted, monkeypatch):
    told, seen = [], []

    def fuse(outputs, *arguments, scaled=(), **options):
        told.extend(scaled)
        return fuse_logits(outputs, *arguments, scaled=scaled, **options)

    def look(images, size, how):
        seen.append(size)
        return resize(images, size, how)

    monkeypatch.setattr("seedbed.inference.multiscale.fuse_logits", fuse)
    monkeypatch.setattr("seedbed.inference.multiscale.resize_image", look)
    options = {"flip": False, "map_resampling": "scaled_then_nearest"}
    predicted("a", scales=[1.0, 0.7], resampling="tf_legacy", **options)
    assert seen == told == [(20, 28), (14, 19)]  # 19.6 is cut


def test_on_a_gpu_workers_read_and_one_thread_of_this_process_computes(monkeypatch):
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)

    def read(item):
        return os.getpid(), -item

    def compute(item, source):
        time.sleep(0.02 * (item == 0))
        return *source, item, threading.get_ident(), os.getpid()

    for kind in ("cuda", "cpu"):
        found = list(device_map(read, compute, range(30), torch.device(kind), 2))
        assert [facts[1:3] for facts in found] == [(-item, item) for item in range(30)]
        readers, threads, computers = ({facts[part] for facts in found} for part in (0, 3, 4))
        assert os.getpid() not in readers
        if kind == "cuda":
            assert computers == {os.getpid()} and len(threads) == 1
            assert threads != {threading.get_ident()}
        else:
            assert computers == readers


def test_the_gpu_works_on_while_the_caller_writes_but_not_far_ahead():
    begun = []
    results = device_map(lambda item: item, lambda item, _: begun.append(item), range(50), GPU, 1)
    next(results)
    time.sleep(0.2)
    assert begun == [0, 1, 2]
    results.close()


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_cannot_be_read_or_computed_ends_it_after_what_came_before(device):
    def read(item):
        if item == 4:
            raise UserError("image 4 is broken: mend it")
        return item

    seen = []
    with pytest.raises(UserError, match=r"^image 4 is broken: mend it$"):
        seen.extend(device_map(read, lambda item, _: item, range(9), device, 1))
    assert seen == [0, 1, 2, 3][: len(seen)]
    with pytest.raises(ZeroDivisionError):
        list(device_map(read, lambda item, _: 1 // (item - 2), range(4), device, 1))


def test_a_gpu_without_memory_left_is_one_line_with_a_remedy():
    def compute(item, source):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
        )

    with pytest.raises(UserError) as error:
        list(device_map(lambda item: item, compute, [0], GPU, 1))
    message = str(error.value)
    assert message.startswith("CUDA out of memory. Tried to allocate 2.00 GiB: ")
    assert "smaller scales" in message and "\n" not in message and "capacity" not in message
