"""The calls of NumPy in a pickle, recorded by `safe_pickle`, and the arrays that are made of what was recorded.

NumPy's own constructors, handed what a stranger wrote, make Python objects of chosen bytes. So none of them is ever
called with it: kind of number, shape and bytes are checked here, and the array is a view of exactly those bytes.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from ..errors import UserError

# All kinds of number that can be weights, images or labels, as numpy.dtype takes them: no objects, text, times or records.
NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
ORDERS = ("<", ">", "=", "|")                       # of the bytes of a number


@dataclass(frozen=True, slots=True)
class Name:
    """The name of something in another package, which is never looked up. what: its name in NumPy, such as dtype."""

    what: str


@dataclass(slots=True, eq=False)
class Call:
    """A call that a pickle asks for, and the state that the object gets: recorded, not made."""

    what: str
    arguments: tuple
    state: object = None


def build(call: Call) -> np.ndarray | np.generic:
    """Return the array, or scalar, that a recorded call stands for; the array can be read only.

    Raises UserError for what is not an array of NUMBERS with as many bytes as its shape says.
    """
    arguments, state = call.arguments, call.state
    match call.what, arguments, state:
        case "_reconstruct", (Name("ndarray"), _, _), (1, shape, dtype, fortran, data):
            return _array(data, dtype, shape, "F" if fortran in (True, 1) else "C")
        case "_frombuffer", (data, dtype, shape, "C" | "F" as order), None:
            return _array(data, dtype, shape, order)
        case "_frombuffer", (data, dtype, shape, "K", tuple() as axes), None if all(type(axis) is int for axis in axes):
            return _array(data, dtype, shape, "C").transpose(axes)             # NumPy refuses what is no permutation
        case "scalar", (dtype, data), None:
            return _array(data, dtype, (), "C")[()]
    raise UserError(f"it calls NumPy's {call.what} as NumPy never does; nothing of it was run")


def _array(data: object, dtype: object, shape: object, order: Literal["C", "F"]) -> np.ndarray:
    kind = _number(dtype)
    if type(shape) is not tuple or len(shape) > 32 or any(type(count) is not int or not 0 <= count < 2**62 for count in shape):
        raise UserError("it holds an array whose shape is no shape")
    size = prod(shape) * kind.itemsize
    if not isinstance(data, (bytes, bytearray)) or len(data) != size:
        raise UserError(f"it holds an array of shape {shape} and type {kind}, {size:,} bytes, but "
                        f"{len(data) if isinstance(data, (bytes, bytearray)) else 'no'} bytes for it")
    if not size:                                   # NumPy takes no empty buffer
        return np.zeros(1, kind)[:0].reshape(shape)
    array = np.frombuffer(data, kind).reshape(shape, order=order)
    array.setflags(write=False)                    # a file may have two arrays share their bytes
    return array


def _number(dtype: object) -> np.dtype:
    """Return the dtype of a recorded call; its state is (3, byte order, and nothing of what records and objects have)."""
    match dtype:
        case Call("dtype", (str() | bytes() as code, _, _), (version, str() | bytes() as order, *rest)):
            code, order = (word if isinstance(word, str) else word.decode("latin1") for word in (code, order))
            if code in NUMBERS and order in ORDERS and [version, *rest] == [3, None, None, None, -1, -1, 0]:
                return np.dtype(f"{order}{code}")
            raise UserError(f"it holds an array of type {code[:20]!r}; the types of data are {' '.join(sorted(NUMBERS))}")
    raise UserError("it holds an array of no type that NumPy writes")
