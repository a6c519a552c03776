"""What this package takes from inside Paddle's layers: every private attribute that it touches, and no other file does.

Written and tested with Paddle 2.6.2 and 3.3.1 (`VERSIONS`). Where a newer Paddle renames one of them, this is the file to
mend. Nothing here loads Paddle; the layers come from code that has.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import paddle
    from paddle import nn

VERSIONS = ("2.6.2", "3.3.1")                      # of Paddle, with which all that follows was tested


class ConvSettings(NamedTuple):
    """How a convolution was set up, as its constructor was told: a number, a pair, a list or a word each."""

    stride: Any
    padding: Any
    dilation: Any
    groups: int
    plain: bool                                    # pads with zeros, by numbers, and takes (N, C, H, W)


class NormSettings(NamedTuple):
    """How a batch norm was set up."""

    momentum: float
    epsilon: float
    channels_first: bool                           # it takes (N, C, H, W)
    activation: str | None                         # of nn.BatchNorm: what it applies to its result
    always_by_batch: bool                          # of nn.BatchNorm: evaluation takes the batch's statistics too


def norms(model: "nn.Layer") -> Iterator[tuple[str, "nn.Layer"]]:
    """Yield (name, layer) of all batch norms of a model, itself included."""
    for name, layer in model.named_sublayers(include_self=True):
        if hasattr(layer, "_use_global_stats"):
            yield name, layer


def statistics(norm: "nn.Layer") -> tuple["paddle.Tensor", "paddle.Tensor"]:
    """Return the running (mean, variance) of a batch norm, float32 (C,) each: the buffers themselves."""
    return norm._mean, norm._variance


def norm_settings(norm: "nn.Layer") -> NormSettings:
    """Return how a batch norm was set up."""
    layout = norm._data_format if hasattr(norm, "_data_format") else norm._data_layout
    return NormSettings(norm._momentum, norm._epsilon, layout == "NCHW", getattr(norm, "_act", None),
                        bool(getattr(norm, "_trainable_statistics", False)))


def keeps_statistics(norm: "nn.Layer") -> bool | None:
    """Return whether a batch norm uses and keeps its running statistics in training too; None is as good as False."""
    return norm._use_global_stats


def keep_statistics(norm: "nn.Layer", keep: bool | None) -> None:
    """Have a batch norm use and keep its running statistics in training too, or not; model.train() leaves that alone."""
    norm._use_global_stats = keep


def forget_statistics(norm: "nn.Layer") -> None:
    """Have a batch norm take over the statistics of each batch that it is trained on, in place of a running mean."""
    norm._momentum = 0.0


def conv_settings(conv: "nn.Layer") -> ConvSettings:
    """Return how a convolution was set up."""
    plain = conv._padding_mode == "zeros" and conv._padding_algorithm == "EXPLICIT" and conv._data_format == "NCHW"
    return ConvSettings(conv._stride, conv._updated_padding, conv._dilation, conv._groups, plain)


def hooked(layer: "nn.Layer") -> bool:
    """Return whether a layer has hooks that want to see its input or its output."""
    return bool(layer._forward_pre_hooks or layer._forward_post_hooks)


def unwrapped(network: "nn.Layer") -> "nn.Layer":
    """Return the model in a DataParallel; any other as it is."""
    return getattr(network, "_layers", network)


def run_operator(name: str, *arguments: Any) -> "paddle.Tensor":
    """Return what a registered custom operator gives; of several outputs the first."""
    from paddle.base import core
    result = core.eager._run_custom_op(name, *arguments)
    return result[0] if isinstance(result, (list, tuple)) else result
