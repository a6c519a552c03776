"""The networks, by the names that `--model` takes. Nothing here loads Paddle before a network is asked for."""

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UserError, unknown

if TYPE_CHECKING:
    from paddle import nn

# name: file of this folder, and the constructor in it
MODELS = {
    "alexnet": "alexnet.AlexNet",
    "lenet": "lenet.LeNet",
    "resnet": "resnet.resnet_cifar10",
    "resnet_small": "resnet_small.ResNetSmall",
    "vgg": "vgg.vgg_bn_drop",
}


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, unless `name` is in MODELS."""
    if name not in MODELS:
        raise UserError(unknown("model", name, MODELS))


def constructor(name: str) -> Callable[..., "nn.Layer"]:
    """Return the function or class that builds model `name`. Raises UserError for an unknown name."""
    check_name(name)
    module, _, function = MODELS[name].partition(".")
    return getattr(importlib.import_module(f".{module}", __name__), function)


def model_arguments(name: str) -> set[str]:
    """Return the keyword names that model `name` takes beside num_classes."""
    return set(inspect.signature(constructor(name)).parameters) - {"num_classes"}


def build_model(name: str, num_classes: int, **kwargs) -> "nn.Layer":
    """Return a new network of MODELS: float32 (N, 3, H, W) in, logits float32 (N, num_classes) out.

    kwargs: what the constructor takes beside num_classes (`model_arguments` lists it).
    Raises UserError for an unknown name, an argument that the model does not take, or a bad value.
    """
    taken = model_arguments(name)
    for argument in sorted(set(kwargs) - taken):
        raise UserError(f"model {name!r} takes no {argument}; it takes: {', '.join(sorted(taken)) or 'nothing'}")
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} must be at least 1")
    return constructor(name)(num_classes=num_classes, **kwargs)


def head(model: "nn.Layer", name: str, num_classes: int, **kwargs) -> list[str]:
    """Return the names of the weights of `model`, which `build_model` made of the same arguments, that depend on num_classes.

    They are found by building the model once more for another number of classes: that holds for every network, whatever
    its last layers are called.
    """
    import paddle
    with paddle.utils.unique_name.guard():         # the names of weights that are made later stay as they would be
        other = build_model(name, num_classes + 1, **kwargs).state_dict()
    return [weight for weight, value in model.state_dict().items() if value.shape != other[weight].shape]


def count_parameters(model: "nn.Layer") -> int:
    """Return how many numbers the optimizer trains (BN's running statistics are not among them)."""
    return sum(int(p.size) for p in model.parameters() if not p.stop_gradient)
