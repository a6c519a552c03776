"""What a network costs for one image: parameters and multiply-adds, counted while one goes through."""

import math
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from ..system.runtime import evaluating
from . import build_model, count_parameters, facts, model_arguments


@dataclass(frozen=True)
class Profile:
    """The size of a network, and what it computes for one image."""

    parameters: int                                # numbers that are trained and take part in an answer (no auxiliary head)
    multiply_adds: int | None                      # of the convolutions and linear layers; None: for no image size
    features: int | None                           # width of the last layer before the head; None: it does not tell


def measure(model: nn.Layer, image_size: int) -> Profile:
    """Return the Profile of `model` for an image of image_size pixels a side."""
    used: dict[str, int] = {}
    multiply_adds = 0

    def count(layer: nn.Layer, inputs: object, output: paddle.Tensor) -> None:
        nonlocal multiply_adds
        used.update({p.name: math.prod(p.shape) for p in layer.parameters(include_sublayers=False) if not p.stop_gradient})
        if isinstance(layer, nn.Conv2D):
            multiply_adds += math.prod(output.shape) * math.prod(layer.weight.shape[1:])      # a filter
        elif isinstance(layer, nn.Linear):
            multiply_adds += math.prod(output.shape) * layer.weight.shape[0]                  # channels in

    images = paddle.zeros([1, 3, image_size, image_size])
    with evaluating(model):
        features = model.forward_features(images).shape[1] if hasattr(model, "forward_features") else None
        hooks = [layer.register_forward_post_hook(count) for layer in model.sublayers(include_self=True)]
        model(images)
    for hook in hooks:
        hook.remove()
    return Profile(sum(used.values()), multiply_adds, features)


def profile(name: str, image_size: int | None = None, **kwargs: Any) -> Profile:
    """Return the Profile of model `name`, with the classes of its paper, and its image size unless another is given.

    A network that tells no image size, and is given none, has its parameters counted only.
    kwargs: further arguments of the model. Raises UserError as `build_model` does, and for images that are too small.
    """
    size = image_size or facts(name).image_size
    if size and "image_size" in model_arguments(name):
        kwargs["image_size"] = size
    constant = nn.initializer.Constant(0.01)       # random numbers would take longer than all the rest
    nn.initializer.set_global_initializer(constant, constant)
    try:
        model = build_model(name, facts(name).classes, **kwargs)
    finally:
        nn.initializer.set_global_initializer(None)
    return measure(model, size) if size else Profile(count_parameters(model), None, None)
