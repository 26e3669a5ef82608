"""The permutohedral lattice of Adams, Baek & Davis (Eurographics 2010), with tensors on any device.

Points with d features lie in the d-dimensional plane of R^(d+1) whose coordinates sum to 0. Each
spreads its values over the d + 1 vertices of its simplex (splat); the vertices' values are blurred
along the d + 1 axes of the lattice; each point gathers them again (slice). All sums run in a fixed
order, so the bytes depend neither on the device's scheduling nor on the number of threads.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

COARSEST = 2**20  # float32 coordinates beyond this lose the position within a simplex


class Lattice:
    """Gaussian filter, normalised on both sides, of values at fixed points.

    The kernel is weight · D^-1/2 K D^-1/2, K that of a standard deviation of 1 in every feature, a
    point itself included.

    Attributes:
        diagonal: no point hears another one, as where the standard deviation is far below their
            distance; the filter is then no more than a product with the weight.
        size: number of rows that `spread` returns.
        vertices: int (N · P, d + 1), of each point.
        shares: float (N · P, d + 1), of each point in its vertices, normalised.

    """

    def __init__(self, features: Tensor, extents: Sequence[float], weight: float = 1) -> None:
        """Build it for a batch of point sets, which do not hear each other.

        Args:
            features: float32 (N, P, d), each from 0 to its extent.
            extents: the d greatest values that the features can take.
            weight: factor of the filter's results, 0 or more.

        """
        batch, points, dimensions = features.shape
        self.weight = weight
        lows, strides, total = vertex_keys(extents, batch)
        corner, rank, shares = enclosing_simplices(features.flatten(0, 1).t())
        count = batch * points
        kind = torch.int32 if total * batch < 2**31 else torch.int64  # half as wide, sorted faster
        first = torch.arange(0, batch * total, total, dtype=kind, device=features.device)
        base = first.repeat_interleave(points)
        for coordinate, low, stride in zip(corner, lows, strides, strict=False):
            base += (coordinate.to(kind) - low) * stride
        # From each vertex of a simplex to the next: all coordinates grow by 1, and the one of the
        # largest rank left falls by d + 1.
        steps = [sum(strides) - (dimensions + 1) * stride for stride in [*strides, 0]]
        axis = torch.arange(dimensions + 1, device=base.device)[:, None].expand_as(rank)
        falling = torch.empty_like(axis).scatter_(0, dimensions - rank.long(), axis)[:-1]
        keys = torch.cat([base[None], base.new_tensor(steps)[falling]]).cumsum(0, dtype=kind)

        keys, entry = keys.flatten().sort(stable=True)
        fresh = torch.ones_like(keys, dtype=torch.bool)
        fresh[1:] = keys[1:] != keys[:-1]
        vertex = torch.empty_like(entry, dtype=torch.int32)
        vertex[entry] = fresh.cumsum(0, dtype=torch.int32) - 1
        self.vertices = vertex.view(dimensions + 1, -1).t().contiguous()
        self._points = (entry % count).int()
        starts = fresh.nonzero().flatten()
        # One empty bag more: a vertex that stands for all that are not there, and stays 0.
        self._bags = torch.cat([starts, starts.new_tensor([len(keys)])]).int()
        self.size = len(self._bags)
        keys = keys[starts]
        self._neighbours = [neighbours(keys, step) for step in steps]
        self._taps = shares.new_tensor([0.5, 1, 0.5]).repeat(self.size, 1)
        self._threes = bags_of(self._taps)

        self.shares = shares.t().contiguous()
        self._entries = shares.flatten()[entry]
        rows = self.spread(shares.new_ones(count, 1))
        degree = weighted_sums(self.vertices, rows, self.shares, bags_of(self.shares))
        factor = (weight / (degree + 1e-20)).sqrt()
        self.shares *= factor
        self._entries *= factor.flatten()[self._points]
        self.diagonal = len(keys) == len(entry) and self._only_own_neighbours()

    def _only_own_neighbours(self) -> bool:
        owner = torch.cat([self._points, self._points.new_tensor([-1])])
        heard = torch.stack([owner[one] for one in self._neighbours])
        return bool(((heard == owner[:, None]) | (heard < 0)).all())

    def spread(self, values: Tensor) -> Tensor:
        """Splat float32 (N · P, C), and blur: rows (V + 1, C) of all vertices, the last one 0."""
        values = weighted_sums(self._points, values, self._entries, self._bags)
        for each in self._neighbours:
            values = weighted_sums(each, values, self._taps, self._threes)
        return values


class SumOfLattices:
    """Sum of filters of the same points, sliced at once."""

    def __init__(self, lattices: Sequence[Lattice]) -> None:
        self._own = sum(one.weight for one in lattices if one.diagonal)
        self._lattices = [one for one in lattices if not one.diagonal]
        if self._lattices:
            sizes = [0, *(one.size for one in self._lattices[:-1])]
            starts = accumulate(sizes)
            parts = [one.vertices + at for one, at in zip(self._lattices, starts, strict=True)]
            self._vertices = torch.cat(parts, 1)
            self._shares = torch.cat([one.shares for one in self._lattices], 1)
            self._bags = bags_of(self._shares)

    def __call__(self, values: Tensor) -> Tensor:
        """Filter float32 (N · P, C)."""
        if not self._lattices:
            return values * self._own
        rows = torch.cat([one.spread(values) for one in self._lattices])
        sums = weighted_sums(self._vertices, rows, self._shares, self._bags)
        return sums.add_(values, alpha=self._own) if self._own else sums


def vertex_keys(extents: Sequence[float], batch: int) -> tuple[list[int], list[int], int]:
    """Smallest coordinates, strides and number of the keys of one point set's vertices.

    A key has the first d coordinates as its digits; the last follows, as all sum to 0.

    Raises:
        OverflowError: there are more than 2^63 keys, or coordinates too large for float32.

    """
    reach = [extent * scale for extent, scale in zip(extents, _scales(len(extents)), strict=True)]
    highs = [sum(reach[j:]) for j in range(len(reach))]
    depths = [j * reach[j - 1] for j in range(len(reach))]
    if max(highs + depths) > COARSEST:
        raise OverflowError("coordinates too large")
    margin = 3 * (len(extents) + 1)  # vertices and their neighbours lie outside the points' range
    lows, strides, total = [], [], 1
    for high, depth in zip(highs, depths, strict=True):
        lows.append(-math.ceil(depth) - margin)
        strides.append(total)
        total *= math.ceil(high) + margin - lows[-1] + 1
    if total * batch >= 2**63:
        raise OverflowError("too many keys")
    return lows, strides, total


def enclosing_simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Simplices of points (d, P): (d + 1, P) corners, int; ranks, int; barycentric weights."""
    dimensions = len(features)
    parts = features * features.new_tensor(_scales(dimensions))[:, None]
    elevated = features.new_zeros(dimensions + 1, features.shape[1])
    for j in range(dimensions, 0, -1):
        elevated[j] = elevated[0] - j * parts[j - 1]
        elevated[0] += parts[j - 1]
    near = (elevated / (dimensions + 1)).round()
    delta = elevated - near * (dimensions + 1)
    # The rank of each difference, the largest first; a corner off the plane moves there by the
    # coordinates with the extreme ranks.
    rank = near.sum(0).int().repeat(dimensions + 1, 1)
    for i in range(dimensions + 1):
        for j in range(i + 1, dimensions + 1):
            less = delta[i] < delta[j]
            rank[i] += less
            rank[j] += ~less
    shift = ((rank < 0).int() - (rank > dimensions).int()) * (dimensions + 1)
    rank += shift
    delta = (delta - shift) / (dimensions + 1)
    ordered = torch.empty_like(delta).scatter_(0, rank.long(), delta)
    shares = ordered.flip(0) - ordered.flip(0).roll(1, 0)
    shares[0] += 1
    return near.int() * (dimensions + 1) + shift, rank, shares


