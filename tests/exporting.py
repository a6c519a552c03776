"""What tests of exports share: a network as after training, noise for pictures, and what a network or an engine says."""

import numpy as np
import paddle
from paddle import nn

from paddle_cls.data.images.transforms import CIFAR10
from paddle_cls.evaluation import metrics
from paddle_cls.models import build_model
from paddle_cls.system import runtime


def trained(name: str, **arguments) -> nn.Layer:
    """Return a network with uneven batch norms that fit its layers, as after training, so that its logits are around 1."""
    paddle.seed(0)
    model = build_model(name, 10, **arguments)
    for norm in [layer for layer in model.sublayers() if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D))]:
        norm._momentum = 0.0
        norm.weight.set_value(paddle.uniform(norm.weight.shape, min=0.5, max=1.5))
        norm.bias.set_value(paddle.uniform(norm.bias.shape, min=-0.5, max=0.5))
    model.train()
    with paddle.no_grad():
        model(paddle.randn([16, 3, arguments.get("image_size", 32), arguments.get("image_size", 32)]))
    model.eval()
    return model


def probabilities(function, pixels: np.ndarray) -> np.ndarray:
    """Return what a network in evaluation mode, or an engine, says."""
    if not isinstance(function, nn.Layer):
        return metrics.probabilities(function(pixels).logits)
    with runtime.evaluating(function):
        return metrics.probabilities(function(paddle.to_tensor(CIFAR10(pixels))).numpy())


def noise(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
