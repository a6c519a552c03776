"""Adaptive pooling that other programs compute right, whatever the size of the images.

The bins of adaptive pooling overlap where their number does not divide the size, and repeat where it is larger. ONNX has no such
pooling: paddle2onnx writes one with a fixed stride, whose answers are then wrong, or a stride of 0, which nothing loads.
"""

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


def _bins(size: int, count: int) -> np.ndarray:
    """Return the (start, end) of `count` bins over `size` pixels, int64 (count, 2)."""
    places = np.arange(count)
    return np.stack([places * size // count, -((places + 1) * size // -count)], axis=1)


def _are_a_pooling(bins: np.ndarray) -> bool:
    """Return whether the bins are those of a pooling with one size and one stride, which is the first two's distance."""
    return len(bins) == 1 or bool((np.diff(bins, axis=0) == bins[1][0]).all() and bins[1][0] > 0)


def _irregular(x: paddle.Tensor, output_size: int | Sequence[int | None]) -> list[np.ndarray] | None:
    """Return the bins over height and width; None where a common pooling does the same, or the size of x is not known."""
    counts = [output_size, output_size] if isinstance(output_size, int) else output_size
    if min(x.shape[2:]) < 1:
        return None
    bins = [_bins(size, size if count is None else count) for size, count in zip(x.shape[2:], counts, strict=True)]
    return None if all(map(_are_a_pooling, bins)) else bins


def _side_by_side(x: paddle.Tensor, bins: list[np.ndarray]) -> tuple[paddle.Tensor, list[int], np.ndarray]:
    """Return x with each bin's pixels apart from the others', the size of all bins now, and each pixel's share, float32 (H, W).

    A bin that is smaller repeats its last pixel, with the share 0; else the mean of a bin's shares is 1.
    """
    lengths, shares = [], []
    for axis, each in enumerate(bins, 2):
        places = each[:, :1] + np.arange((each[:, 1] - each[:, 0]).max())                # (count, length)
        inside = places < each[:, 1:]
        x = paddle.index_select(x, paddle.to_tensor(np.minimum(places, each[:, 1:] - 1).reshape(-1)), axis)
        lengths.append(places.shape[1])
        shares.append((inside / inside.mean(1, keepdims=True)).reshape(-1))
    return x, lengths, np.outer(*shares).astype("float32")


class _Average(nn.AdaptiveAvgPool2D):
    @paddle.jit.not_to_static                      # of sizes that are known, and with super()
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        bins = _irregular(x, self._output_size) if self._data_format == "NCHW" else None
        if bins is None:
            return super().forward(x)
        x, lengths, shares = _side_by_side(x, bins)
        return F.avg_pool2d(x if (shares == 1).all() else x * paddle.to_tensor(shares), lengths, lengths)


class _Largest(nn.AdaptiveMaxPool2D):
    @paddle.jit.not_to_static
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        bins = None if self._return_mask else _irregular(x, self._output_size)
        if bins is None:
            return super().forward(x)
        x, lengths, _ = _side_by_side(x, bins)
        return F.max_pool2d(x, lengths, lengths)


def make_exact(network: nn.Layer) -> None:
    """Have the network's adaptive poolings computed by operations that ONNX and OpenVINO have, in place."""
    for layer in network.sublayers(include_self=True):
        for kind, exact in ((nn.AdaptiveAvgPool2D, _Average), (nn.AdaptiveMaxPool2D, _Largest)):
            if type(layer) is kind:
                object.__setattr__(layer, "__class__", exact)
