"""Networks and nothing else: (N, 3, H, W) in, scores, logits or class maps out."""

from seedbed.models.heads.group import GroupOutput
from seedbed.models.network import Network
from seedbed.models.registry import NETWORKS, Option, build

__all__ = ["NETWORKS", "GroupOutput", "Network", "Option", "build"]
