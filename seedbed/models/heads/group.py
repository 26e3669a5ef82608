"""Classification of a group of images that pass messages (Li et al., AAAI 2021: Group-WSSS)."""

from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedbed.models.heads.plain import Pooling
from seedbed.models.network import Backbone, Network, conv_relu, output_conv

ROUNDS = 3
DROP_PROBABILITY = 0.8
DROP_THRESHOLD = 0.7


class GroupOutput(NamedTuple):
    """Scores (N, G, K) read before and after the graph; class maps (N, G, K, h, w), any sign."""

    scores_before: Tensor
    scores_after: Tensor
    maps: Tensor


class ConvGRU(nn.Module):
    """A gated recurrent unit (Cho et al., 2014) on maps, its gates 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.update = output_conv(2 * channels, channels)
        self.reset = output_conv(2 * channels, channels)
        self.candidate = output_conv(2 * channels, channels)

    def forward(self, message: Tensor, state: Tensor) -> Tensor:
        """Message and state, both (N, K, h, w) → the new state."""
        both = torch.cat([message, state], dim=1)
        update, reset = self.update(both).sigmoid(), self.reset(both).sigmoid()
        candidate = self.candidate(torch.cat([message, reset * state], dim=1)).tanh()
        return torch.lerp(state, candidate, update)


def graph_dropout(states: Tensor) -> Tensor:
    """Weaken states (N, G, K, h, w) where they are strongest, or by how strong they are.

    Each node draws by itself (on the CPU, so that a seed means the same on every device): with
    probability 0.8 the cells whose channel mean reaches 0.7 of its maximum are masked, else the
    mask is the sigmoid of that mean. The masked and the whole state are averaged.
    """
    strength = states.mean(dim=2, keepdim=True)
    drop = torch.rand(*states.shape[:2], 1, 1, 1).to(states.device) < DROP_PROBABILITY
    weak = strength < DROP_THRESHOLD * strength.amax(dim=(3, 4), keepdim=True)
    mask = torch.where(drop, weak.to(states.dtype), strength.sigmoid())
    return (states * mask + states) / 2


def between(before: Tensor, after: Tensor) -> Tensor:
    """The class maps that are read out: the mean of both ends of the graph."""
    return (after + before) / 2


class MessagePassing(nn.Module):
    """One round of the graph; every node is an image's class maps and hears all others.

    A message is the sender's state, attended from each of the receiver's positions and gated.
    """

    def __init__(self, channels: int, group_size: int) -> None:
        super().__init__()
        projected = max(1, channels // 2)
        self.receiver = output_conv(channels, projected)
        self.sender = output_conv(channels, projected)
        self.gate = output_conv(channels, 1, bias=False)
        self.fuse = output_conv((group_size - 1) * channels, channels, kernel=3)
        self.gru = ConvGRU(channels)
        pairs = list(permutations(range(group_size), 2))
        self.receivers = [receiver for receiver, _ in pairs]
        self.senders = [sender for _, sender in pairs]

    def attended(self, states: Tensor) -> Tensor:
        """States (N, G, K, h, w) → what each pair sends, ungated (N · G · (G - 1), K, h, w)."""
        n, g, k, h, w = states.shape
        nodes = states.flatten(0, 1)
        queries = self.receiver(nodes).view(n, g, -1, h * w)[:, self.receivers]
        keys = self.sender(nodes).view(n, g, -1, h * w)[:, self.senders]
        values = states.flatten(3)[:, self.senders]
        attention = (queries.transpose(2, 3) @ keys).softmax(dim=3)
        return (values @ attention.transpose(2, 3)).reshape(-1, k, h, w)

    def forward(self, states: Tensor) -> Tensor:
        """States (N, G, K, h, w) → new states, all made from the old ones."""
        n, g, k, h, w = states.shape
        attended = self.attended(states)
        messages = attended * self.gate(attended).sigmoid()
        heard = self.fuse(messages.reshape(n * g, (g - 1) * k, h, w))
        return self.gru(heard, states.flatten(0, 1)).unflatten(0, (n, g))


class GroupHead(nn.Module):
    """Features → class maps `x`; their graph is `self.graph`, used anew in every round."""

    def __init__(self, backbone: Backbone, num_classes: int, width: int, group_size: int) -> None:
        super().__init__()
        self.extra = nn.Sequential(
            conv_relu(backbone.channels, width, norm=backbone.norm),
            conv_relu(width, width, norm=backbone.norm),
            conv_relu(width, width, norm=backbone.norm),
            output_conv(width, num_classes),
        )
        self.graph = MessagePassing(num_classes, group_size)


class GroupNetwork(Network):
    """Scores of K classes for every image of a group, before and after three rounds of messages.

    `width` channels of the three convolutions that make the class maps; `group_size` images a
    group, at least two. `graph_dropout_in_eval=True` drops in evaluation as the authors' code
    does; else evaluation leaves the states whole, as training does outside the masked region
    four times in five. Pooling options as in `Pooling`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        width: int = 512,
        group_size: int = 3,
        graph_dropout_in_eval: bool = False,
        top_weight: float = 0.0,
        top_fraction: float = 0.3,
    ) -> None:
        super().__init__(backbone)
        if group_size < 2:
            raise ValueError(f"group_size: {group_size} is not at least 2")
        self.head = GroupHead(backbone, num_classes, width, group_size)
        self.pool = Pooling(top_weight, top_fraction)
        self.group_size = group_size
        self.graph_dropout_in_eval = graph_dropout_in_eval

    def forward(self, images: Tensor) -> GroupOutput:
        """Preprocessed groups (N, G, 3, H, W) → scores and maps; maps are the mean of both ends."""
        if images.shape[1] != self.group_size:
            raise ValueError(f"images: groups of {images.shape[1]}, not of {self.group_size}")
        maps = self.nodes(images.flatten(0, 1))
        before = maps.unflatten(0, images.shape[:2])
        after = self.mined(before)
        scores = self.pool(after.flatten(0, 1)).unflatten(0, images.shape[:2])
        first = self.pool(maps).unflatten(0, images.shape[:2])
        return GroupOutput(first, scores, between(before, after))

    def nodes(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → class maps (N, K, h, w), each image's own."""
        return self.head.extra(self.described(images))

    def mined(self, states: Tensor) -> Tensor:
        """Class maps of groups (N, G, K, h, w) → the same after the graph."""
        for _ in range(ROUNDS):
            states = self.head.graph(states)
            if self.training or self.graph_dropout_in_eval:
                states = graph_dropout(states)
        return states
