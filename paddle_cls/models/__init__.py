"""The networks, by the names that `--model` takes. Nothing here loads Paddle before a network is asked for."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import named
from ..errors import UserError, unknown
from ..system import memory
from . import arguments, own

if TYPE_CHECKING:
    from paddle import nn

    from .about import About

# name: file of this folder, and the constructor in it; of a family the smallest first, which is tested the most.
# From outside: MODELS["mine"] = Net, or = "package.module:Net".
MODELS: dict[str, str | Callable[..., "nn.Layer"]] = {
    "alexnet": "alexnet.AlexNet",
    "densenet121": "vision.densenet121",
    "densenet161": "vision.densenet161",
    "densenet169": "vision.densenet169",
    "densenet201": "vision.densenet201",
    "densenet264": "vision.densenet264",
    "efficientnet_b0": "efficientnet.efficientnet_b0",
    "efficientnet_b1": "efficientnet.efficientnet_b1",
    "efficientnet_b2": "efficientnet.efficientnet_b2",
    "efficientnet_b3": "efficientnet.efficientnet_b3",
    "efficientnet_b4": "efficientnet.efficientnet_b4",
    "efficientnet_b5": "efficientnet.efficientnet_b5",
    "efficientnet_b6": "efficientnet.efficientnet_b6",
    "efficientnet_b7": "efficientnet.efficientnet_b7",
    "googlenet": "vision.googlenet",
    "inception_v3": "vision.inception_v3",
    "lenet": "lenet.LeNet",
    "mobilenet_v1": "vision.mobilenet_v1",
    "mobilenet_v2": "vision.mobilenet_v2",
    "mobilenet_v3_small": "vision.mobilenet_v3_small",
    "mobilenet_v3_large": "vision.mobilenet_v3_large",
    "nasnet_mobile": "nasnet.NASNet",
    "preact_resnet": "preact_resnet.preact_resnet",
    "preact_resnet_cifar": "preact_resnet.preact_resnet_cifar",
    "resnet": "resnet.resnet_cifar10",
    "resnet18": "vision.resnet18",
    "resnet34": "vision.resnet34",
    "resnet50": "vision.resnet50",
    "resnet101": "vision.resnet101",
    "resnet152": "vision.resnet152",
    "resnet_paper_cifar": "resnet_paper.resnet_paper_cifar",
    "resnet_paper": "resnet_paper.resnet_paper",
    "resnet_small": "resnet_small.ResNetSmall",
    "resnext50_32x4d": "vision.resnext50_32x4d",
    "resnext50_64x4d": "vision.resnext50_64x4d",
    "resnext101_32x4d": "vision.resnext101_32x4d",
    "resnext101_64x4d": "vision.resnext101_64x4d",
    "resnext152_32x4d": "vision.resnext152_32x4d",
    "resnext152_64x4d": "vision.resnext152_64x4d",
    "se_resnet": "se_resnet.se_resnet",
    "se_resnext": "se_resnet.se_resnext",
    "shufflenet_v2_x0_25": "vision.shufflenet_v2_x0_25",
    "shufflenet_v2_x0_33": "vision.shufflenet_v2_x0_33",
    "shufflenet_v2_x0_5": "vision.shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0": "vision.shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5": "vision.shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0": "vision.shufflenet_v2_x2_0",
    "shufflenet_v2_swish": "vision.shufflenet_v2_swish",
    "squeezenet1_0": "vision.squeezenet1_0",
    "squeezenet1_1": "vision.squeezenet1_1",
    "vgg": "vgg.vgg_bn_drop",
    "vgg11": "vision.vgg11",
    "vgg13": "vision.vgg13",
    "vgg16": "vision.vgg16",
    "vgg19": "vision.vgg19",
    "wide_resnet50_2": "vision.wide_resnet50_2",
    "wide_resnet101_2": "vision.wide_resnet101_2",
    "xception": "xception.Xception",
    "zf5_spp": "spp.ZF5SPP",
}


UNNAMED = "layer of class "                        # begins the name of a network that `fit` got as a layer, without a name


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, unless `name` is in MODELS, or is module:Net and the module is there."""
    if name in MODELS:
        return
    if name.startswith(UNNAMED):
        raise UserError(f"its network, a {name}, was given to fit without a name to build it by; train with fit(..., "
                        f"model_name=\"module:Net\"), or load the weights into the layer and use Predictor(lambda: layer, ...)")
    depth = re.fullmatch("resnet_?([0-9]{1,4})", name)
    if depth and int(depth[1]) >= 8 and int(depth[1]) % 6 == 2:            # of the papers' CIFAR networks: no typing mistake
        raise UserError(f"unknown model {name!r}; use --model resnet --depth {int(depth[1])}")
    if not named.is_named(name):
        raise UserError(unknown("model", name, MODELS, lister="paddle-cls models"))
    named.check(name, "--model")


