"""What the newer networks share: convolutions without bias that keep the image's size, and the check of a dropout."""

from paddle import nn

from ..errors import UserError


def check_probability(model: str, name: str, value: float) -> None:
    """Raise UserError, naming the model and its argument, unless `value` is a probability that leaves something: in [0, 1)."""
    if not 0 <= value < 1:
        raise UserError(f"{model}: {name}={value} must be at least 0 and below 1")


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
