"""The permutohedral lattice of Adams, Baek & Davis (Eurographics 2010), with tensors on any device.

Points with d features are embedded in the hyperplane of R^(d+1) whose coordinates sum to 0. Each
point spreads its values over the d + 1 vertices of its enclosing simplex (splat), the vertices'
values are blurred along the d + 1 axes of the lattice, and each point interpolates them again
(slice). All sums run in a fixed order, so the bytes depend neither on the device's scheduling nor
on the number of threads.

A lattice with `fixed_size` holds a row for every vertex that there could be. Nothing then depends
on a number that the device has computed, so the host never waits for a GPU, and the shapes are the
same for all images of one size, as a CUDA graph needs.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_COORDINATE = 2**20  # beyond it float32 is too coarse for the position within a simplex


class Lattice:
    """Gaussian filter, normalised symmetrically, of values at fixed points.

    The kernel is weight · D^-1/2 K D^-1/2. K is the Gaussian kernel of standard deviation 1 in
    every feature, each point itself included, and D holds K's row sums.

    Args:
        features: float32 (N, P, d), N independent sets of points, each feature from 0 to its
            extent.
        extents: the largest values that the d features can take.
        weight: factor of the kernel, 0 or more.
        fixed_size: whether to hold all N · P · (d + 1) possible vertices. The result is the same
            but for rounding; a filter takes more memory, a few times more for large images.
        senders: bool (N · P,), the points whose values are filtered; K's other columns, and so
            their part of the row sums, are 0. None: all points.

    Attributes:
        diagonal: no point shares a vertex or a neighbouring vertex with another one, as where the
            standard deviation is far below the points' distance; the filter is then a
            multiplication by the weight. Always false with `fixed_size`.
        size: number of rows that `splat_and_blur` returns.
        vertices: int32 (N · P, d + 1), each point's rows in what `splat_and_blur` returns.
        weights: float32 (N · P, d + 1), each point's normalised weights at its vertices.

    """

    def __init__(
        self,
        features: Tensor,
        extents: Sequence[float],
        weight: float = 1,
        *,
        fixed_size: bool = False,
        senders: Tensor | None = None,
    ) -> None:
        batch, points, dimensions = features.shape
        self.weight = weight
        corner, rank, barycentric = enclosing_simplices(features.flatten(0, 1).t())
        keys, steps = _keys_of_vertices(corner, rank, extents, batch)
        keys, order = keys.flatten().sort(stable=True)
        starts = self._number_vertices(keys, order, batch * points, dimensions, fixed_size)
        keys = keys_at(starts, keys)
        self._neighbours = [neighbours(keys, step) for step in steps]
        self._taps = barycentric.new_full((self.size, 3), 0.5)
        self._taps[:, 1] = 1
        self._tap_offsets = bag_offsets(self._taps)
        self._normalise(barycentric, order, weight, senders)
        full = len(keys) == len(order)
        self.diagonal = (
            not fixed_size and senders is None and full and self._has_only_own_neighbours()
        )

    def _number_vertices(
        self, keys: Tensor, order: Tensor, count: int, dimensions: int, fixed_size: bool
    ) -> Tensor:
        """Number the distinct vertices in the order of their sorted keys.

        Args:
            keys: the sorted keys of all points' vertices.
            order: their positions before they were sorted, (d + 1, N · P) flattened.
            count: number of points.
            dimensions: d.
            fixed_size: whether there is a number for every key, distinct or not.

        Returns:
            Start of each distinct key in `keys`, int64. With `fixed_size` there are len(keys)
            entries; unused ones hold len(keys).

        """
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[1:] != keys[:-1]
        number = first.cumsum(0, dtype=torch.int32) - 1
        vertex = torch.empty_like(number)
        vertex[order] = number
        self.vertices = vertex.view(dimensions + 1, -1).t().contiguous()
        self._points = (order % count).int()
        if fixed_size:
            position = torch.arange(len(keys), device=keys.device)
            starts = torch.full_like(position, len(keys))
            starts.scatter_reduce_(0, number.long(), position, "amin")
        else:
            starts = first.nonzero().flatten()
        # The last bag is empty: the row of all vertices that do not exist, which stays 0.
        self._splat_offsets = F.pad(starts, (0, 1), value=len(keys)).int()
        self.size = len(self._splat_offsets)
        return starts

    def _normalise(
        self, barycentric: Tensor, order: Tensor, weight: float, senders: Tensor | None
    ) -> None:
        """Scale the barycentric weights (d + 1, N · P) so that splat and slice normalise by D."""
        self.weights = barycentric.t().contiguous()
        self._splat_weights = barycentric.flatten()[order]
        if senders is not None:
            self._splat_weights *= senders[self._points]
        rows = self.splat_and_blur(barycentric.new_ones(barycentric.shape[1], 1))
        degree = weighted_sums(self.vertices, rows, self.weights, bag_offsets(self.weights))
        factor = (weight / (degree + 1e-20)).sqrt()
        self.weights *= factor
        self._splat_weights *= factor.flatten()[self._points]

    def _has_only_own_neighbours(self) -> bool:
        """Whether every neighbour of a vertex is missing or belongs to the same point."""
        owner = F.pad(self._points, (0, 1), value=-1)
        owners = torch.stack([owner[rows] for rows in self._neighbours])
        return bool(((owners == owner[:, None]) | (owners < 0)).all())

    def splat_and_blur(self, values: Tensor) -> Tensor:
        """Rows (V + 1, C) of all vertices from float32 values (N · P, C); the last row is 0."""
        values = weighted_sums(self._points, values, self._splat_weights, self._splat_offsets)
        for rows in self._neighbours:
            values = weighted_sums(rows, values, self._taps, self._tap_offsets)
        return values


class SumOfLattices:
    """Sum of several filters of the same points, sliced at once."""

    def __init__(self, lattices: Sequence[Lattice]) -> None:
        self._diagonal_weight = sum(lattice.weight for lattice in lattices if lattice.diagonal)
        self._lattices = [lattice for lattice in lattices if not lattice.diagonal]
        if self._lattices:
            sizes = [0, *(lattice.size for lattice in self._lattices[:-1])]
            parts = zip(self._lattices, accumulate(sizes), strict=True)
            self._vertices = torch.cat([lattice.vertices + start for lattice, start in parts], 1)
            self._weights = torch.cat([lattice.weights for lattice in self._lattices], 1)
            self._offsets = bag_offsets(self._weights)

    def __call__(self, values: Tensor) -> Tensor:
        """Filter float32 values (N · P, C)."""
        if not self._lattices:
            return values * self._diagonal_weight
        rows = torch.cat([lattice.splat_and_blur(values) for lattice in self._lattices])
        sums = weighted_sums(self._vertices, rows, self._weights, self._offsets)
        return sums.add_(values, alpha=self._diagonal_weight) if self._diagonal_weight else sums


def vertex_keys(extents: Sequence[float], batch: int) -> tuple[list[int], list[int], int]:
    """Smallest coordinates, strides and number of the keys of one point set's vertices.

    A key has the first d coordinates as its digits; the last one follows, as all sum to 0.

    Args:
        extents: the largest values that the d features can take.
        batch: number of point sets.

    Raises:
        OverflowError: there are more than 2^63 keys, or coordinates too large for float32.

    """
    reach = [extent * scale for extent, scale in zip(extents, _scales(len(extents)), strict=True)]
    highs = [sum(reach[j:]) for j in range(len(reach))]
    depths = [j * reach[j - 1] for j in range(len(reach))]
    if max(highs + depths) > MAX_COORDINATE:
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


def _keys_of_vertices(
    corner: Tensor, rank: Tensor, extents: Sequence[float], batch: int
) -> tuple[Tensor, list[int]]:
    """Keys (d + 1, N · P) of each point's vertices, and the steps of a key along the d + 1 axes."""
    lows, strides, total = vertex_keys(extents, batch)
    order, count = rank.shape
    dtype = torch.int32 if total * batch < 2**31 else torch.int64  # int32 is sorted faster
    first = torch.arange(0, batch * total, total, dtype=dtype, device=rank.device)
    base = first[:, None].repeat(1, count // batch).flatten()
    for coordinate, low, stride in zip(corner, lows, strides, strict=False):
        base += (coordinate.to(dtype) - low) * stride
    # From one vertex of a simplex to the next all coordinates grow by 1, and the one of the
    # largest remaining rank falls by d + 1.
    steps = [sum(strides) - order * stride for stride in [*strides, 0]]
    axis = torch.arange(order, device=base.device)[:, None].expand_as(rank)
    falling = torch.empty_like(axis).scatter_(0, order - 1 - rank.long(), axis)[:-1]
    # Filled on the device: to copy a list there, the host would wait for the device.
    step = torch.stack([base.new_full((), step) for step in steps])
    keys = torch.cat([base[None], step[falling]]).cumsum(0, dtype=dtype)
    return keys, steps


def enclosing_simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Simplices that enclose the points (Adams et al., section 3).

    Args:
        features: float32 (d, P).

    Returns:
        Coordinates of the vertex of remainder 0, int (d + 1, P); ranks of the coordinates by
        difference from it, int (d + 1, P), 0 the largest; barycentric weights of the simplex's
        vertices, float32 (d + 1, P).

    """
    dimensions = len(features)
    scales = _scales(dimensions)
    elevated = features.new_zeros(dimensions + 1, features.shape[1])
    for j in range(dimensions, 0, -1):
        part = features[j - 1] * scales[j - 1]
        elevated[j] = elevated[0] - j * part
        elevated[0] += part
    near = (elevated / (dimensions + 1)).round()
    delta = elevated - near * (dimensions + 1)
    rank = near.sum(0).int().repeat(dimensions + 1, 1)
    for i in range(dimensions + 1):
        for j in range(i + 1, dimensions + 1):
            less = delta[i] < delta[j]
            rank[i] += less
            rank[j] += ~less
    # A vertex off the hyperplane moves there along the coordinates of the extreme ranks.
    shift = ((rank < 0).int() - (rank > dimensions).int()) * (dimensions + 1)
    rank += shift
    delta = (delta - shift) / (dimensions + 1)
    ordered = torch.empty_like(delta).scatter_(0, rank.long(), delta)
    weights = ordered.flip(0) - ordered.flip(0).roll(1, 0)
    weights[0] += 1
    return near.int() * (dimensions + 1) + shift, rank, weights


def _scales(dimensions: int) -> list[float]:
    """Factors of the features for equally long axes and the blur's standard deviation (3.1)."""
    length = math.sqrt(2 / 3) * (dimensions + 1)
    return [length / math.sqrt(j * (j + 1)) for j in range(1, dimensions + 1)]


def keys_at(starts: Tensor, keys: Tensor) -> Tensor:
    """Keys at the given positions; at the position len(keys) the greatest key of the dtype."""
    found = keys[starts.clamp(max=len(keys) - 1)]
    return found.masked_fill_(starts == len(keys), torch.iinfo(keys.dtype).max)


def neighbours(keys: Tensor, step: int) -> Tensor:
    """Rows before, at and after each vertex along one axis, int32 (V + 1, 3).

    V stands for a vertex that does not exist; the last row is that vertex's own. Vertices whose key
    is the greatest of the dtype do not exist either, and have no neighbours.
    """
    count = len(keys)
    rows = torch.full((count + 1, 3), count, dtype=torch.int32, device=keys.device)
    rows[:, 1] = torch.arange(count + 1, device=keys.device)
    # The sum of a key that is not there may overflow, but never to the greatest key.
    beyond = keys + step
    position = torch.searchsorted(keys, beyond).clamp_(max=count - 1)
    absent = (keys[position] != beyond) | (keys == torch.iinfo(keys.dtype).max)
    after = position.masked_fill_(absent, count)
    rows[:-1, 2] = after
    rows[after, 0] = rows[:-1, 1]
    rows[-1] = count
    return rows


def bag_offsets(weights: Tensor) -> Tensor:
    """Start of each row of weights (B, K) in the flattened array, int32 (B,).

    These are the `offsets` of `weighted_sums`.
    """
    count, width = weights.shape
    return torch.arange(0, count * width, width, dtype=torch.int32, device=weights.device)


def weighted_sums(indices: Tensor, values: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Weighted sums (B, C) of rows of `values` at `indices`, which `offsets` cuts into B bags."""
    indices, weights = indices.flatten(), weights.flatten()
    return F.embedding_bag(indices, values, offsets, mode="sum", per_sample_weights=weights)
