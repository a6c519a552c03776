"""Reading pickles that hold nothing but numbers and text, without running what a stranger put into them.

There is no callable that a file could reach: a name in it becomes a record of ours, and so does a call (see `opcodes` for
the machine, `safe_arrays` for what arrays are made of). Time and memory are bounded by the file's length.
"""

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..system.files import read_bytes
from .opcodes import Machine
from .safe_arrays import Call, Name, build

# What NumPy arrays, scalars and Paddle's tensors, kept as tuple(name, array), need; NumPy 2 renamed core to _core, and
# protocols 0 to 2 say __builtin__ as Python 2 did.
ADMITTED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("tuple", "bytes")),
}
RECORDED = ("_reconstruct", "scalar", "_frombuffer", "dtype")      # NumPy's; what the others give is plain
DEEPEST = 32                                       # of lists, dictionaries and tuples in each other


def load(source: Path | bytes, *, encoding: str = "ASCII") -> Any:
    """Return what a pickle file (or its bytes) holds: dicts, lists, tuples, text, bytes, numbers and NumPy arrays only.

    The arrays can be read only; an OrderedDict is a dict. encoding: of Python 2 strings, as in pickle.load ("bytes" for the
    CIFAR batches). Raises UserError for a missing, truncated or corrupt file, or one that holds anything else.
    """
    name = "pickle" if isinstance(source, bytes) else source
    try:
        data = source if isinstance(source, bytes) else read_bytes(source)
        return _built(Recorder(data, encoding).run(), 1, {})[0]
    except UserError as error:
        raise UserError(f"{name}: refused: {error}") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise UserError(f"{name}: cannot be read: it needs more memory than there is") from None
    except Exception as error:      # a corrupt pickle can fail in any way; none of it ran foreign code
        raise UserError(f"{name}: truncated or not a pickle ({error})") from None


class Recorder(Machine):
    """A machine that records what a pickle asks of other packages."""

    def __init__(self, data: bytes, encoding: str):
        super().__init__(data, encoding)
        self.left = len(data)                      # characters that may still be encoded: no text more than once

    def find_class(self, module: str, name: str) -> Name:
        """Return a record of a name, which is not looked up. Raises UserError for one that data never needs."""
        if (module, name) not in ADMITTED:
            raise UserError(f"it asks for {module[:100]}.{name[:100]}, which data never needs; nothing of it was run")
        return Name(name)

    def call(self, function: Any, arguments: tuple) -> Any:
        """Return what the few functions that make plain things would give, and a record of NumPy's calls."""
        match function, arguments:
            case Name("OrderedDict"), ():
                return {}
            case Name("bytes"), ():                # how protocols 0 to 2 write empty bytes
                return b""
            case Name("tuple"), (tuple() as items,):
                return items
            case Name("encode"), (str() as text, "latin1"):
                self.left -= len(text)
                if self.left < 0:
                    raise UserError("it encodes more text than it holds")
                return text.encode("latin1")
            case Name("encode"), (_, str() as encoding):
                raise UserError(f"it encodes text as {encoding[:40]!r}; data has 'latin1' only")
            case Name(what), _ if what in RECORDED:
                return Call(what, arguments)
        what = function.what if type(function) is Name else f"a {type(function).__name__}"
        raise UserError(f"it calls {what}, which data never needs; nothing of it was run")

    def set_state(self, target: Any, state: Any) -> None:
        """Record the state of what a call stands for. Raises UserError for anything else's."""
        if type(target) is not Call or target.state is not None:
            raise UserError(f"it sets the state of a {type(target).__name__}, which data never needs; nothing of it was run")
        target.state = state


def _built(value: Any, depth: int, done: dict[int, tuple]) -> tuple[Any, int]:
    """Return (value with arrays in the place of recorded calls, how many containers it has in each other).

    depth: of `value` itself. done: by id (the container, what became of it, its height); each is gone through once, however
    often others hold it. Raises UserError where something is too deep, holds itself, or is no data.
    """
    kind = type(value)
    if kind is Name:
        raise UserError(f"it holds {value.what} itself, which is no data")
    if kind not in (dict, list, tuple, Call):
        return value, 0
    if id(value) not in done:
        if depth > DEEPEST:
            raise UserError(f"its lists are nested over {DEEPEST} deep")
        done[id(value)] = (value, value, DEEPEST)  # who meets it inside itself finds it too deep
        if kind is Call:
            done[id(value)] = (value, build(value), 0)
        else:
            parts = [_built(part, depth + 1, done) for part in (value.values() if kind is dict else value)]
            items, height = [item for item, _ in parts], 1 + max((height for _, height in parts), default=0)
            if height > DEEPEST:
                raise UserError(f"its lists are nested over {DEEPEST} deep")
            made = dict(zip(value, items, strict=True)) if kind is dict else kind(items)
            done[id(value)] = (value, made, height)
    return done[id(value)][1:]
