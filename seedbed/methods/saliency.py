"""Saliency without training, from background priors over superpixels.

Zhu et al., "Saliency Optimization from Robust Background Detection", CVPR 2014: a region that is
strongly connected to the image border, relative to its size, is background; a region that contrasts
with nearby background is foreground; a quadratic cost over the superpixels combines the two.
Distances between regions are geodesic, as in Wei et al., "Geodesic Saliency Using Background
Priors", ECCV 2012. A guided filter (He et al., ECCV 2010) refines the result to pixels.

Two simplifications of Zhu et al., which were better in trials on VOC photographs: small colour
differences count in the geodesic distance, and only adjacent regions are smoothed in the cost.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import csc_array, csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.sparse.linalg import spsolve
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab
from skimage.segmentation import slic

Array = np.ndarray

SLIC_ITERATIONS = 5  # ten take twice as long for nearly the same regions
COMPACTNESS = 20.0  # of SLIC; higher values give squarer superpixels
COLOUR_SIGMA = 10.0  # standard deviation of colour similarity, CIELAB units
SPATIAL_SIGMA = 0.25  # standard deviation of the contrast's spatial weight, fraction of the sides
BACKGROUND_WEIGHT = 5.0  # of the background term of the cost; the foreground term has 1
EDGE_RADIUS = 0.015  # radius of the guided filter, fraction of the longer side
SMOOTHNESS = 0.1  # least weight of the smoothness term between neighbours (Zhu et al.: mu)
GUIDED_FILTER_EPSILON = 0.01  # variance of grey (0..1) below which the guided filter smooths
MIN_RANGE = 1e-6  # a range of values below this is rounding error


def saliency(image: Array, *, superpixels: int) -> Array:
    """Saliency map of an image.

    Args:
        image: RGB uint8 (H, W, 3), any size.
        superpixels: approximate number of SLIC superpixels, independent of the image's size.

    Returns:
        (H, W) float32 in [0, 1], min-max normalised; all 0 for an image without contrast.

    Raises:
        ValueError: if `image` is not uint8 (H, W, 3) with at least one pixel.

    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"image must be uint8 (H, W, 3), not {image.dtype} {image.shape}")
    regions = segment(image, superpixels, COMPACTNESS)
    colour = cdist(regions.lab, regions.lab)
    similarity = np.exp(-((colour / COLOUR_SIGMA) ** 2) / 2)
    distance = geodesic_distance(colour, regions.adjacent, regions.border)
    background = background_probability(distance, regions.border, COLOUR_SIGMA)
    contrast = background_contrast(colour, regions.centres, background, SPATIAL_SIGMA)
    smoothness = np.where(regions.adjacent, similarity + SMOOTHNESS, 0)
    values = minimise_cost(_min_max(contrast), BACKGROUND_WEIGHT * background, smoothness)
    pixels = _guided_filter(values[regions.labels], image, EDGE_RADIUS)
    return _min_max(pixels.clip(values.min(), values.max())).astype(np.float32)


@dataclass(frozen=True)
class Regions:
    """The n superpixels of an image.

    Attributes:
        labels: (H, W) int, 0..n-1.
        lab: (n, 3) mean CIELAB colour.
        centres: (n, 2) mean row and column, each in [0, 1].
        border: (n,) bool, whether the region touches the image border.
        adjacent: (n, n) bool, whether two regions share a pixel side; symmetric, diagonal False.

    """

    labels: Array
    lab: Array
    centres: Array
    border: Array
    adjacent: Array


def segment(image: Array, superpixels: int, compactness: float) -> Regions:
    """Segment an image, uint8 (H, W, 3), into about `superpixels` SLIC regions."""
    labels = slic(image, superpixels, compactness, max_num_iter=SLIC_ITERATIONS, start_label=0)
    centres = (np.moveaxis(np.indices(labels.shape), 0, -1) + 0.5) / labels.shape
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    border = np.isin(np.arange(labels.max() + 1), edges)
    return Regions(
        labels, _means(rgb2lab(image), labels), _means(centres, labels), border, _adjacency(labels)
    )


def geodesic_distance(colour: Array, adjacent: Array, border: Array) -> Array:
    """Length of the shortest path between regions, (n, n), summed colour distances in CIELAB.

    All border regions count as adjacent to each other: background that the object divides is
    connected outside the image.
    """
    start, end = np.nonzero(adjacent | np.outer(border, border))
    graph = csr_array((colour[start, end], (start, end)), shape=colour.shape)
    return shortest_path(graph, method="D", directed=False)


def background_probability(distance: Array, border: Array, sigma: float) -> Array:
    """Background probability 1 - exp(-b²/2) of each region, (n,) (Zhu et al., equations 3 to 6).

    b is the boundary connectivity: the share of a region's soft area that lies on the image border,
    divided by the square root of that area. The soft area weights regions by geodesic distance.
    """
    near = np.exp(-((distance / sigma) ** 2) / 2)
    connectivity = near[:, border].sum(axis=1) / np.sqrt(near.sum(axis=1))
    return 1 - np.exp(-(connectivity**2) / 2)


def background_contrast(colour: Array, centres: Array, background: Array, sigma: float) -> Array:
    """Colour contrast of each region with nearby background, (n,) (Zhu et al., 7 and 8)."""
    near = np.exp(-((cdist(centres, centres) / sigma) ** 2) / 2)
    return (colour * near * background).sum(axis=1)


def minimise_cost(foreground: Array, background: Array, smoothness: Array) -> Array:
    """The s, (n,) in [0, 1], that minimises Zhu et al.'s quadratic cost (equation 9).

    The cost is Σ f_i (s_i - 1)² + Σ b_i s_i² + Σ t_ij (s_i - s_j)², the last sum over pairs.

    Args:
        foreground: (n,) weights f.
        background: (n,) weights b; f and b not both 0 everywhere.
        smoothness: (n, n) symmetric weights t.

    """
    system = np.diag(smoothness.sum(axis=1) + foreground + background) - smoothness
    return np.atleast_1d(spsolve(csc_array(system), foreground))


def _means(values: Array, labels: Array) -> Array:
    """Mean of (H, W, C) over each region: (n, C)."""
    flat = labels.ravel()
    sums = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(values, -1, 0)]
    return np.stack(sums, axis=1) / np.bincount(flat)[:, None]


def _adjacency(labels: Array) -> Array:
    count = labels.max() + 1
    adjacent = np.zeros((count, count), bool)
    adjacent[labels[1:], labels[:-1]] = True
    adjacent[labels[:, 1:], labels[:, :-1]] = True
    return (adjacent | adjacent.T) & ~np.eye(count, dtype=bool)


def _guided_filter(values: Array, image: Array, radius: float) -> Array:
    """Guided filter of (H, W) values, guided by the image's grey (He et al., ECCV 2010)."""
    size = 2 * max(1, round(radius * max(values.shape))) + 1
    grey = image.mean(axis=2) / 255

    def box(x: Array) -> Array:
        return uniform_filter(x, size, mode="nearest")

    mean_grey, mean_value = box(grey), box(values)
    variance = (box(grey**2) - mean_grey**2).clip(0)
    slope = (box(grey * values) - mean_grey * mean_value) / (variance + GUIDED_FILTER_EPSILON)
    return box(slope) * grey + box(mean_value - slope * mean_grey)


def _min_max(values: Array) -> Array:
    minimum, span = values.min(), np.ptp(values)
    return (values - minimum) / span if span > MIN_RANGE else np.zeros_like(values)
