"""Layers that compute by the compiled operators: the classes that `accelerate` gives a model's own layers.

Activations are (N, H, W, C) in memory. `run` passes them from layer to layer. Other code gets a transposed view, so that every
layer still takes and returns (N, C, H, W).
"""

from collections.abc import Callable, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.vision import ops as vision
from paddle.vision.models import resnet as zoo

from ..models import resnet
from ..paddle_internals import conv_settings, hooked, keeps_statistics, norm_settings, run_operator, statistics

# The same for each number, whatever its place.
POINTWISE = (nn.ReLU, nn.ReLU6, nn.Identity, nn.Hardswish, nn.Silu, nn.Swish, nn.Sigmoid)


def to_nhwc(x: Any) -> Any:
    """Return (N, C, H, W) as (N, H, W, C), a view and no copy; anything but a tensor of 4 dimensions as it is."""
    return x.transpose([0, 2, 3, 1]) if isinstance(x, paddle.Tensor) and x.ndim == 4 else x


def to_nchw(x: Any) -> Any:
    """Return (N, H, W, C) as (N, C, H, W), a view and no copy; anything but a tensor of 4 dimensions as it is."""
    return x.transpose([0, 3, 1, 2]) if isinstance(x, paddle.Tensor) and x.ndim == 4 else x


def _usable(x: object) -> bool:
    """Return whether the operators take x: a float32 CPU tensor of 4 dimensions, in dynamic mode."""
    if not (paddle.in_dynamic_mode() and isinstance(x, paddle.Tensor)):
        return False
    return x.ndim == 4 and x.dtype == paddle.float32 and x.place.is_cpu_place()


def _pair(value: object) -> list[int] | None:
    """Return [vertical, horizontal] of an int or pair, None where it is neither."""
    pair = [value, value] if isinstance(value, int) else list(value) if isinstance(value, (list, tuple)) else []
    return pair if len(pair) == 2 and all(isinstance(v, int) for v in pair) else None


def _margins(padding: object) -> list[int] | None:
    """Return [top, bottom, left, right] of Paddle's padding argument, None where it is a word or nested."""
    if isinstance(padding, (list, tuple)) and len(padding) == 4 and all(isinstance(p, int) for p in padding):
        return list(padding)
    pair = _pair(padding)
    return pair and [pair[0], pair[0], pair[1], pair[1]]


def conv_geometry(conv: nn.Conv2D) -> list[int] | None:
    """Return stride (2), padding (4), dilation (2), groups for the operator, None where it cannot do the layer."""
    own = conv_settings(conv)
    stride, margins, dilation = _pair(own.stride), _margins(own.padding), _pair(own.dilation)
    return [*stride, *margins, *dilation, own.groups] if own.plain and stride and margins and dilation else None


def pool_geometry(pool: nn.MaxPool2D) -> list[int] | None:
    """Return kernel (2), stride (2), padding (4) for the operator, None where it cannot do the layer."""
    kernel, margins = _pair(pool.ksize), _margins(pool.padding)
    stride = kernel if pool.stride is None else _pair(pool.stride)
    plain = not (pool.return_mask or pool.ceil_mode) and pool.data_format == "NCHW"
    return [*kernel, *stride, *margins] if plain and kernel and stride and margins else None


def _conv(conv: nn.Conv2D, x: paddle.Tensor, bias: paddle.Tensor | None, relu: bool) -> paddle.Tensor:
    need_dw = not conv.weight.stop_gradient or (bias is not None and not bias.stop_gradient)
    return run_operator("paddle_cls_conv", x, conv.weight, bias, conv_geometry(conv), relu, not x.stop_gradient, need_dw)


def _norm(bn: nn.BatchNorm2D, x: paddle.Tensor, bias: paddle.Tensor | None = None,
          residual: paddle.Tensor | None = None, relu: bool = False) -> paddle.Tensor:
    training, own = bn.training and not keeps_statistics(bn), norm_settings(bn)
    return run_operator("paddle_cls_norm", x, bn.weight, bn.bias, *statistics(bn), bias, residual,
                        training, relu, own.momentum, own.epsilon)


def _flat(layers: Sequence[nn.Layer]) -> list[nn.Layer]:
    """Return the layers with nested Sequentials replaced by their parts."""
    parts = []
    for layer in layers:
        parts += _flat(list(layer)) if isinstance(layer, Sequential) and not hooked(layer) else [layer]
    return parts


