"""AffinityNet: do two neighbouring cells belong together? (Ahn & Kwak, CVPR 2018: PSA)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.methods.psa.pairs import RADIUS, pair_offsets
from seedbed.models.network import Backbone, Network

Levels = tuple[Tensor, Tensor, Tensor]


def pair_affinities(features: Tensor, radius: int = RADIUS) -> Tensor:
    """exp(-mean over channels of |f_i - f_j|) for every cell i and each of its partners j.

    (N, C, h, w) → float32 (N, pairs, h, w) in [0, 1]: [n, p, y, x] is the affinity of the cell
    (y, x) and its partner (y, x) + pair_offsets(radius)[p], or 0 where that lies outside the
    grid: its features count as infinitely different, so that no walk leads there.
    """
    height, width = features.shape[2:]
    reach = radius - 1
    # Half precision would round away what the loss of unlike pairs, log(1 - w), lives on.
    features = features.float()
    around = F.pad(features, (reach, reach, 0, reach), value=torch.inf)
    distances = []
    for row, column in pair_offsets(radius):
        left = reach + column
        partners = around[:, :, row : row + height, left : left + width]
        distances.append((features - partners).abs().mean(1))
    return torch.exp(-torch.stack(distances, dim=1))


def inner_cells(pairs: Tensor, radius: int = RADIUS) -> Tensor:
    """The cells (…, h, w) whose partners all lie within the grid, a view (…, h - r, w - 2r).

    These, all but the last r = radius - 1 rows and r columns at both sides, are PSA's sources.
    """
    height, width = pairs.shape[-2:]
    reach = radius - 1
    return pairs[..., : max(height - reach, 0), reach : width - reach]


def _projection(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return layer


class AffinityHead(nn.Module):
    """Three levels of a backbone, projected, joined and mixed to 448 channels on one grid.

    `norm`: group-normalise the projections, as PSA does with VGG. Layer names are PSA's.
    """

    def __init__(self, channels: tuple[int, int, int], *, norm: bool) -> None:
        super().__init__()
        self.f8_3 = _projection(channels[0], 64)
        self.f8_4 = _projection(channels[1], 128)
        self.f8_5 = _projection(channels[2], 256)
        self.gn8_3 = nn.GroupNorm(8, 64) if norm else nn.Identity()
        self.gn8_4 = nn.GroupNorm(16, 128) if norm else nn.Identity()
        self.gn8_5 = nn.GroupNorm(32, 256) if norm else nn.Identity()
        self.f9 = nn.Conv2d(448, 448, 1, bias=False)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def forward(self, conv4: Tensor, conv5: Tensor, conv6: Tensor) -> Tensor:
        """Three (N, channels, h, w) → (N, 448, h, w)."""
        joined = [
            F.elu(self.gn8_3(self.f8_3(conv4))),
            F.elu(self.gn8_4(self.f8_4(conv5))),
            F.elu(self.gn8_5(self.f8_5(conv6))),
        ]
        return F.elu(self.f9(torch.cat(joined, dim=1)))


class AffinityNetwork(Network):
    """Affinities in [0, 1] of cells less than 5 apart.

    `levels` takes the backbone's features and preprocessed images to three maps of `channels`
    channels on one grid; `norm` as in `AffinityHead`. PSA trains the group norms at the
    backbone's learning rate, so they are no new parts.
    """

    def __init__(
        self,
        backbone: Backbone,
        levels: Callable[[nn.Sequential, Tensor], Levels],
        *,
        channels: tuple[int, int, int],
        norm: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.levels = levels
        self.head = AffinityHead(channels, norm=norm)
        self.new_parts = ("head.f8_", "head.f9.")

    def embedded(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → the features compared, (N, 448, h, w)."""
        return self.head(*self.levels(self.features, images))

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → (N, 34, sources), what PSA trains on.

        Sources are the `inner_cells`, row by row; partners follow `pair_offsets`.
        Raises ValueError where there is none.
        """
        pairs = inner_cells(pair_affinities(self.embedded(images)))
        if pairs.numel() == 0:
            size = "x".join(map(str, images.shape[2:]))
            raise ValueError(f"images: {size} px hold no cell whose partners all lie within")
        return pairs.flatten(2)

    def affinities(self, images: Tensor, *, border_sources: bool = True) -> Tensor:
        """Preprocessed images (N, 3, H, W) → (N, 34, h, w), as `pair_affinities` describes.

        `border_sources` False: 0 for all cells but the `inner_cells`, as in PSA's random walk,
        where neighbours in the last rows, say, are not linked at all.
        """
        pairs = pair_affinities(self.embedded(images))
        if border_sources:
            return pairs
        kept = torch.zeros_like(pairs)
        inner_cells(kept).copy_(inner_cells(pairs))
        return kept
