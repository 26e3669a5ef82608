"""Group-WSSS' graph network, which classifies a group of images together (Li et al., AAAI 2021)."""

from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.backbones.vgg import vgg16, vgg16_features
from seedbed.models.dropout import current_generator
from seedbed.models.heads.classification import Pooling
from seedbed.models.layers import conv_relu, output_conv
from seedbed.models.network import IMAGENET, Backbone, Network

MESSAGE_ROUNDS = 3
DROP_PROBABILITY = 0.8
DROP_THRESHOLD = 0.7


class GroupOutput(NamedTuple):
    """Scores (N, G, K) before and after the graph; class maps (N, G, K, h, w), any sign."""

    scores_before: Tensor
    scores_after: Tensor
    maps: Tensor


class ConvGRU(nn.Module):
    """A gated recurrent unit (Cho et al., 2014) on maps; its gates are 1x1 convolutions."""

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
    """Group-WSSS' graph dropout on states (N, G, K, h, w): the mean of a state and a masked copy.

    With probability 0.8, drawn for each node, the mask removes the cells whose mean over channels
    is at least 0.7 of the node's maximum; otherwise the mask is the sigmoid of that mean.
    The draws are made on the CPU, so that a seed gives the same masks on every device.
    """
    strength = states.mean(dim=2, keepdim=True)
    drawn = torch.rand(*states.shape[:2], 1, 1, 1, generator=current_generator())
    drop = drawn.to(states.device, non_blocking=True) < DROP_PROBABILITY
    weak = strength < DROP_THRESHOLD * strength.amax(dim=(3, 4), keepdim=True)
    mask = torch.where(drop, weak.to(states.dtype), strength.sigmoid())
    return (states * mask + states) / 2


def mean_maps(before: Tensor, after: Tensor) -> Tensor:
    """The network's class maps: the mean of those before and after the graph."""
    return (after + before) / 2


class MessagePassing(nn.Module):
    """One round of messages between all nodes; the state of a node is an image's class maps.

    A message is the sender's state, attended to from each position of the receiver, and gated.
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

    def attend(self, states: Tensor) -> Tensor:
        """States (N, G, K, h, w) → messages of all pairs before the gate (N·G·(G - 1), K, h, w)."""
        n, g, k, h, w = states.shape
        nodes = states.flatten(0, 1)

        def vectors(maps: Tensor, of: list[int]) -> Tensor:
            """A vector for each position of some nodes, padded with zeros to the values' length."""
            rows = maps.view(n, g, -1, h * w)[:, of].transpose(2, 3)
            return F.pad(rows, (0, k - rows.shape[3]))

        # PyTorch's fused attention never holds the weights of all pairs of positions.
        messages = F.scaled_dot_product_attention(
            vectors(self.receiver(nodes), self.receivers),
            vectors(self.sender(nodes), self.senders),
            vectors(states, self.senders),
            scale=1.0,
        )
        return messages.transpose(2, 3).reshape(-1, k, h, w)

    def forward(self, states: Tensor) -> Tensor:
        """States (N, G, K, h, w) → the states after a synchronous update of all nodes."""
        n, g, k, h, w = states.shape
        attended = self.attend(states)
        messages = attended * self.gate(attended).sigmoid()
        received = self.fuse(messages.reshape(n * g, (g - 1) * k, h, w))
        return self.gru(received, states.flatten(0, 1)).unflatten(0, (n, g))


class GroupHead(nn.Module):
    """Convolutions `extra` that make class maps, and one round of messages, `graph`."""

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

    Args:
        backbone: the features.
        num_classes: number of classes K, without background.
        width: channels of the three convolutions that make the class maps.
        group_size: images in a group, at least two.
        graph_dropout_in_eval: apply graph dropout in evaluation too, as the authors' code does.
        top_weight: see `Pooling`.
        top_fraction: see `Pooling`.

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
        """Preprocessed groups of images (N, G, 3, H, W) → scores and maps."""
        if images.shape[1] != self.group_size:
            raise ValueError(f"images: groups of {images.shape[1]}, not of {self.group_size}")
        maps = self.maps(images.flatten(0, 1))
        before = maps.unflatten(0, images.shape[:2])
        after = self.pass_messages(before)
        scores = self.pool(after.flatten(0, 1)).unflatten(0, images.shape[:2])
        first = self.pool(maps).unflatten(0, images.shape[:2])
        return GroupOutput(first, scores, mean_maps(before, after))

    def maps(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → class maps (N, K, h, w) before the graph."""
        return self.head.extra(self.extract_features(images))

    def grids(self, images: Tensor) -> list[Tensor]:
        """See `Network`."""
        return [self.maps(images)]

    def pass_messages(self, states: Tensor) -> Tensor:
        """Class maps of groups (N, G, K, h, w) → class maps after the graph, same shape."""
        for _ in range(MESSAGE_ROUNDS):
            states = self.head.graph(states)
            if self.training or self.graph_dropout_in_eval:
                states = graph_dropout(states)
        return states


def vgg16_group(num_classes: int, **options: bool | int | float) -> GroupNetwork:
    """Group-WSSS' network on VGG-16; `options` are those of `GroupNetwork`.

    The head's weights are drawn from N(0, 0.01²), its biases as PyTorch draws them.
    """
    features = vgg16_features(pool_kernel=2, ceil_mode=False)
    # Three pools round down, so that an image needs 8 pixels.
    network = GroupNetwork(vgg16(features, IMAGENET, min_side=8), num_classes, **options)
    for layer in network.head.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
            nn.init.normal_(layer.weight, std=0.01)
    return network
