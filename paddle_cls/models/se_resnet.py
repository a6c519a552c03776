"""SE-ResNet and SE-ResNeXt of Hu et al. 2017: each block weighs its channels by what the whole image holds."""

import functools

import paddle
from paddle import nn

from ..errors import UserError
from .about import about
from .resnet import shortcut
from .resnet_paper import BLOCKS, Residual, ResNet, blocks_of, bottleneck_branch, imagenet_stem

BIASES = "the paper's gates have no biases"        # those of the released models, and of timm's, have
DEPTHS = {depth: BLOCKS[depth] for depth in (50, 101, 152)}


class SqueezeExcite(nn.Layer):
    """x times a gate in (0, 1) for each channel: average over the pixels, `squeezed` units, act, a sigmoid for each channel."""

    def __init__(self, channels: int, squeezed: int, act: type[nn.Layer] = nn.ReLU, *, bias: bool = False):
        super().__init__()
        bias_attr = None if bias else False
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Conv2D(channels, squeezed, 1, bias_attr=bias_attr), act(),
                                  nn.Conv2D(squeezed, channels, 1, bias_attr=bias_attr), nn.Sigmoid())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * self.gate(x)


def se_bottleneck(ch_in: int, ch_out: int, stride: int, reduction: int, groups: int, width: int,
                  zero_init_last: bool) -> Residual:
    """Return ResNet's or ResNeXt's bottleneck with a SqueezeExcite at the end of its branch (figure 3)."""
    branch = nn.Sequential(bottleneck_branch(ch_in, ch_out, stride, groups, width), SqueezeExcite(ch_out, ch_out // reduction))
    return Residual(branch, shortcut(ch_in, ch_out, stride), zero_init_last)


@about("Hu et al. 2017, arXiv 1709.01507", published="28.09", source="timm", smallest=1, differs=BIASES)
def se_resnet(num_classes: int = 1000, depth: int = 50, reduction: int = 16, groups: int = 1, width: int = 64,
              zero_init_last: bool = False) -> ResNet:
    """Return SE-ResNet of 50, 101 or 152 layers, Hu et al. 2017 (arXiv 1709.01507, table 1).

    groups, width: 1x64 for ResNet's bottleneck, CxD for ResNeXt's (see bottleneck_branch).
    reduction: channels per unit of the gate, 16 in the paper. The gate's layers have no bias: by the paper the gates
    learn better without, and its count of them (equation 5) has none; the released Caffe models have them.
    zero_init_last: see Residual (not in the paper). Raises UserError for another depth, a reduction outside 1 to 256, or
    groups or width under 1.
    """
    counts = blocks_of("se_resnet", depth, DEPTHS)
    if not 1 <= reduction <= 256:
        raise UserError(f"se_resnet: reduction={reduction} must be from 1 to 256, the channels of the first blocks")
    if groups < 1 or width < 1:
        raise UserError(f"se_resnet: groups={groups} and width={width} must be at least 1")
    block = functools.partial(se_bottleneck, reduction=reduction, groups=groups, width=width, zero_init_last=zero_init_last)
    return ResNet(imagenet_stem(), block, (64, 256, 512, 1024, 2048), counts, num_classes)


se_resnext = about("Hu et al. 2017, arXiv 1709.01507", published="27.56", source="timm", smallest=1,
                   differs=BIASES)(functools.partial(se_resnet, groups=32, width=4))      # 32 x 4d
