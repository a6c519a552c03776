"""Grad-CAM: where in a picture a network finds what speaks for a class."""

from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..errors import UserError
from ..system.runtime import evaluating


class HeatMaps(NamedTuple):
    """The maps of some pictures, and where they come from."""

    maps: np.ndarray                               # float32 (N, H, W) in [0, 1]
    layer: str                                     # name of the layer whose output was weighed
    cells: tuple[int, int]                         # height and width of that output, before it was enlarged


def heat_maps(model: nn.Layer, images: np.ndarray, targets: np.ndarray, *, size: int | None = None) -> HeatMaps:
    """Return for each picture where it holds what raises the logit of class `targets` (Selvaraju et al. 2017, 1610.02391).

    images: float32 (N, 3, H, W), normalized; targets: int (N,). size: pixels a side of the maps, None for the pictures' own.
    A map is ReLU of the channels' sum, each weighed by the mean gradient of the logit in it; then divided by its largest
    value (a map without a positive one stays 0) and enlarged bilinearly. Of one sigmoid logit z, class 1 has z and class 0
    -z. Taken from the last convolution, in the order in which they run, whose output is larger than 1x1 and moves the
    logits; more exactly, after the last layer that runs at that convolution's height and width: the convolution alone may
    be one branch of a block (a shortcut, a growth of a DenseNet), and what follows has the whole. Raises UserError where
    there is no such convolution.
    """
    runs: list[tuple[str, nn.Layer, paddle.Tensor]] = []

    def note(name: str, layer: nn.Layer) -> Any:   # Paddle's handle, which removes the hook
        def hook(_: nn.Layer, inputs: object, output: object) -> None:
            if isinstance(output, paddle.Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                runs.append((name, layer, output))
        return layer.register_forward_post_hook(hook)

    hooks = [note(name, layer) for name, layer in model.named_sublayers()]
    try:
        with evaluating(model), paddle.enable_grad():
            pictures = paddle.to_tensor(images, stop_gradient=False)       # a gradient flows whatever weights are frozen
            score = _score(model(pictures), targets)
            name, features, gradient = _last(runs, score)
    finally:
        for hook in hooks:
            hook.remove()
    weights = gradient.mean([2, 3], keepdim=True)                          # (N, C, 1, 1)
    maps = F.relu((weights * features).sum(1, keepdim=True)).detach()      # (N, 1, h, w)
    maps = maps / paddle.clip(maps.max([2, 3], keepdim=True), min=1e-30)
    sides = [size, size] if size else images.shape[2:]
    large = F.interpolate(maps, size=[int(side) for side in sides], mode="bilinear")[:, 0].numpy()
    return HeatMaps(np.clip(large, 0, 1), name, tuple(features.shape[2:]))


def _score(logits: paddle.Tensor, targets: np.ndarray) -> paddle.Tensor:
    """Return the sum over the pictures of the logit of their target; no picture has a part in another's."""
    targets = np.asarray(targets)
    if logits.shape[1] == 1:
        signs = np.where(targets == 1, 1, -1).astype("float32")
        return (logits[:, 0] * paddle.to_tensor(signs)).sum()
    return (logits * F.one_hot(paddle.to_tensor(targets.astype("int64")), logits.shape[1])).sum()


def _last(runs: list, score: paddle.Tensor) -> tuple[str, paddle.Tensor, paddle.Tensor]:
    """Return (name, output, gradient of the score in it) of the layer described in `heat_maps`."""
    cells = None
    for kinds in (nn.Conv2D, nn.Layer):            # first the last convolution, then the last layer at its size
        for name, layer, output in reversed(runs):
            if isinstance(layer, kinds) and cells in (None, output.shape[2:]):
                gradient = paddle.grad(score, output, retain_graph=True, allow_unused=True)[0]
                if gradient is not None:           # None: a side branch, such as an auxiliary head
                    cells, found = output.shape[2:], (name, output, gradient)
                    break
        else:
            raise UserError("Grad-CAM needs a convolution whose output is larger than 1x1 pixel, and the network has none")
    return found