def constructor(name: str) -> Callable[..., "nn.Layer"]:
    """Return the function or class that builds model `name`. Raises UserError for an unknown name.

    A name of the form module:Net imports that module: only what the user named may come here.
    """
    check_name(name)
    place = MODELS.get(name)
    if place is None:
        return named.load(name, "--model")
    if is_own(name):
        return named.resolve(place, f"MODELS[{name!r}]")
    module, _, function = str(place).partition(".")
    try:
        return getattr(importlib.import_module(f".{module}", __name__), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(f"MODELS[{name!r}] = {place!r}: {error}; a network of another package is written 'package.module:Net'") \
            from None


def is_own(name: str) -> bool:
    """Return whether model `name` is code from outside the package."""
    place = MODELS.get(name, name)
    return not isinstance(place, str) or named.is_named(place)


def facts(name: str) -> "About":
    """Return the paper, the image size and the published parameters of model `name`; NOTHING_TOLD where it has no @about."""
    from .about import NOTHING_TOLD
    return getattr(constructor(name), "about", NOTHING_TOLD)


def model_arguments(name: str) -> dict[str, inspect.Parameter]:
    """Return what model `name` takes beside num_classes, each with its type and default."""
    build = constructor(name)
    parameters = own.parameters(name, build) if is_own(name) else inspect.signature(build).parameters
    return {key: parameter for key, parameter in parameters.items() if key != "num_classes"}


def check_image_size(name: str, image_size: int) -> None:
    """Raise UserError if images of image_size pixels a side are too small for model `name`."""
    smallest = facts(name).smallest
    if image_size < smallest:
        raise UserError(f"model {name!r} takes images from {smallest}x{smallest} on, not {image_size}x{image_size}; use "
                        f"--image-size {smallest}")


def build_model(name: str, num_classes: int, **kwargs: object) -> "nn.Layer":
    """Return a new network of MODELS: float32 (N, 3, H, W) in, logits float32 (N, num_classes) out.

    kwargs: what the constructor takes beside num_classes (`model_arguments` lists it).
    Raises UserError for an unknown name, an argument that the model does not take, or a bad value.
    """
    check_arguments(name, num_classes, kwargs)
    if is_own(name):
        own.check_given(name, constructor(name), kwargs)
        model = constructor(name)(num_classes=num_classes, **kwargs)
        own.check_network(name, model)
        return model
    if num_classes > 10_000 or kwargs.keys() & arguments.MOST.keys() - {"depth"}:              # else it is of the paper's size
        size = count_parameters(_without_weights(name, num_classes, kwargs))
        memory.check(4 * size, f"model {name!r} of {size:,} weights takes", "choose smaller --model-args or another --image-size")
    return constructor(name)(num_classes=num_classes, **kwargs)


def check_logits(name: str, model: "nn.Layer", outputs: int, image_size: int) -> None:
    """Raise UserError if `model`, code from outside, does not give float32 (1, outputs) for an image."""
    if is_own(name):
        own.check_logits(name, model, outputs, image_size)


def check_arguments(name: str, num_classes: int, given: Mapping[str, object]) -> None:
    """Raise UserError unless model `name` takes the arguments `given`, of their kinds and sizes; nothing is built.

    Of what is read from a file, too: num_classes and the values may be anything.
    """
    arguments.check(name, model_arguments(name), given)
    arguments.check(name, {"num_classes": arguments.NUM_CLASSES}, {"num_classes": num_classes})
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} must be at least 1")


def _without_weights(name: str, num_classes: int, given: Mapping[str, object]) -> "nn.Layer":
    """Return a network whose weights have shapes only. Weights made later have the names that they would have had."""
    import paddle
    with paddle.utils.unique_name.guard(), paddle.LazyGuard():
        return constructor(name)(num_classes=num_classes, **given)


def head(model: "nn.Layer", name: str, num_classes: int, **kwargs: Any) -> list[str]:
    """Return the names of the weights of `model`, which `build_model` made of the same arguments, that depend on num_classes.

    They are found by building the model once more, without weights, for another number of classes: that holds for every
    network, whatever its last layers are called.
    """
    other = _without_weights(name, num_classes + 1, kwargs).state_dict()
    return [weight for weight, value in model.state_dict().items() if value.shape != other[weight].shape]


def count_parameters(model: "nn.Layer") -> int:
    """Return how many numbers the optimizer trains (BN's running statistics are not among them)."""
    return sum(int(p.size) for p in model.parameters() if not p.stop_gradient)
