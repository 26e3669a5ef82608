"""Inference and its data against the literal way: `python -m benchmarks.inference`, 3 minutes.

Theirs goes image by image, scale by scale, side by side in one process that uses every CPU, and
reads and writes between the forward passes. Ours are the stages with a worker process a CPU.
Made-up photographs of 375 x 500 pixels, untrained networks; the greatest difference of what both
ways wrote is said beside the times.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.pairs import compare
from benchmarks.targets import Target, verdicts
from seedbed.data.images import read_entry
from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.levels import quantise
from seedbed.formats.maps import Maps, write_maps
from seedbed.inference.probabilities import Fusion, found_classes, fuse_logits
from seedbed.methods.cam import combine_scales, normalise_cam
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.methods.resampling import resize, resize_image
from seedbed.models import build
from seedbed.models.weights import load_network_cached, save_network
from seedbed.runtime.pools import available_cpus
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.sampler import batch_requests
from seedbed.training.samples import Batch, Samples, loader
from seedbed.training.supervision import MaskSupervision
from seedbed.training.views import CropView
from stages.cam import cam
from stages.group_cam import group_cam
from stages.predict import predict
from stages.settings import CamSettings, GroupCamSettings, PredictSettings

SIZE, IMAGES, CLASSES = (375, 500), 24, 21
TAGS = (3, 8)
SEED = 0
CPUS = available_cpus()
CPU = torch.device("cpu")
WORK = (  # network, images, scales, turns
    ("squeezenet1_0", "_cls", "_seg", 8, [1.0, 0.5, 1.5], 3),
    ("vgg16", "_cam", "_largefov", 2, [1.0, 0.5], 2),
)
GROUPS = (24, 128, 2, 3)  # images, size, groups an image, images a group
STEPS, BATCH, CROP = 6, 8, 321
# Groups save forward passes; elsewhere convolution is all of the cost, and nothing may be lost.
TARGETS = {"group_cam": Target(3), "cam": Target(0.95), "predict": Target(0.95)}
LOADING, SAME = Target(0.9), Target(0.05, at_most=True)


def made_up(folder: Path, count: int) -> list[ImageEntry]:
    """Photographs: colours that change slowly, and noise."""
    rng = np.random.default_rng(SEED)
    entries = []
    for number in range(count):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 9, 12)))
        smooth = resize(coarse, SIZE, "half_pixel")[0].permute(1, 2, 0).numpy()
        pixels = (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
        entries.append(ImageEntry(f"{number}", f"{number}.jpg", *SIZE, TAGS, "train", True, ""))
    return entries


def index_of(folder: Path, entries: list[ImageEntry]) -> Path:
    """The index of some of the photographs."""
    path = folder / f"{len(entries)}.json"
    classes = (ClassInfo(f"class {number}", number) for number in range(1, CLASSES))
    Index(tuple(classes), tuple(entries), "annotations").save(path)
    return path


def saved(folder: Path, name: str, classes: int) -> Path:
    """Weights of an untrained network."""
    torch.manual_seed(SEED)
    path = folder / f"{name}.pt"
    save_network(path, build(name, classes), name, classes, {}, [str(c) for c in range(classes)])
    return path


def each_side(image: np.ndarray, scales: list[float], show: Callable[[Tensor], Tensor]) -> list:
    """What `show` gives for every scale and side by itself, mirrored back."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    outputs = []
    for scale, mirrored in product(scales, (False, True)):
        scaled = resize_image(pixels, tuple(round(side * scale) for side in SIZE), "antialias")
        output = show(scaled.flip(-1) if mirrored else scaled)[0]
        outputs.append(output.flip(-1) if mirrored else output)
    return outputs


@torch.no_grad()
def literal_cam(
    entries: list[ImageEntry], data: Path, weights: Path, scales: list[float], output: Path
) -> None:
    """Class activation maps one forward pass after the other."""
    torch.set_num_threads(CPUS)
    model, tagged = load_network_cached(weights, CPU, "cls"), [c - 1 for c in TAGS]
    with write_maps(output, levels=255) as maps:
        for entry in entries:
            image = read_entry(data, entry)
            found = each_side(image, scales, lambda x: model.maps(model.preprocess(x))[:, tagged])
            cams = normalise_cam(combine_scales(found, SIZE, power=1.0, resampling="half_pixel"))
            maps.put(entry.id, quantise(cams.numpy()))


@torch.no_grad()
def literal_predict(
    entries: list[ImageEntry], data: Path, weights: Path, scales: list[float], output: Path
) -> None:
    """Logarithms of probabilities one forward pass after the other."""
    fusion = Fusion(fuse="mean", fuse_on="image", map_resampling="half_pixel")
    torch.set_num_threads(CPUS)
    model = load_network_cached(weights, CPU, "seg")
    with write_maps(output) as maps:
        for entry in entries:
            image = read_entry(data, entry)
            logits = each_side(image, scales, lambda x: model(model.preprocess(x)))
            maps.put(entry.id, found_classes(fuse_logits(logits, SIZE, fusion), TAGS)[0])


@torch.no_grad()
def literal_groups(
    entries: list[ImageEntry], data: Path, weights: Path, settings: GroupCamSettings, output: Path
) -> None:
    """Maps of images in groups, every group through the whole network."""
    torch.set_num_threads(CPUS)
    model, tagged = load_network_cached(weights, CPU, "group"), [c - 1 for c in TAGS]
    groups = GroupIndex([entry.labels for entry in entries], draws=None)
    side = (settings.size, settings.size)
    with write_maps(output, levels=255) as maps:
        for position, entry in enumerate(entries):
            rng, found = np.random.default_rng([settings.seed, position]), []
            for _ in range(settings.groups):
                members = groups.group(position, model.group_size, rng)
                images = [torch.from_numpy(read_entry(data, entries[m])) for m in members]
                squares = [
                    resize_image(image.permute(2, 0, 1)[None].float(), side, "antialias")[0]
                    for image in images
                ]
                for flipped in (False, True):
                    shown = torch.stack(squares).flip(-1) if flipped else torch.stack(squares)
                    seen = model(model.preprocess(shown)[None]).maps[0, 0, tagged]
                    found.append(seen.flip(-1) if flipped else seen)
            cams = (
                normalise_cam(combine_scales(found, SIZE, power=1.0, resampling="half_pixel"))
                ** settings.power
            )
            maps.put(entry.id, quantise(cams.numpy()))


