"""Deep seeded region growing: seeds spread over the cells that the network is confident of.

Huang et al., "Weakly-Supervised Semantic Segmentation Network with Deep Seeded Region Growing",
CVPR 2018; order of operations as in pylayers.py (generate_seed_step) of the authors' code. The
paper visits the 8 neighbours of each seed until nothing changes. Equivalently, and in one pass,
this keeps every 8-connected component of confident cells of one class that contains a seed of it.
"""

import torch
import torch.nn.functional as F
from skimage.measure import label
from torch import Tensor


def grow_seeds(
    cues: Tensor,
    probs: Tensor,
    labels: Tensor,
    *,
    foreground_threshold: float,
    background_threshold: float,
    prefill_seeds: bool,
) -> Tensor:
    """Grow the seeds of a batch over the cells that the network is confident of.

    Args:
        cues: (N, C, H, W), non-zero where a class has a seed; any numeric dtype.
        probs: (N, C, H, W) floating, probabilities in [0, 1] (in the paper, after the CRF).
        labels: (N, C), non-zero for the classes of the image, background (class 0) included.
        foreground_threshold: a cell is confident if the probability of its most probable present
            class is above this. DSRG: 0.85; its TensorFlow port: 0.5.
        background_threshold: where that class is background, the probability must be above this
            as well. DSRG: 0.99; its TensorFlow port: 0.7.
        prefill_seeds: whether cells that are not confident take the class of their seed, so that
            growth also starts from seeds the network does not confirm. DSRG: true; its TensorFlow
            port: false.

    Returns:
        (N, C, H, W) bool on the device of `cues`: the seeds and all cells reached from them. A cell
        whose only seed is of another class is not added, but growth continues through it.

    Raises:
        ValueError: if the shapes do not fit together or `probs` is not floating.

    """
    _check_arguments(cues, probs, labels)
    seeds, present = cues.bool(), labels.bool()
    region = _confident_classes(probs, present, background_threshold, foreground_threshold)
    if prefill_seeds:
        region = torch.where(region < 0, _seed_classes(seeds), region)

    own_class = region.clamp(min=0).unsqueeze(1)
    eligible = (region >= 0) & present.gather(1, own_class.flatten(1)).view_as(region)
    is_own_seed = seeds.gather(1, own_class).squeeze(1)
    reached = _components_with_seed(is_own_seed, connected_components(region)) & eligible
    seed_of_another_class = (seeds.sum(1, dtype=torch.int16) == 1) & ~is_own_seed
    grown = is_own_seed | (reached & ~seed_of_another_class)
    return seeds.scatter(1, own_class, grown.unsqueeze(1))


def connected_components(region: Tensor) -> Tensor:
    """Number the 8-connected components of equal values in a batch of label maps.

    Args:
        region: (N, H, W) integer; negative values belong to no component.

    Returns:
        (N, H, W) int64 in [0, N·H·W]. Two cells have the same number if and only if they belong to
        the same component of the same image; the numbers of negative cells are undefined.

    """
    if region.device.type == "cpu":
        return _components_on_cpu(region)
    return _components_on_gpu(region)


def _check_arguments(cues: Tensor, probs: Tensor, labels: Tensor) -> None:
    if cues.ndim != 4:
        raise ValueError(f"cues must be (N, C, H, W), not {tuple(cues.shape)}")
    if probs.shape != cues.shape:
        raise ValueError(f"probs must be {tuple(cues.shape)} as cues, not {tuple(probs.shape)}")
    if labels.shape != cues.shape[:2]:
        raise ValueError(f"labels must be {tuple(cues.shape[:2])}, not {tuple(labels.shape)}")
    if not probs.is_floating_point():
        raise ValueError(f"probs must be floating, not {probs.dtype}")


def _confident_classes(
    probs: Tensor, present: Tensor, background_threshold: float, foreground_threshold: float
) -> Tensor:
    """Most probable present class of each cell, -1 where not confident: (N, H, W) int64."""
    best, best_class = _best_present(probs.detach(), present)
    confident = (best > foreground_threshold) & ((best_class > 0) | (best > background_threshold))
    return best_class.masked_fill(~confident, -1)


