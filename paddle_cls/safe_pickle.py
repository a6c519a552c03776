"""Reading pickles that hold nothing but numbers and text, without running what a stranger put into them."""

import io
import pickle
from pathlib import Path
from typing import Any

from .errors import UserError

# What NumPy arrays, scalars and Paddle's tensors, kept as tuple(name, array), need; NumPy 2 renamed core to _core.
ADMITTED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("builtins", "tuple"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise UserError(f"it asks for {module}.{name}, which data never needs; nothing of it was run")
        return super().find_class(module, name)


def load(source: Path | bytes, *, encoding: str = "ASCII") -> Any:
    """Return what a pickle file (or its bytes) holds: dicts, lists, text, numbers and NumPy arrays only.

    encoding: of Python 2 strings, as in pickle.load ("bytes" for the CIFAR batches).
    Raises UserError for a missing, truncated or corrupt file, or one that asks for any other code.
    """
    name = "pickle" if isinstance(source, bytes) else source
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        return _Unpickler(io.BytesIO(data), encoding=encoding).load()
    except UserError as error:
        raise UserError(f"{name}: refused: {error}") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from None
    except Exception as error:      # a corrupt pickle can fail in any way; none of it ran foreign code
        raise UserError(f"{name}: truncated or not a pickle ({error})") from None
