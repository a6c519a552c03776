"""ResNet as He et al. 2015 publish it, with their three kinds of shortcuts: zero padding, projections, all projections."""

import functools
from collections.abc import Callable, Mapping, Sequence

import paddle
from paddle import nn

from ..errors import UserError
from . import resnet
from .about import about
from .resnet import blocks_a_group, conv_bn_layer, layer_warp

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}    # table 1
SHORTCUTS = ("A", "B", "C")


class ZeroPadding(nn.Layer):
    """Shortcut A: every stride-th pixel, and zeros for the channels that are new. It has no weights.

    (N, C, H, W) -> (N, C + more, ceil(H/stride), ceil(W/stride)); the first C channels are the input's.
    """

    def __init__(self, more: int, stride: int):
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x[:, :, ::self.stride, ::self.stride]
        zeros = paddle.zeros_like(x)               # not F.pad: Paddle Inference 3.3 with oneDNN writes past its memory there
        whole, rest = divmod(self.more, x.shape[1])
        return paddle.concat([x, *[zeros] * whole, *([zeros[:, :rest]] if rest else [])], axis=1)


def shortcut(ch_in: int, ch_out: int, stride: int, kind: str) -> nn.Layer:
    """Return the way around a block: identity where the shape stays (not in kind "C"), else zero padding or projection.

    Raises UserError for a kind that is none of SHORTCUTS.
    """
    if kind not in SHORTCUTS:
        raise UserError(f"shortcut={kind!r} must be one of {', '.join(SHORTCUTS)}")
    if kind == "C":
        return conv_bn_layer(ch_in, ch_out, 1, stride, 0, act=None)
    if kind == "A" and ch_in != ch_out:
        return ZeroPadding(ch_out - ch_in, stride)
    return resnet.shortcut(ch_in, ch_out, stride)


class Residual(nn.Layer):
    """relu(branch(x) + shortcut(x)). zero_init_last: the branch's last BN starts with gamma 0, the block as its shortcut."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Layer, zero_init_last: bool = False):
        super().__init__()
        self.branch, self.shortcut, self.relu = branch, shortcut, nn.ReLU()
        if zero_init_last:
            norms = [layer for layer in branch.sublayers() if isinstance(layer, nn.BatchNorm2D)]
            nn.initializer.Constant(0.0)(norms[-1].weight)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def basic(ch_in: int, ch_out: int, stride: int, kind: str = "B", zero_init_last: bool = False) -> Residual:
    """Return the block of two 3x3 convolutions (figure 5, left)."""
    branch = nn.Sequential(conv_bn_layer(ch_in, ch_out, 3, stride, 1), conv_bn_layer(ch_out, ch_out, 3, 1, 1, act=None))
    return Residual(branch, shortcut(ch_in, ch_out, stride, kind), zero_init_last)


def bottleneck_branch(ch_in: int, ch_out: int, stride: int, groups: int = 1, width: int = 64) -> nn.Sequential:
    """Return the 1x1, 3x3 and 1x1 convolutions of a bottleneck (figure 5, right), or of ResNeXt's with groups.

    groups x width: channels of the 3x3 convolution in a block of 256, in wider ones in proportion. The stride is in the first
    1x1 convolution as in the authors' Caffe models, with groups in the 3x3 as in ResNeXt (arXiv 1611.05431).
    """
    ch_mid = groups * width * ch_out // 256
    first, second = (stride, 1) if groups == 1 else (1, stride)
    return nn.Sequential(conv_bn_layer(ch_in, ch_mid, 1, first, 0), conv_bn_layer(ch_mid, ch_mid, 3, second, 1, groups=groups),
                         conv_bn_layer(ch_mid, ch_out, 1, 1, 0, act=None))


def bottleneck(ch_in: int, ch_out: int, stride: int, kind: str = "B", zero_init_last: bool = False) -> Residual:
    """Return the block of three convolutions."""
    return Residual(bottleneck_branch(ch_in, ch_out, stride), shortcut(ch_in, ch_out, stride, kind), zero_init_last)


def imagenet_stem() -> nn.Sequential:
    """Return 7x7 convolution -> BN -> ReLU -> max pooling: (N, 3, H, W) -> (N, 64, H/4, W/4)."""
    return nn.Sequential(conv_bn_layer(3, 64, 7, 2, 3), nn.MaxPool2D(3, 2, 1))


class ResNet(nn.Layer):
    """Stem, groups of residual blocks, average over the pixels, linear head: the frame of every ResNet.

    Input float32 (N, 3, H, W), any size; output logits float32 (N, num_classes). block: (ch_in, ch_out, stride) -> layer.
    widths: channels after the stem and after each group; counts: blocks in each. Every group but the first halves the image.
    last: what the average takes, made of the last group's output (nothing, but in ResNet v2).
    Initialization: He normal for the convolutions, Xavier uniform for the linear layer (Paddle's default).
    """

    def __init__(self, stem: nn.Layer, block: Callable[[int, int, int], nn.Layer], widths: Sequence[int],
                 counts: Sequence[int], num_classes: int, last: nn.Layer | None = None):
        super().__init__()
        self.stem = stem
        self.groups = nn.Sequential(*(layer_warp(block, ch_in, ch_out, count, 1 if i == 0 else 2) for i, (ch_in, ch_out, count)
                                      in enumerate(zip(widths, widths[1:], counts, strict=False))))
        self.last = nn.Identity() if last is None else last
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the features before the head, float32 (N, widths[-1])."""
        x = self.groups(self.stem(images))         # (N, widths[-1], H/32, W/32), of CIFAR's form H/4, W/4
        return paddle.flatten(self.pool(self.last(x)), 1)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))


