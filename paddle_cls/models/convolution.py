"""The convolution of the newer networks: no bias, the image keeps its size, He initialization."""

from paddle import nn


def he_normal(groups: int) -> nn.initializer.Initializer | None:
    """Return what starts a convolution's weights as He et al. 2015 (arXiv 1502.01852) say; None: Paddle's default does.

    That counts the inputs of all groups, by which a depthwise convolution would start far too small.
    """
    return nn.initializer.KaimingNormal() if groups > 1 else None


def conv(ch_in: int, ch_out: int, size: int, stride: int = 1, *, groups: int = 1) -> nn.Conv2D:
    """Return a convolution without bias: (N, ch_in, H, W) -> (N, ch_out, ceil(H/stride), ceil(W/stride)); size is odd.

    Padding is size // 2 on each side, where TensorFlow's "SAME" may pad a pixel less at the top and left of an image of
    even size.
    """
    return nn.Conv2D(ch_in, ch_out, size, stride, size // 2, groups=groups, weight_attr=he_normal(groups), bias_attr=False)


def separable_conv(ch_in: int, ch_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a depthwise separable convolution: each channel by itself, then 1x1 over the channels; nothing in between."""
    return nn.Sequential(conv(ch_in, ch_in, size, stride, groups=ch_in), conv(ch_in, ch_out, 1))
