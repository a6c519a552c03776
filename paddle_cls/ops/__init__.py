"""Faster training on x86 CPUs: convolution, batch norm and max pooling by operators compiled on the user's machine.

`accelerate(model)` gives the layers of an existing model the operators, `restore(model)` takes them away again;
parameters, buffers and their names stay as they are. Importing this package compiles nothing and loads no Paddle.
"""

from typing import TYPE_CHECKING

from . import build

if TYPE_CHECKING:
    from paddle import nn

__all__ = ["accelerate", "available", "restore", "speed_up"]


def available() -> tuple[bool, str]:
    """Return (True, "") where the operators are ready, else (False, the reason in one line).

    The first call on a machine compiles them, about 10 s, and says so on stderr; later calls load them from the cache.
    """
    try:
        build.load()
    except build.Unavailable as error:
        return False, str(error)
    return True, ""


def accelerate(model: "nn.Layer") -> str:
    """Let the operators compute model's layers, in place; return one line that says for how many.

    A layer falls back to Paddle's own computation by itself for inputs that are not float32 CPU tensors. A layer that
    the operators cannot do (padding by a word, for one) stays as it is. A second call changes nothing.
    Raises RuntimeError with the reason where `available` is false.
    """
    usable, reason = available()
    if not usable:
        raise RuntimeError(f"oneDNN operators are not available: {reason}")
    from .layers import REPLACEMENTS, BatchNorm, BatchNorm2D, Conv2D

    for layer in model.sublayers(include_self=True):
        found = REPLACEMENTS.get(type(layer))
        if found and found[1](layer):
            object.__setattr__(layer, "__class__", found[0])
    layers = model.sublayers(include_self=True)
    convolutions, norms = (sum(isinstance(layer, kind) for layer in layers) for kind in (Conv2D, (BatchNorm2D, BatchNorm)))
    return (f"oneDNN operators for {convolutions} convolution{'s' * (convolutions != 1)}, "
            f"{norms} batch norm{'s' * (norms != 1)}")


def speed_up(model: "nn.Layer", device: str, *, wanted: bool = True) -> str:
    """Let the operators compute a model that trains on a CPU, where they can; return a line that says what computes, and why."""
    if device == "gpu":
        return "computing on the GPU"
    if not wanted:
        return "computing by Paddle's own CPU operators (--onednn off)"
    usable, reason = available()
    return f"computing by {accelerate(model)}" if usable else f"computing by Paddle's own CPU operators: {reason}"


def restore(model: "nn.Layer") -> None:
    """Undo `accelerate`, in place: for jit.save, or to compare. A model that was never accelerated stays as it is."""
    from .layers import REPLACEMENTS

    original = {replacement: kind for kind, (replacement, _) in REPLACEMENTS.items()}
    for layer in model.sublayers(include_self=True):
        if type(layer) in original:
            object.__setattr__(layer, "__class__", original[type(layer)])
