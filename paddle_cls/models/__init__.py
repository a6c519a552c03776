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
    "efficientnet_b0": "efficientnet.efficientnet_b0",
    "efficientnet_b1": "efficientnet.efficientnet_b1",
    "efficientnet_b2": "efficientnet.efficientnet_b2",
    "efficientnet_b3": "efficientnet.efficientnet_b3",
    "efficientnet_b4": "efficientnet.efficientnet_b4",
    "efficientnet_b5": "efficientnet.efficientnet_b5",
    "efficientnet_b6": "efficientnet.efficientnet_b6",
    "efficientnet_b7": "efficientnet.efficientnet_b7",
    "lenet": "lenet.LeNet",
    "nasnet_mobile": "nasnet.NASNet",
    "preact_resnet_cifar": "preact_resnet.preact_resnet_cifar",
    "preact_resnet": "preact_resnet.preact_resnet",
    "resnet": "resnet.resnet_cifar10",
    "resnet_paper_cifar": "resnet_paper.resnet_paper_cifar",
    "resnet_paper": "resnet_paper.resnet_paper",
    "resnet_small": "resnet_small.ResNetSmall",
    "se_resnet": "se_resnet.se_resnet",
    "se_resnext": "se_resnet.se_resnext",
    "vgg": "vgg.vgg_bn_drop",
    "xception": "xception.Xception",
    "zf5_spp": "spp.ZF5SPP",
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


def count_parameters(model: "nn.Layer") -> int:
    """Return how many numbers the optimizer trains (BN's running statistics are not among them)."""
    return sum(int(p.size) for p in model.parameters() if not p.stop_gradient)
