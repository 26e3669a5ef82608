"""Prediction at three scales with flip: images a second."""

from functools import partial

import torch

from benchmarks.gpu.rows import SEED, Outcome, Row, Setup
from benchmarks.gpu.scenes import image
from benchmarks.gpu.trainings import CLASSES
from seedbed.inference.probabilities import PredictionOptions, class_log_probabilities
from seedbed.models import build
from stages.settings import PredictSettings


def predict(setup: Setup, *, network: str) -> Outcome:
    """Probabilities of images of 375 × 500 pixels, from and to the host's memory."""
    size, count = ((96, 128), 2) if setup.small else ((375, 500), 8)
    torch.manual_seed(SEED)
    with setup.device:
        model = build("tiny_seg" if setup.small else network, CLASSES).eval()
    settings = PredictSettings(scales=[0.75, 1.0, 1.25], flip=True, precision=setup.precision)
    options = PredictionOptions(**settings.model_dump())
    photographs = [image(seed, size) for seed in range(count)]

    def run() -> None:
        for number, pixels in enumerate(photographs):
            class_log_probabilities(
                model, pixels, str(number), options, keep=[1, 2], device=setup.device
            )

    rate = count / setup.seconds(run, 3, 1)
    return Outcome(f"{rate:.1f} images a second", None, {"images_per_second": rate})


ROWS = tuple(
    Row(f"prediction, 3 scales and flip: {network}", "", partial(predict, network=network))
    for network in ("vgg16_largefov", "resnet101_deeplab", "resnet38_seg")
)
