"""The tutorial's resnet_cifar10, from its own parts: conv_bn_layer, shortcut, basicblock, layer_warp."""

from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from ..errors import UserError
from .about import about
from .layers import he_normal


def conv_bn_layer(ch_in: int, ch_out: int, filter_size: int, stride: int, padding: int, *,
                  act: str | None = "relu", bias_attr: bool = False, groups: int = 1) -> nn.Sequential:
    """Return convolution -> batch normalization -> ReLU (act="relu") or nothing (act=None).

    The convolution has a bias only where bias_attr is true. It starts as He et al. 2015 (arXiv 1502.01852) say.
    """
    if act not in ("relu", None):
        raise UserError(f"conv_bn_layer: act={act!r} must be 'relu' or None")
    parts = [
        ("conv", nn.Conv2D(ch_in, ch_out, filter_size, stride, padding, groups=groups, weight_attr=he_normal(groups),
                           bias_attr=None if bias_attr else False)),
        ("bn", nn.BatchNorm2D(ch_out)),
    ]
    if act:
        parts.append((act, nn.ReLU()))
    return nn.Sequential(*parts)


def shortcut(ch_in: int, ch_out: int, stride: int) -> nn.Layer:
    """Return the way around a block: identity, or 1x1 convolution + BN where the channels differ."""
    if ch_in == ch_out:
        return nn.Identity()
    return conv_bn_layer(ch_in, ch_out, 1, stride, 0, act=None)


class basicblock(nn.Layer):
    """Two 3x3 convolutions beside a shortcut: (N, ch_in, H, W) -> (N, ch_out, H/stride, W/stride).

    As in the tutorial, the second convolution has a bias although BN follows it.
    """

    def __init__(self, ch_in: int, ch_out: int, stride: int):
        super().__init__()
        self.conv1 = conv_bn_layer(ch_in, ch_out, 3, stride, 1)
        self.conv2 = conv_bn_layer(ch_out, ch_out, 3, 1, 1, act=None, bias_attr=True)
        self.shortcut = shortcut(ch_in, ch_out, stride)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


def layer_warp(block_func: Callable[[int, int, int], nn.Layer],
               ch_in: int, ch_out: int, count: int, stride: int) -> nn.Sequential:
    """Return a group of `count` blocks, of which the first changes channels and stride.

    The tutorial's name, kept as its readers know it ("wrap" is meant).
    """
    return nn.Sequential(block_func(ch_in, ch_out, stride),
                         *(block_func(ch_out, ch_out, 1) for _ in range(1, count)))


def blocks_a_group(model: str, depth: int, layers: int = 6) -> int:
    """Return the n of depth = layers * n + 2: blocks in each of three groups, whose convolutions are layers / 3 a block.

    Raises UserError with the nearest valid depths for any other depth; model is the name that it tells.
    """
    least = layers + 2
    if depth < least or (depth - 2) % layers:
        below = (depth - 2) // layers * layers + 2
        near = f"{least}" if depth < least else f"{below} or {below + layers}"
        raise UserError(f"{model}: depth={depth} is not {layers}n+2 ({least}, {least + layers}, {least + 2 * layers}, ...); "
                        f"try {near}")
    return (depth - 2) // layers


class ResNetCifar(nn.Layer):
    """The CIFAR-10 ResNet of the Fluid tutorial, after He et al. 2015 (arXiv 1512.03385, section 4.2).

    Input float32 (N, 3, H, W), 32x32 in the tutorial; output logits float32 (N, num_classes).
    Deviations from the paper, all the tutorial's: 1x1 convolution + BN shortcuts where the channels differ (the
    paper pads with zeros), and a bias in each block's second convolution.
    Deviations from the tutorial: no softmax (the loss and the Predictor apply it); the average over the last
    feature map takes its whole size, which is the tutorial's 8x8 for a 32x32 input, so that any size works.
    Initialization: He normal for the convolutions, Xavier uniform for the linear layer (the tutorial's defaults).
    zero_init_last: the last normalization of each block starts with a scale of 0, so that the block does nothing at first
    (Goyal et al. 2017, section 5.1).
    """

    def __init__(self, depth: int = 32, num_classes: int = 10, zero_init_last: bool = False):
        super().__init__()
        n = blocks_a_group("resnet_cifar10", depth)
        self.conv1 = conv_bn_layer(3, 16, 3, 1, 1)
        self.res1 = layer_warp(basicblock, 16, 16, n, 1)
        self.res2 = layer_warp(basicblock, 16, 32, n, 2)
        self.res3 = layer_warp(basicblock, 32, 64, n, 2)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(64, num_classes)
        if zero_init_last:
            for block in (*self.res1, *self.res2, *self.res3):
                nn.initializer.Constant(0.0)(block.conv2.bn.weight)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, 64)."""
        x = self.conv1(images)                     # (N, 16, H, W)
        x = self.res1(x)
        x = self.res2(x)                           # (N, 32, H/2, W/2)
        x = self.res3(x)                           # (N, 64, H/4, W/4)
        return paddle.flatten(self.pool(x), 1)     # (N, 64)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))


@about("He et al. 2015, arXiv 1512.03385", published="0.46", classes=10, image_size=32,
       differs="the tutorial's shortcuts have weights, the paper's pad with zeros")
def resnet_cifar10(depth: int = 32, num_classes: int = 10, zero_init_last: bool = False) -> ResNetCifar:
    """Return the tutorial's ResNet of `depth` = 6n+2 layers: n blocks of two in each of three groups.

    zero_init_last: see ResNetCifar. Raises UserError with the nearest valid depths for any other depth.
    """
    return ResNetCifar(depth=depth, num_classes=num_classes, zero_init_last=zero_init_last)
