"""Xception of Chollet 2016: Inception carried to its end, every convolution but the first two depthwise separable."""

import paddle
from paddle import nn

from .about import about
from .layers import check_probability, separable_conv
from .resnet import conv_bn_layer
from .vision import check_size


def unit(ch_in: int, ch_out: int) -> list[nn.Layer]:
    """Return ReLU -> separable 3x3 convolution -> batch normalization."""
    return [nn.ReLU(), separable_conv(ch_in, ch_out), nn.BatchNorm2D(ch_out)]


class Block(nn.Layer):
    """One box of figure 5: units of the given widths beside a shortcut; `halve` pools the units and strides the shortcut."""

    def __init__(self, ch_in: int, *widths: int, halve: bool):
        super().__init__()
        layers = [layer for a, b in zip((ch_in, *widths), widths, strict=False) for layer in unit(a, b)]
        self.units = nn.Sequential(*layers, *([nn.MaxPool2D(3, 2, 1)] if halve else []))
        self.shortcut = conv_bn_layer(ch_in, widths[-1], 1, 2, 0, act=None) if halve else nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.units(x) + self.shortcut(x)


@about("Chollet 2016, arXiv 1610.02357", published="22.855952", image_size=299, smallest=7)
class Xception(nn.Layer):
    """Xception, Chollet 2016 (arXiv 1610.02357, figure 5).

    Input float32 (N, 3, H, W), 299x299 in the paper, any size from 7 (32 is the least that is sensible); output logits float32
    (N, num_classes). dropout: before the head, 0.5 on ImageNet in the paper (section 4.3). Raises UserError for
    smaller images and for a dropout outside [0, 1).
    The first block begins with a ReLU that the figure lacks: its input comes out of one, so that it changes nothing.
    Initialization: He normal for the convolutions, Xavier uniform for the linear layer; the paper names none.
    """

    smallest = 7                                   # pixels; the first two convolutions have no padding

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        super().__init__()
        check_probability("xception", "dropout", dropout)
        self.entry = nn.Sequential(
            conv_bn_layer(3, 32, 3, 2, 0), conv_bn_layer(32, 64, 3, 1, 0),
            Block(64, 128, 128, halve=True), Block(128, 256, 256, halve=True), Block(256, 728, 728, halve=True))
        self.middle = nn.Sequential(*(Block(728, 728, 728, 728, halve=False) for _ in range(8)))
        self.exit = nn.Sequential(
            Block(728, 728, 1024, halve=True),
            separable_conv(1024, 1536), nn.BatchNorm2D(1536), *unit(1536, 2048), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 2048)."""
        check_size(self, images)
        x = self.entry(images)                     # (N, 728, 19, 19) of a 299x299 image
        x = self.middle(x)                         # (N, 728, 19, 19)
        x = self.exit(x)                           # (N, 2048, 10, 10)
        return self.drop(paddle.flatten(self.pool(x), 1))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))
