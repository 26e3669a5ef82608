"""Parameters, time to build and output of every network, as a table; runs without a GPU."""

import time

import torch
from torch import Tensor

from seedbed.models import build
from seedbed.models.heads.group import GroupNetwork
from seedbed.models.network import Network
from seedbed.models.registry import NETWORKS

CLASSES = 21  # of VOC, with background
SEGMENTING = ("_seg", "_aspp", "_largefov", "_deeplab")  # the other heads have no background
# Side of the square that the paper trains on; of the small networks, ours, the default run's.
SIZES = {
    "tiny": 128,
    "squeezenet1_0": 128,
    "mobilenet_v2": 128,
    "vgg16_cls": 448,
    "vgg16_affinity": 448,
    "vgg16_group": 256,
    "vgg16": 321,
    "resnet101": 321,
    "resnet38": 448,
}


def input_size(name: str) -> int:
    """Side of the input, by the longest beginning of the network's name."""
    return SIZES[max((start for start in SIZES if name.startswith(start)), key=len)]


def output_shape(network: Network, size: int) -> list[tuple[int, ...]]:
    """Shapes of what the network returns for one image (or group), computed without numbers."""
    group = (network.group_size,) if isinstance(network, GroupNetwork) else ()
    with torch.no_grad(), torch.device("meta"):
        outputs = network.to("meta")(torch.empty(1, *group, 3, size, size))
    return [tuple(o.shape) for o in ((outputs,) if isinstance(outputs, Tensor) else outputs)]


def main() -> None:
    """Print the table."""
    print("| network | parameters, millions | build, s | input | output |\n|---|---|---|---|---|")
    for name in NETWORKS:
        began = time.perf_counter()
        network = build(name, CLASSES if name.endswith(SEGMENTING) else CLASSES - 1)
        seconds = time.perf_counter() - began
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        size = input_size(name)
        shapes = ", ".join(" × ".join(map(str, shape)) for shape in output_shape(network, size))
        print(f"| {name} | {millions:.2f} | {seconds:.2f} | {size} | {shapes} |")


if __name__ == "__main__":
    main()