def _best_present(probs: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Highest probability among the present classes, and that class: (N, H, W) each."""
    if probs.device.type != "cpu":
        return probs.masked_fill(~present[:, :, None, None], -torch.inf).max(dim=1)
    # Few of many classes are present, so only their channels are compared. On a GPU, reading their
    # number would synchronise with the host.
    most = max(1, int(present.sum(1).max()))
    order = (~present).int().argsort(dim=1, stable=True)[:, :most]
    absent = ~present.gather(1, order)[:, :, None, None]
    images = torch.arange(len(probs)).unsqueeze(1)
    best, channel = probs[images, order].masked_fill(absent, -torch.inf).max(dim=1)
    return best, order.gather(1, channel.flatten(1)).view_as(channel)


def _seed_classes(seeds: Tensor) -> Tensor:
    """Class of each cell's seed, the highest id if several, -1 if none: (N, H, W) int64."""
    count = seeds.shape[1]
    ids = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int16).view(1, -1, 1, 1)
    return (seeds * ids).amax(dim=1).long() - 1


def _components_with_seed(is_seed: Tensor, components: Tensor) -> Tensor:
    """Mark all cells of the components that contain a seed cell: (N, H, W) bool."""
    has_seed = torch.zeros(components.numel() + 1, dtype=torch.uint8, device=is_seed.device)
    has_seed.scatter_reduce_(0, components.flatten(), is_seed.flatten().to(torch.uint8), "amax")
    return has_seed.bool()[components]


def _components_on_cpu(region: Tensor) -> Tensor:
    """Stack the images, an empty row between them, and label the stack with scikit-image."""
    stack = F.pad(region, (0, 0, 0, 1), value=-1)
    numbers = label(stack.flatten(0, 1).numpy(), background=-1, connectivity=2)
    return torch.from_numpy(numbers).long().view_as(stack)[:, :-1]


def _components_on_gpu(region: Tensor) -> Tensor:
    """Borůvka's algorithm: in each round every tree joins the neighbour tree of lowest root.

    Each round at least halves the number of trees of a component, so the number of rounds is known
    in advance and the host never waits for the device. The only cycles are two trees that choose
    each other: the lower of the two roots stays a root.
    """
    rounds = region[0].numel().bit_length()
    cells = torch.arange(region.numel(), device=region.device)
    root, none = cells, region.numel()
    same = _windows(region, -1) == region[..., None, None]
    for done in range(rounds):
        neighbour = _lowest_neighbour_root(root.view_as(region), same).flatten()
        lowest = torch.full_like(root, none).scatter_reduce(0, root, neighbour, "amin")
        parent = torch.where(lowest < none, lowest, root)
        parent = torch.where((parent[parent] == cells) & (cells < parent), cells, parent)
        # Pointer jumping: a tree is at most as deep as trees were left, and its depth halves.
        for _ in range(rounds - done):
            parent = parent[parent]
        root = parent
    return root.view_as(region)


def _windows(grid: Tensor, outside: int) -> Tensor:
    """The 3 x 3 cells around each cell of a grid (N, H, W): a view (N, H, W, 3, 3)."""
    return F.pad(grid, (1, 1, 1, 1), value=outside).unfold(1, 3, 1).unfold(2, 3, 1)


def _lowest_neighbour_root(root: Tensor, same: Tensor) -> Tensor:
    """Lowest different root among the 8 neighbours of equal value; the number of cells if none.

    Args:
        root: (N, H, W) int64.
        same: (N, H, W, 3, 3) bool, which cells of each window have the value of its centre.

    """
    roots = _windows(root, root.numel())
    other = same & (roots != root[..., None, None])
    # Not torch.where with a number, which is copied to the GPU, and the host would wait for that.
    return roots.masked_fill(~other, root.numel()).amin((-2, -1))
