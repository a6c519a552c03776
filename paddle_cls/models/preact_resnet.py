"""ResNet v2 of He et al. 2016: batch norm and ReLU come before each convolution, and nothing stands in the shortcut's way."""

import functools

import paddle
from paddle import nn

from .about import about
from .layers import conv
from .resnet import blocks_a_group
from .resnet_paper import BLOCKS, ResNet, blocks_of

DEPTHS = {depth: BLOCKS[depth] for depth in (50, 101, 152)} | {200: (3, 24, 36, 3)}


def bn_relu(channels: int) -> nn.Sequential:
    """Return batch normalization -> ReLU, the paper's pre-activation."""
    return nn.Sequential(nn.BatchNorm2D(channels), nn.ReLU())


class PreActBlock(nn.Layer):
    """x + convolutions(relu(bn(x))), figure 4e: two 3x3 convolutions, or the 1x1, 3x3, 1x1 of a bottleneck.

    Where the shape changes the shortcut is a 1x1 convolution of relu(bn(x)), as in the authors' code.
    """

    def __init__(self, ch_in: int, ch_out: int, stride: int, bottleneck: bool = True):
        super().__init__()
        self.before = bn_relu(ch_in)
        if bottleneck:
            ch_mid = ch_out // 4
            self.branch = nn.Sequential(conv(ch_in, ch_mid, 1, stride), bn_relu(ch_mid), conv(ch_mid, ch_mid, 3),
                                        bn_relu(ch_mid), conv(ch_mid, ch_out, 1))
        else:
            self.branch = nn.Sequential(conv(ch_in, ch_out, 3, stride), bn_relu(ch_out), conv(ch_out, ch_out, 3))
        self.project = conv(ch_in, ch_out, 1, stride) if ch_in != ch_out else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        active = self.before(x)
        return self.branch(active) + (x if self.project is None else self.project(active))


@about("He et al. 2016, arXiv 1603.05027", published="25.55", source="timm", smallest=1)
def preact_resnet(num_classes: int = 1000, depth: int = 50) -> ResNet:
    """Return the ImageNet form of ResNet v2, He et al. 2016 (arXiv 1603.05027), of 50, 101, 152 or 200 layers.

    The first activation stands after the stem's max pooling, not before it, which computes the same where gamma is positive.
    The stride of a group is in the first convolution of its first block. Raises UserError for another depth.
    """
    counts = blocks_of("preact_resnet", depth, DEPTHS)
    stem = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2D(3, 2, 1))
    return ResNet(stem, PreActBlock, (64, 256, 512, 1024, 2048), counts, num_classes, last=bn_relu(2048))


@about("He et al. 2016, arXiv 1603.05027", published="1.7", source="Zagoruyko and Komodakis 2016", classes=10, image_size=32,
       smallest=1)
def preact_resnet_cifar(num_classes: int = 10, depth: int = 164, bottleneck: bool = True) -> ResNet:
    """Return the CIFAR form of ResNet v2, He et al. 2016: bottlenecks and depth = 9n+2 (164, 1001), or without 6n+2 (110).

    Without bottlenecks the first block changes no shape, and its shortcut carries the stem's output as it is; the paper
    activates it first. Raises UserError for another depth.
    """
    counts = 3 * (blocks_a_group("preact_resnet_cifar", depth, 9 if bottleneck else 6),)
    widths = (16, 64, 128, 256) if bottleneck else (16, 16, 32, 64)
    return ResNet(conv(3, 16, 3), functools.partial(PreActBlock, bottleneck=bottleneck), widths, counts, num_classes,
                  last=bn_relu(widths[-1]))
