"""SEC's foreground network (Kolesnikov & Lampert, ECCV 2016), which DSRG takes its CAMs from."""

from torch import Tensor, nn

from seedbed.models.backbones.vgg import vgg16, vgg16_features
from seedbed.models.dropout import Dropout
from seedbed.models.heads.classification import Pooling
from seedbed.models.layers import init_normal
from seedbed.models.network import SEC_MEAN, Network

WIDTH = 1024
STD = 0.005


class ForegroundHead(nn.Module):
    """fc6 with a ReLU, fc7 without, and the classes as a 1x1 convolution without bias."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc6 = init_normal(nn.Conv2d(512, WIDTH, 3, padding=1), STD)
        self.fc7 = init_normal(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), STD)
        self.fc8 = init_normal(nn.Conv2d(WIDTH, num_classes, 1, bias=False), STD)
        self.dropout = Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 512, h, w) → class maps (N, K, h, w), any sign."""
        hidden = self.dropout(self.fc6(features).relu_())
        return self.fc8(self.dropout(self.fc7(hidden)))


class Vgg16CAM(Network):
    """Scores of K classes, the means of class maps at stride 8, without dilation.

    As in the authors' training, only the layer of the classes counts as new and learns faster.
    `top_weight` and `top_fraction`: see `Pooling`.
    """

    def __init__(
        self, num_classes: int, *, top_weight: float = 0.0, top_fraction: float = 0.3
    ) -> None:
        features = vgg16_features(pool_kernel=2, strides=(2, 2, 2, 0), conv5_dilation=1)
        super().__init__(vgg16(features, SEC_MEAN))
        self.head = ForegroundHead(num_classes)
        self.pool = Pooling(top_weight, top_fraction)
        self.new_parts = ("head.fc8",)

    def maps(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → class maps (N, K, h, w), any sign."""
        return self.head(self.extract_features(images))

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → scores (N, K), before a sigmoid."""
        return self.pool(self.maps(images))
