"""Which pairs of grid cells AffinityNet compares (Ahn & Kwak, CVPR 2018: PSA)."""

RADIUS = 5


def pair_offsets(radius: int = RADIUS) -> list[tuple[int, int]]:
    """Steps (rows, columns) from a cell to its partners, each pair of cells once.

    Those less than `radius` cells away in the half disc below and to the right, in PSA's order:
    along the row, then row by row. Radius 5 gives 34.
    """
    along = [(0, column) for column in range(1, radius)]
    below = [(row, column) for row in range(1, radius) for column in range(1 - radius, radius)]
    return along + [(r, c) for r, c in below if r * r + c * c < radius * radius]