def run(layers: Sequence[nn.Layer], x: paddle.Tensor, residual: paddle.Tensor | None = None) -> paddle.Tensor:
    """Return relu(layers(x) + residual), or layers(x) where there is no residual; all (N, H, W, C) float32.

    Convolution, batch norm, ReLU in a row are computed together, except where one has a hook to serve.
    """
    parts = _flat(layers)
    i = 0

    def following(kind: type) -> bool:
        return i < len(parts) and isinstance(parts[i], kind) and not hooked(parts[i])

    while i < len(parts):
        part, i = parts[i], i + 1
        if hooked(part) or not _usable(x):
            x = to_nhwc(part(to_nchw(x)))
        elif isinstance(part, (Conv2D, BatchNorm2D)):
            bias, bn = None, part
            if isinstance(part, Conv2D):
                normed = following(BatchNorm2D)
                relu = not normed and following(nn.ReLU)
                x = _conv(part, x, None if normed else part.bias, relu)
                i += normed or relu
                if not normed:
                    continue
                bias, bn = part.bias, parts[i - 1]
            if residual is not None and i == len(parts):
                return _norm(bn, x, bias, residual, relu=True)
            relu = following(nn.ReLU)
            i += relu
            x = _norm(bn, x, bias, relu=relu)
        elif hasattr(part, "forward_nhwc"):
            x = part.forward_nhwc(x)
        elif isinstance(part, POINTWISE):
            x = part(x)
        else:
            x = to_nhwc(part(to_nchw(x)))
    return x if residual is None else nn.functional.relu(x + residual)


class _Inside:
    """A layer that computes on (N, H, W, C) by its forward_nhwc, or as Paddle does where the operators do not take the input."""

    forward_nhwc: Callable[[paddle.Tensor], paddle.Tensor]             # of the class that this one is mixed into

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        below: Any = super()                       # Paddle's class
        return to_nchw(self.forward_nhwc(to_nhwc(x))) if _usable(x) else below.forward(x)


class Conv2D(_Inside, nn.Conv2D):
    """nn.Conv2D by the operator."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return _conv(self, x, self.bias, relu=False)


class BatchNorm2D(_Inside, nn.BatchNorm2D):
    """nn.BatchNorm2D by the operator."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return _norm(self, x)


class BatchNorm(_Inside, nn.BatchNorm):
    """nn.BatchNorm by the operator, with its own ReLU where it has one."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return _norm(self, x, relu=norm_settings(self).activation == "relu")


class MaxPool2D(_Inside, nn.MaxPool2D):
    """nn.MaxPool2D by the operator."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return run_operator("paddle_cls_max_pool", x, pool_geometry(self))


class Dropout(_Inside, nn.Dropout):
    """nn.Dropout by the operator: other random numbers than Paddle's, but from the same `paddle.seed`."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or self.p == 0:
            return x
        return run_operator("paddle_cls_dropout", x, paddle.randint(0, 2**31 - 1, [2], "int64"), float(self.p))


class Sequential(_Inside, nn.Sequential):
    """nn.Sequential that keeps (N, H, W, C) from part to part."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return run(list(self), x)


class ConvNormActivation(Sequential, vision.ConvNormActivation):
    """Paddle's Sequential of convolution, norm and activation."""


class basicblock(_Inside, resnet.basicblock):
    """The ResNet's basicblock with the addition and the last ReLU inside the second batch norm."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return run([self.conv1, self.conv2], x, residual=run([self.shortcut], x))


class BasicBlock(_Inside, zoo.BasicBlock):
    """Paddle's ResNet block of two convolutions, likewise."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        return run([self.conv1, self.bn1, self.relu, self.conv2, self.bn2], x, residual=_around(self, x))


class BottleneckBlock(_Inside, zoo.BottleneckBlock):
    """Paddle's ResNet block of three convolutions, likewise."""

    def forward_nhwc(self, x: paddle.Tensor) -> paddle.Tensor:
        branch = [self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu, self.conv3, self.bn3]
        return run(branch, x, residual=_around(self, x))


def _around(block: zoo.BasicBlock | zoo.BottleneckBlock, x: paddle.Tensor) -> paddle.Tensor:
    return x if block.downsample is None else run([block.downsample], x)


def _plain(bn: nn.BatchNorm) -> bool:
    own = norm_settings(bn)
    return own.channels_first and own.activation in (None, "relu") and not own.always_by_batch


def _always(layer: nn.Layer) -> bool:
    return True


# By the exact type of a layer: the class that takes its place, and whether that can do what this layer asks.
REPLACEMENTS: dict[type, tuple[type, Callable[[nn.Layer], bool]]] = {
    nn.Conv2D: (Conv2D, lambda conv: conv_geometry(conv) is not None),
    nn.BatchNorm2D: (BatchNorm2D, lambda bn: norm_settings(bn).channels_first),
    nn.MaxPool2D: (MaxPool2D, lambda pool: pool_geometry(pool) is not None),
    nn.Dropout: (Dropout, lambda drop: drop.axis is None and drop.mode == "upscale_in_train" and 0 <= drop.p < 1),
    nn.BatchNorm: (BatchNorm, _plain),
    nn.Sequential: (Sequential, _always),
    vision.ConvNormActivation: (ConvNormActivation, _always),
    resnet.basicblock: (basicblock, _always),
    zoo.BasicBlock: (BasicBlock, _always),
    zoo.BottleneckBlock: (BottleneckBlock, _always),
}
