"""Deep seeded region growing: image-level cues flood the regions the network is sure of.

Source: Huang et al., "Weakly-Supervised Semantic Segmentation Network with Deep Seeded Region
Growing", CVPR 2018. The paper visits the 8 neighbours of a seed until nothing changes; that is the
same as keeping every connected component of confident cells that holds a seed, which is one pass.
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
    prefill_seeds: bool = True,
) -> Tensor:
    """Grow the cues of a batch over the cells that the network is confident of.

    Args:
        cues: (N, C, H, W), non-zero where a class has a seed; any numeric dtype.
        probs: (N, C, H, W), floating, probabilities in [0, 1] (after the CRF in the paper).
        labels: (N, C), non-zero for the image's classes, background (class 0) included.
        foreground_threshold: a cell joins its best class if its probability is above this.
        background_threshold: background must be above both thresholds.
        prefill_seeds: cells below the thresholds count as their seed's class, so that a seed
            grows from itself. Without (DSRG-tensorflow), only confident cells count.

    Returns:
        (N, C, H, W) bool on the device of `cues`: the cues and all they reached. A cell whose only
        seed is of another class is never taken, but regions connect through it.

    Raises:
        ValueError: if the shapes do not fit together or `probs` is not floating.

    """
    _check_arguments(cues, probs, labels)
    seeds, present = cues.bool(), labels.bool()
    thresholds = (background_threshold, foreground_threshold)
    region = _confident_classes(probs, present, *thresholds)
    if prefill_seeds:
        region = torch.where(region < 0, _seed_classes(seeds), region)

    own_class = region.clamp(min=0).unsqueeze(1)
    eligible = (region >= 0) & present.gather(1, own_class.flatten(1)).view_as(region)
    is_own_seed = seeds.gather(1, own_class).squeeze(1)
    reached = _spread(is_own_seed, connected_components(region)) & eligible
    claimed_by_other = (seeds.sum(1, dtype=torch.int16) == 1) & ~is_own_seed
    grown = is_own_seed | (reached & ~claimed_by_other)
    return seeds.scatter(1, own_class, grown.unsqueeze(1))


def connected_components(region: Tensor) -> Tensor:
    """Number the 8-connected components of equal values of a batch of label maps.

    `region` (N, H, W), integer, negative = nothing → (N, H, W) int64 in [0, N·H·W]. Two cells of
    one image with equal values ≥ 0 share a number exactly if a path of such cells joins them.
    What negative cells get means nothing. Images never share a component.
    """
    if region.device.type == "cpu":
        return _components_by_scan(region)
    return _components_by_hooking(region)


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
    """(N, H, W): the best class among those present, -1 where it is below its threshold."""
    best, winner = _best_present(probs.detach(), present)
    confident = (best > foreground_threshold) & ((winner > 0) | (best > background_threshold))
    return winner.masked_fill(~confident, -1)


def _best_present(probs: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest probability of a class that is present, and the class: (N, H, W) each."""
    if probs.device.type != "cpu":
        return probs.masked_fill(~present[:, :, None, None], -torch.inf).max(dim=1)
    # Few of many classes are present. On a GPU the host would have to wait for their number.
    most = max(1, int(present.sum(1).max()))
    order = (~present).int().argsort(dim=1, stable=True)[:, :most]
    missing = ~present.gather(1, order)[:, :, None, None]
    images = torch.arange(len(probs)).unsqueeze(1)
    best, place = probs[images, order].masked_fill(missing, -torch.inf).max(dim=1)
    return best, order.gather(1, place.flatten(1)).view_as(place)


def _seed_classes(seeds: Tensor) -> Tensor:
    """(N, H, W): the class of the seed, the highest id if several, -1 where there is none."""
    count = seeds.shape[1]
    ids = torch.arange(1, count + 1, device=seeds.device, dtype=torch.int16).view(1, -1, 1, 1)
    return (seeds * ids).amax(dim=1).long() - 1


def _spread(starts: Tensor, components: Tensor) -> Tensor:
    """Mark every cell of each component that holds a start: (N, H, W) bool."""
    hit = torch.zeros(components.numel() + 1, dtype=torch.uint8, device=starts.device)
    hit.scatter_reduce_(0, components.flatten(), starts.flatten().to(torch.uint8), "amax")
    return hit.bool()[components]


def _components_by_scan(region: Tensor) -> Tensor:
    """Stack the images with an empty row between them and scan the stack once."""
    stack = F.pad(region, (0, 0, 0, 1), value=-1)
    numbers = label(stack.flatten(0, 1).numpy(), background=-1, connectivity=2)
    return torch.from_numpy(numbers).long().view_as(stack)[:, :-1]


def _components_by_hooking(region: Tensor) -> Tensor:
    """Borůvka's rounds: every tree joins the neighbour tree whose root is the lowest.

    Each round at least halves the trees of a component, so their number is known beforehand, and
    the host never waits for a result. Two trees that choose each other are the only circle there
    can be; the lower root stays one.
    """
    doublings = region[0].numel().bit_length()
    cells = torch.arange(region.numel(), device=region.device)
    root, none = cells, region.numel()
    for _ in range(doublings):
        beside = _lowest_other(root.view_as(region), region).flatten()
        chosen = torch.full_like(root, none).scatter_reduce(0, root, beside, "amin")
        parent = torch.where(chosen < none, chosen, root)
        parent = torch.where((parent[parent] == cells) & (cells < parent), cells, parent)
        for _ in range(doublings):
            parent = parent[parent]
        root = parent
    return root.view_as(region)


def _lowest_other(root: Tensor, region: Tensor) -> Tensor:
    """The least other root among a cell's neighbours of its class; the number of cells if none."""
    height, width = region.shape[1:]
    none = root.numel()
    roots = F.pad(root, (1, 1, 1, 1), value=none)
    regions = F.pad(region, (1, 1, 1, 1), value=-1)
    lowest = torch.full_like(root, none)
    for row, column in ((r, c) for r in range(3) for c in range(3)):
        window = (..., slice(row, row + height), slice(column, column + width))
        other = (regions[window] == region) & (roots[window] != root)
        lowest = torch.where(other, torch.minimum(lowest, roots[window]), lowest)
    return lowest
