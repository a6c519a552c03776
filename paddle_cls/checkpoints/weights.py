"""The numbers in a .pdparams or .pdopt: read without running code, and checked before anything of Paddle's sees them."""

from pathlib import Path

import numpy as np

from ..errors import UserError
from ..formats import safe_pickle

_NAMES_KEY = "StructuredToParameterName@@"         # Paddle's own entry in a .pdparams
_LONGEST = 500                                     # characters of a name: the longest of a network here has 60


def read_state(file: Path, content: bytes | None = None) -> dict:
    """Return what a .pdparams or .pdopt holds by name, arrays mostly. content: of the file, where it has been read already.

    Raises UserError, also for names that are no text.
    """
    try:
        state = safe_pickle.load(file if content is None else content)
    except UserError as error:
        raise UserError(str(error) if content is None else f"{file}: {str(error).removeprefix('pickle: ')}") from None
    if not isinstance(state, dict):
        raise UserError(f"{file}: holds a {type(state).__name__}, not a dictionary of arrays")
    state.pop(_NAMES_KEY, None)
    for name in state:
        if not isinstance(name, str) or len(name) > _LONGEST:
            what = f"has {len(name):,} characters" if isinstance(name, str) else f"is a {type(name).__name__}, not text"
            raise UserError(f"{file}: the name of a weight {what}; paddle.save the state_dict() of a network")
    # Paddle keeps some tensors as (name, array)
    return {name: value[1] if isinstance(value, tuple) and len(value) == 2 else value for name, value in state.items()}


def read_weights(file: Path, content: bytes | None = None) -> dict[str, np.ndarray]:
    """Return {name: array} of a .pdparams file, without running code in it. content: as in `read_state`. Raises UserError."""
    state = read_state(file, content)
    for name, value in state.items():
        if not isinstance(value, np.ndarray):
            raise UserError(f"{file}: {name!r} is a {type(value).__name__}, not an array")
    return state


def fitting(source: object, name: str, value: object, shape: tuple[int, ...], dtype: object = "float32") -> np.ndarray:
    """Return an array of a file as what a network or an optimizer needs in its place: of `shape` and `dtype`.

    Fractions of 16 or 64 bits become float32; no other kind of number is converted. dtype: NumPy's or Paddle's.
    Raises UserError that names `source` and the weight: another shape or kind, not finite in it, a negative variance.
    """
    dtype = np.dtype(str(dtype).removeprefix("paddle."))
    if not isinstance(value, np.ndarray):
        raise UserError(f"{source}: {name} is a {type(value).__name__}, not an array")
    if value.shape != shape:
        raise UserError(f"{source}: {name} has shape {value.shape}, the model needs {shape}")
    if dtype.kind != "f" and value.dtype != dtype:
        raise UserError(f"{source}: {name} holds numbers of type {value.dtype}, the model needs {dtype}")
    with np.errstate(over="ignore"):               # of 1e300, which is no float32
        array = value.astype(dtype, copy=False) if value.dtype.kind == dtype.kind else None
    if array is None or (dtype.kind == "f" and not np.isfinite(array).all()):
        raise UserError(f"{source}: {name} holds numbers that are not finite or no fractions ({value.dtype})")
    if name.rpartition(".")[2] == "_variance" and array.size and array.min() < 0:
        raise UserError(f"{source}: {name} holds a negative variance, {array.min():g}")
    return array
