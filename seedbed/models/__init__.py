"""Networks: (N, 3, H, W) images in, class scores, logits or class maps out."""

from seedbed.models.registry import NETWORKS, NetworkInfo, build, network_info

__all__ = ["NETWORKS", "NetworkInfo", "build", "network_info"]
