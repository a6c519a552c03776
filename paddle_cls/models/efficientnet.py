"""EfficientNet of Tan and Le 2019: one small network, and seven larger ones by scaling width, depth and resolution together."""

import functools
import math
from collections.abc import Callable

import paddle
from paddle import nn

from ..errors import UserError
from .about import about
from .layers import check_probability, conv
from .se_resnet import SqueezeExcite

# Table 1, stages 2 to 8: expansion, kernel, channels, layers, stride of the first layer
STAGES = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
          (6, 3, 320, 1, 1))
# B0 to B7: factors of width and depth, resolution in pixels (the network takes any), dropout before the head; millions of
# parameters as in table 2
SCALING = ((1.0, 1.0, 224, 0.2, "5.3"), (1.0, 1.1, 240, 0.2, "7.8"), (1.1, 1.2, 260, 0.3, "9.2"), (1.2, 1.4, 300, 0.3, "12"),
           (1.4, 1.8, 380, 0.4, "19"), (1.6, 2.2, 456, 0.4, "30"), (1.8, 2.6, 528, 0.5, "43"), (2.0, 3.1, 600, 0.5, "66"))


def scale_width(channels: int, factor: float) -> int:
    """Return channels * factor, rounded to a multiple of 8, to the one above if else more than a tenth were lost."""
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def scale_depth(layers: int, factor: float) -> int:
    """Return layers * factor, rounded up."""
    return math.ceil(layers * factor)


def conv_bn(ch_in: int, ch_out: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Layer]:
    """Return convolution -> batch normalization with the paper's momentum."""
    return [conv(ch_in, ch_out, size, stride, groups=groups), nn.BatchNorm2D(ch_out, momentum=0.99)]


class MBConv(nn.Layer):
    """MobileNet v2's block with squeeze-and-excitation: 1x1 wider, depthwise, gate, 1x1 back; a shortcut if the shape stays.

    drop: probability with which a training sample goes by the shortcut alone (stochastic depth, Huang et al. 2016, arXiv
    1603.09382; the authors' code calls it drop connect). What is kept is scaled up, so that the mean stays.
    """

    def __init__(self, ch_in: int, ch_out: int, expansion: int, size: int, stride: int, drop: float):
        super().__init__()
        ch_mid = ch_in * expansion
        wider = [*conv_bn(ch_in, ch_mid, 1), nn.Silu()] if expansion > 1 else []
        self.branch = nn.Sequential(
            *wider, *conv_bn(ch_mid, ch_mid, size, stride, groups=ch_mid), nn.Silu(),
            SqueezeExcite(ch_mid, max(1, ch_in // 4), nn.Silu, bias=True), *conv_bn(ch_mid, ch_out, 1))
        self.drop = nn.Dropout(drop, axis=0) if ch_in == ch_out and stride == 1 else None      # one draw a sample

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.branch(x) if self.drop is None else x + self.drop(self.branch(x))


class EfficientNet(nn.Layer):
    """EfficientNet, Tan and Le 2019 (arXiv 1905.11946): B0 by default, any other by its factors of width and depth.

    Input float32 (N, 3, H, W) of any size, SCALING has the paper's; output logits float32 (N, num_classes).
    dropout: before the head. drop_connect: the last block's MBConv drop, from 0 rising evenly to it.
    Batch norm's statistics move by 0.01 a step, as in the paper: evaluation means little before some hundred steps.
    Raises UserError for factors that are not positive and probabilities outside [0, 1).
    Deviation from the authors' code: symmetric padding (see `conv`). Initialization: He normal for the convolutions, Xavier
    uniform for the linear layer; the paper names none.
    """

    def __init__(self, num_classes: int = 1000, width_factor: float = 1.0, depth_factor: float = 1.0, dropout: float = 0.2,
                 drop_connect: float = 0.2):
        super().__init__()
        if not (width_factor > 0 and depth_factor > 0):
            raise UserError(f"efficientnet: width_factor={width_factor} and depth_factor={depth_factor} must be above 0")
        check_probability("efficientnet", "dropout", dropout)
        check_probability("efficientnet", "drop_connect", drop_connect)
        ch_in, features = scale_width(32, width_factor), scale_width(1280, width_factor)
        total = sum(scale_depth(layers, depth_factor) for *_, layers, _ in STAGES)
        self.stem = nn.Sequential(*conv_bn(3, ch_in, 3, 2), nn.Silu())
        blocks: list[MBConv] = []
        for expansion, size, channels, layers, stride in STAGES:
            ch_out = scale_width(channels, width_factor)
            for i in range(scale_depth(layers, depth_factor)):
                blocks.append(MBConv(ch_in, ch_out, expansion, size, stride if i == 0 else 1, drop_connect * len(blocks) / total))
                ch_in = ch_out
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*conv_bn(ch_in, features, 1), nn.Silu())
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(features, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 1280 * width_factor)."""
        x = self.blocks(self.stem(images))         # (N, 320, H/32, W/32) of B0
        x = self.last(x)                           # (N, 1280, H/32, W/32)
        return self.drop(paddle.flatten(self.pool(x), 1))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))


def _scaled(width: float, depth: float, resolution: int, dropout: float, published: str) -> Callable[..., EfficientNet]:
    differs = "the authors' code has 9.1, too" if published == "9.2" else ""
    said = about("Tan and Le 2019, arXiv 1905.11946", published=published, differs=differs, image_size=resolution, smallest=1)
    return said(functools.partial(EfficientNet, width_factor=width, depth_factor=depth, dropout=dropout))


(efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3, efficientnet_b4, efficientnet_b5, efficientnet_b6,
 efficientnet_b7) = (_scaled(*scaling) for scaling in SCALING)
