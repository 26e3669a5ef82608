"""A stand-in for the package timm, with four small networks and what Seedbed asks of them."""

import sys
from types import ModuleType

import torch
from torch import nn

MEAN, STD = (0.5, 0.4, 0.3), (0.3, 0.2, 0.1)


class Patches(nn.Module):
    """Two levels, of 4 and 16 or 8 pixels a cell; it leaves out the rest of an image."""

    def __init__(self, output_stride=16):
        super().__init__()
        assert output_stride in (8, 16)
        self.token = nn.Parameter(torch.zeros(1, 6, 1, 1))
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6))
        self.stage = nn.Conv2d(6, 10, output_stride // 4, stride=output_stride // 4)
        self.gamma = nn.Parameter(torch.ones(10, 1, 1))
        self.head = nn.Linear(10, 1000)
        self.feature_info = [{"reduction": 4}, {"reduction": output_stride}]

    def prune_intermediate_layers(self, indices, prune_norm, prune_head):
        assert prune_head and not prune_norm
        self.head = nn.Identity()

    def forward_intermediates(self, images, indices, norm, output_fmt, intermediates_only):
        assert norm and output_fmt == "NCHW" and intermediates_only
        low = self.stem(images) + self.token
        levels = [low, self.gamma * self.stage(low)]
        return [levels[index] for index in indices]


class Tokens(Patches):
    """As a ViT: one level, and images of other sizes only if it is told so."""

    def __init__(self, dynamic_img_size=False):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1))
        self.feature_info = [{"reduction": 16}]
        self.dynamic = dynamic_img_size

    def forward_intermediates(self, images, indices, **options):
        assert self.dynamic, "Input height (128) doesn't match model (224)."
        return super().forward_intermediates(images, [1], **options)


class Unpadded(Patches):
    """Gives one cell less than the image has."""

    def forward_intermediates(self, images, **options):
        *low, high = super().forward_intermediates(images, **options)
        return [*low, high[..., 1:, 1:]]


class OneSize(Tokens):
    """Takes images of its own size alone."""

    def __init__(self):
        super().__init__()


NETWORKS = {"patches": Patches, "tokens": Tokens, "unpadded": Unpadded, "one_size": OneSize}


def create_model(name, pretrained, num_classes, **options):
    assert not pretrained and num_classes == 0
    if (architecture := name.partition(".")[0]) not in NETWORKS:
        raise RuntimeError(f"Unknown model ({name})")
    return NETWORKS[architecture](**options)


def install(patch):
    """Let `import timm` give the stand-in while a pytest.MonkeyPatch lasts."""
    timm, data = ModuleType("timm"), ModuleType("timm.data")
    timm.__version__, timm.create_model = "0.0", create_model
    timm.list_models = lambda include_tags: [*NETWORKS, "patches.a_in1k"]
    data.resolve_model_data_config = lambda network: {"mean": MEAN, "std": STD}
    patch.setitem(sys.modules, "timm", timm)
    patch.setitem(sys.modules, "timm.data", data)