def report(
    about: str, ours: Callable[..., None], theirs: Callable[..., None], folder: Path, turns: int
) -> None:
    """Both ways in turns, and by how much what they wrote differs."""
    first, second = folder / "ours.h5", folder / "theirs.h5"
    timed = compare(partial(ours, output=first), partial(theirs, output=second), turns)
    with Maps(first) as own, Maps(second) as other:
        differences = [np.abs(own.floats(name) - other.floats(name)).max() for name in other]
    verdict = verdicts((timed.ratio, TARGETS[about.split(",")[0]]), (max(differences), SAME))
    difference = f"greatest difference {max(differences):.1g}"
    print(f"{about}: {timed}; {difference}; targets {verdict}", flush=True)


def networks(folder: Path, entries: list[ImageEntry]) -> None:
    """CAM and prediction over scales and flip."""
    how = {"shard": "1-of-1", "data": folder, "device": "cpu", "workers": CPUS}
    for name, classifier, segmenter, count, scales, turns in WORK:
        some = entries[:count]
        about = f"{count} images, scales {scales} and flip"
        shared = {"index": index_of(folder, some), **how}
        literal = {"entries": some, "data": folder, "scales": scales}
        weights = saved(folder, name + classifier, CLASSES - 1)
        settings = CamSettings(scales=scales, flip=True)
        ours = partial(cam, **shared, weights=weights, settings=settings)
        theirs = partial(literal_cam, **literal, weights=weights)
        report(f"cam, {name}, {about}", ours, theirs, folder, turns)
        weights = saved(folder, name + segmenter, CLASSES)
        options = {"settings": PredictSettings(scales=scales, flip=True), "weights": weights}
        ours = partial(predict, **shared, **options, round=0, split="train")
        theirs = partial(literal_predict, **literal, weights=weights)
        report(f"predict, {name}, {about}", ours, theirs, folder, turns)


def mining(folder: Path, entries: list[ImageEntry]) -> None:
    """Maps of images in groups."""
    count, size, groups, members = GROUPS
    some = entries[:count]
    settings = GroupCamSettings(source="network", groups=groups, size=size)
    weights = saved(folder, "squeezenet1_0_group", CLASSES - 1)
    with write_maps(folder / "kept.h5"):
        pass
    ours = partial(
        group_cam,
        index=index_of(folder, some),
        shard="1-of-1",
        settings=settings,
        group_size=members,
        data=folder,
        device="cpu",
        workers=CPUS,
        weights=weights,
        kept=folder / "kept.h5",
    )
    theirs = partial(literal_groups, entries=some, data=folder, weights=weights, settings=settings)
    about = f"group_cam, squeezenet1_0, {count} images of {size} x {size}, {groups} groups"
    report(about, ours, theirs, folder, 2)


def loading(folder: Path, entries: list[ImageEntry]) -> None:
    """Batches from worker processes, and from the training's own; alone, and with its steps."""
    with write_maps(folder / "targets.h5") as maps:
        for entry in entries:
            maps.put(entry.id, np.full(SIZE, TAGS[0], np.uint8))
    view = CropView(
        crop=CROP,
        long_side=None,
        scale=(0.5, 1.5),
        rotate=0.0,
        flip=True,
        jitter=0.1,
        hue=0.0,
        padding=None,
        placement="random",
        scale_resampling="half_pixel",
        flip_before_padding=True,
    )
    masks = MaskSupervision(maps=Maps(folder / "targets.h5"), stride=1, sampling="half_pixel")
    samples = Samples(entries, folder, view, num_classes=CLASSES, seed=SEED, supervision=masks)

    def batches(workers: int) -> Iterable[Batch]:
        requests = batch_requests(len(samples), BATCH, 0, STEPS, SEED)
        return loader(samples, requests, workers=workers)

    def waiting(workers: int) -> float:
        """Share of a training's time in which it waits for data."""
        model, waited = build("squeezenet1_0_seg", CLASSES).train(), 0.0
        begun = asked = time.perf_counter()
        for batch in batches(workers):
            waited += time.perf_counter() - asked
            MaskObjective("half_pixel")(model, batch, 0)["loss"].backward()
            asked = time.perf_counter()
        return waited / (asked - begun)

    torch.set_num_threads(CPUS)
    timed = compare(lambda: list(batches(CPUS)), lambda: list(batches(0)), 3)
    verdict = LOADING.verdict(timed.ratio)
    about = f"{STEPS} batches of {BATCH} crops of {CROP} x {CROP}, {CPUS} workers"
    print(f"{about}: {timed}; target {verdict}")
    shares = " against ".join(f"{100 * waiting(workers):.0f} %" for workers in (CPUS, 0))
    print(f"waiting for them, squeezenet1_0_seg on the CPU: {shares}", flush=True)


def main() -> None:
    """All of it."""
    print(f"{CPUS} CPUs, seed {SEED}")
    with tempfile.TemporaryDirectory() as folder:
        entries = made_up(Path(folder), IMAGES)
        for measure in (loading, mining, networks):
            measure(Path(folder), entries)


if __name__ == "__main__":
    main()
