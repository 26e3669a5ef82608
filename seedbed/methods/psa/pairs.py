"""The pairs of grid cells whose affinity AffinityNet predicts.

Ahn & Kwak, "Learning Pixel-level Semantic Affinity", CVPR 2018 (PSA); network/resnet38_aff.py of
the authors' code.
"""

RADIUS = 5  # cells


def pair_offsets(radius: int = RADIUS) -> list[tuple[int, int]]:
    """Offsets (rows, columns) from a cell to its partners, each unordered pair once.

    The partners are the cells at a distance below `radius` in the half disc to the right and below,
    in PSA's order: same row first, then row by row. Radius 5 gives 34.
    """
    same_row = [(0, column) for column in range(1, radius)]
    below = [(row, column) for row in range(1, radius) for column in range(1 - radius, radius)]
    return same_row + [(r, c) for r, c in below if r * r + c * c < radius * radius]