def _scales(dimensions: int) -> list[float]:
    # Adams et al., section 3.1: axes of equal length, and the blur's own standard deviation.
    length = math.sqrt(2 / 3) * (dimensions + 1)
    return [length / math.sqrt(j * (j + 1)) for j in range(1, dimensions + 1)]


def neighbours(keys: Tensor, step: int) -> Tensor:
    """(V + 1, 3) int: the vertices before, at and after each along one axis; V if none is there."""
    count = len(keys)
    ids = torch.full((count + 1, 3), count, dtype=torch.int32, device=keys.device)
    ids[:, 1] = torch.arange(count + 1, device=keys.device)
    at = torch.searchsorted(keys, keys + step).clamp_(max=count - 1)
    after = torch.where(keys[at] == keys + step, at, count)
    ids[:-1, 2] = after
    ids[after, 0] = ids[:-1, 1]
    ids[-1] = count
    return ids


def bags_of(weights: Tensor) -> Tensor:
    """Where the rows of weights (B, K) begin in the flat list; made once, as it costs a tenth."""
    count, width = weights.shape
    return torch.arange(0, count * width, width, dtype=torch.int32, device=weights.device)


def weighted_sums(indices: Tensor, values: Tensor, weights: Tensor, bags: Tensor) -> Tensor:
    """Sums of weighted rows (B, C): of the rows at `indices`, which `bags` cuts into B lists."""
    indices, weights = indices.flatten(), weights.flatten()
    return F.embedding_bag(indices, values, bags, mode="sum", per_sample_weights=weights)