def blocks_of(model: str, depth: int, table: Mapping[int, tuple[int, ...]]) -> tuple[int, ...]:
    """Return table[depth], the blocks in each group. Raises UserError for a depth that the paper's table lacks."""
    if depth not in table:
        raise UserError(f"{model}: depth={depth} must be one of {', '.join(map(str, table))}")
    return table[depth]


@about("He et al. 2015, arXiv 1512.03385", published="25.6", source="torchvision", smallest=1)
def resnet_paper(num_classes: int = 1000, depth: int = 50, shortcut: str = "B", zero_init_last: bool = False) -> ResNet:
    """Return the ImageNet ResNet of table 1 of He et al. 2015 (arXiv 1512.03385), with the shortcuts of table 3.

    depth: 18 and 34 of two-layer blocks, 50, 101 and 152 of bottlenecks. shortcut: "A" pads with zeros where the channels
    grow, "B" projects there, "C" projects around every block. zero_init_last: see Residual (Goyal et al. 2017, arXiv
    1706.02677; not in the paper). Raises UserError for another depth or shortcut.
    """
    counts = blocks_of("resnet_paper", depth, BLOCKS)
    block, widths = (basic, (64, 64, 128, 256, 512)) if depth < 50 else (bottleneck, (64, 256, 512, 1024, 2048))
    return ResNet(imagenet_stem(), functools.partial(block, kind=shortcut, zero_init_last=zero_init_last), widths, counts,
                  num_classes)


@about("He et al. 2015, arXiv 1512.03385", published="0.27", classes=10, image_size=32, smallest=1)
def resnet_paper_cifar(num_classes: int = 10, depth: int = 20, shortcut: str = "A", zero_init_last: bool = False) -> ResNet:
    """Return the CIFAR-10 ResNet of section 4.2 of He et al. 2015: depth = 6n+2, and shortcut "A" in the paper.

    Beside the tutorial's `resnet` it has no bias before BN, and shortcuts without weights: the paper's parameters to a digit.
    Raises UserError for another depth or shortcut.
    """
    counts = 3 * (blocks_a_group("resnet_paper_cifar", depth),)
    return ResNet(conv_bn_layer(3, 16, 3, 1, 1), functools.partial(basic, kind=shortcut, zero_init_last=zero_init_last),
                  (16, 16, 32, 64), counts, num_classes)
