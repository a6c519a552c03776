"""Networks from outside the package, `--model mymodule:Net` or MODELS["mine"] = Net: what they take, and what they give."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from paddle import nn

KINDS = (bool, int, float, str)                    # what a flag and a checkpoint can hold
_GIVEN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parameters(name: str, constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return what a constructor takes by name, with num_classes, each with the type that a value must have.

    The type is the annotation's, else that of the default; what is neither of KINDS can be given by a call only, and is left
    out. Raises UserError unless the constructor takes num_classes.
    """
    found = {}
    for key, parameter in _signature(name, constructor).items():
        kind = _kind(parameter)
        if key == "num_classes" or (kind and parameter.kind in _GIVEN):
            found[key] = parameter.replace(annotation=kind or int)
    return found


def check_given(name: str, constructor: Callable[..., Any], given: Mapping[str, object]) -> None:
    """Raise UserError if an argument that has no default is not given."""
    missing = [key for key, parameter in _signature(name, constructor).items() if parameter.kind in _GIVEN
               and parameter.default is parameter.empty and key not in given and key != "num_classes"]
    if missing:
        raise UserError(f"model {name!r} needs {', '.join(missing)}; give it by --model-args {missing[0]}=..., or give it a "
                        f"default")


def check_network(name: str, model: object) -> None:
    """Raise UserError unless a constructor gave a network."""
    from paddle import nn
    if not isinstance(model, nn.Layer):
        raise UserError(f"model {name!r} gives a {type(model).__name__}, not a paddle.nn.Layer")


def check_logits(name: str, model: "nn.Layer", outputs: int, image_size: int) -> None:
    """Raise UserError unless `model` gives float32 (1, outputs) for one image of image_size pixels a side."""
    import paddle

    from ..system import runtime  # not at once: this package is imported before a program can answer signals
    with runtime.evaluating(model):
        logits = model(paddle.zeros([1, 3, image_size, image_size]))
    if not isinstance(logits, paddle.Tensor) or list(logits.shape) != [1, outputs] or logits.dtype != paddle.float32:
        seen = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, paddle.Tensor) else type(logits).__name__
        raise UserError(f"model {name!r}: for one image it gives {seen}; logits are needed, float32 [1, {outputs}]")


def _signature(name: str, constructor: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        found: Mapping[str, inspect.Parameter] = inspect.signature(constructor, eval_str=True).parameters
    except NameError:                              # an annotation that only type checkers see
        found = inspect.signature(constructor).parameters
    except (TypeError, ValueError):                # of some functions written in C
        found = {}
    if "num_classes" not in found or found["num_classes"].kind not in _GIVEN:
        raise UserError(f"model {name!r} takes no num_classes; write def {name.rpartition(':')[2]}(num_classes, ...), or a class "
                        f"with __init__(self, num_classes, ...)")
    return found


def _kind(parameter: inspect.Parameter) -> Any:
    """Return one of KINDS, or one of them | None; None where it is another."""
    hint = parameter.annotation
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    kinds = [kind for kind in (typing.get_args(hint) if union else (hint,)) if kind is not type(None)]
    if hint is parameter.empty:
        kinds = [type(parameter.default)]
    if len(kinds) != 1 or kinds[0] not in KINDS:
        return None
    return kinds[0] | None if union else kinds[0]
