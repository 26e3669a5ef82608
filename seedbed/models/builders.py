"""The function that builds each network; `registry.build` imports this module when it is needed."""

from collections.abc import Callable
from functools import partial

from seedbed.models.backbones.mobilenet import mobilenet_v2
from seedbed.models.backbones.squeezenet import squeezenet1_0
from seedbed.models.backbones.timm import timm_backbone
from seedbed.models.backbones.tiny import tiny
from seedbed.models.heads.affinity import (
    mobilenet_v2_affinity,
    resnet38_affinity,
    vgg16_affinity,
)
from seedbed.models.heads.classification import Classifier, resnet38_cls, vgg16_cls
from seedbed.models.heads.deeplab import ResNet101DeepLab, vgg16_aspp, vgg16_largefov
from seedbed.models.heads.group import GroupNetwork, vgg16_group
from seedbed.models.heads.sec import Vgg16CAM
from seedbed.models.heads.segmentation import Segmenter, resnet38_seg
from seedbed.models.network import Backbone, Network

Builder = Callable[..., Network]


def _compose(
    backbone: Callable[[int | None], Backbone],
    head: Builder,
    num_classes: int,
    *,
    output_stride: int | None,
    **options: bool | int | float | str,
) -> Network:
    return head(backbone(output_stride), num_classes, **options)


BUILDERS: dict[str, Builder] = {
    "tiny_cls": partial(_compose, tiny, Classifier, output_stride=4),
    "tiny_seg": partial(_compose, tiny, Segmenter, output_stride=8, width=128),
    "tiny_group": partial(_compose, tiny, GroupNetwork, output_stride=4, width=64),
    "squeezenet1_0_cls": partial(_compose, squeezenet1_0, Classifier, output_stride=16),
    "squeezenet1_0_seg": partial(_compose, squeezenet1_0, Segmenter, output_stride=8),
    "squeezenet1_0_group": partial(_compose, squeezenet1_0, GroupNetwork, output_stride=16),
    "mobilenet_v2_cls": partial(_compose, mobilenet_v2, Classifier, output_stride=16),
    "mobilenet_v2_seg": partial(_compose, mobilenet_v2, Segmenter, output_stride=8),
    "mobilenet_v2_group": partial(_compose, mobilenet_v2, GroupNetwork, output_stride=16),
    "mobilenet_v2_affinity": mobilenet_v2_affinity,
    "vgg16_cls": vgg16_cls,
    "vgg16_affinity": vgg16_affinity,
    "vgg16_cam": Vgg16CAM,
    "vgg16_group": vgg16_group,
    "vgg16_aspp": vgg16_aspp,
    "vgg16_largefov": vgg16_largefov,
    "resnet101_deeplab": ResNet101DeepLab,
    "resnet38_cls": resnet38_cls,
    "resnet38_affinity": resnet38_affinity,
    "resnet38_seg": resnet38_seg,
}
TIMM_HEADS: dict[str, Builder] = {"cls": Classifier, "seg": Segmenter, "group": GroupNetwork}


def timm_builder(model: str, kind: str) -> Builder:
    """The function that builds one of our heads, "cls", "seg" or "group", on a network of timm."""
    return partial(_compose, partial(timm_backbone, model), TIMM_HEADS[kind], output_stride=None)
