"""What the arguments of the networks may be: kinds, and bounds by which no network hangs or takes all memory in the making."""

import inspect
import math
import types
import typing
from collections.abc import Mapping

from ..errors import UserError

# The most of an argument, in every network that has it: what no paper reaches. He et al. 2015 have 1202 layers,
# EfficientNet-B7 factors of 2.0 and 3.1, NASNet-A large 6 @ 4032. The least is the constructors' own.
MOST = {"num_classes": 1_000_000, "image_size": 4096, "depth": 1202, "width_factor": 8, "depth_factor": 10, "cells": 40,
        "penultimate": 9600, "groups": 1024, "width": 1024, "hidden": 65_536}
LONGEST = 32                                       # characters of a text
NUM_CLASSES = inspect.Parameter("num_classes", inspect.Parameter.KEYWORD_ONLY, annotation=int)
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def check(name: str, parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, object]) -> None:
    """Raise UserError unless model `name`, whose constructor has `parameters`, can be built of `arguments`.

    That is: each is one of the parameters, of its kind, finite, and no more than MOST.
    """
    for argument in sorted(set(arguments) - set(parameters)):
        raise UserError(f"model {name!r} takes no {argument}; it takes: {', '.join(sorted(parameters)) or 'nothing'}")
    for argument, value in arguments.items():
        _check_one(name, argument, value, parameters[argument].annotation)


def _check_one(name: str, argument: str, value: object, hint: object) -> None:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return
    kind = next(kind for kind in kinds if kind is not type(None))
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"model {name!r}: {argument}={_short(value)} is not {_KINDS.get(kind, 'allowed')}")
    if isinstance(value, str) and len(value) > LONGEST:
        raise UserError(f"model {name!r}: {argument}={_short(value)} is longer than {LONGEST} characters")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"model {name!r}: {argument}={value} is not a finite number")
    if argument in MOST and kind is not str and value > MOST[argument]:
        raise UserError(f"model {name!r}: {argument}={_short(value)} must be at most {MOST[argument]:,}")


def _short(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 300:    # Python refuses to write over 4300 digits
        return "a number of over 90 digits"
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:80]}..."
