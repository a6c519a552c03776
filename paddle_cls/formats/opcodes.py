"""The opcodes of pickles that data needs, followed by a machine of our own; see Python's pickletools for each of them.

Left out are those that reach for objects by number (EXT, PERSID), that make instances (INST, OBJ, NEWOBJ) or sets, that take
buffers from elsewhere, and that no pickler writes (DUP). What a name, a call and a state become is for a subclass to say.
"""

import codecs
import pickle
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ..errors import UserError

MOST_STEPS = 500_000                               # of a file: what 20,000 arrays take, and half a second
_STOP, _INT, _FLOAT = pickle.STOP[0], struct.Struct("<i"), struct.Struct(">d")


class Machine(ABC):
    """What unpickles one file. data: its bytes. encoding: of Python 2 strings; "bytes" leaves them as they are.

    Numbers in the file allocate nothing: sizes are compared with what is left of it, indices with its length.
    """

    def __init__(self, data: bytes, encoding: str):
        self.data, self.encoding, self.place = data, encoding, 0
        self.stack: list = []
        self.below: list[list] = []                # the stacks under the marks
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what the pickle holds. Raises UserError for what data never has, anything for what is no pickle."""
        data = self.data
        for _ in range(MOST_STEPS):
            code = data[self.place]
            if code == _STOP:
                return self.stack.pop()
            if code not in _ACTIONS:
                raise ValueError(f"opcode {code:#04x} at byte {self.place}, which data never needs")
            self.place += 1
            _ACTIONS[code](self)
        raise UserError(f"it has over {MOST_STEPS:,} opcodes; data has fewer")

    @abstractmethod
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name of a module. Raises UserError."""

    @abstractmethod
    def call(self, function: Any, arguments: tuple) -> Any:
        """Return what stands for the result of a call. Raises UserError."""

    @abstractmethod
    def set_state(self, target: Any, state: Any) -> None:
        """Give an object its state. Raises UserError."""

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        start = self.place
        if size > len(self.data) - start:
            raise EOFError(f"{size} bytes wanted at byte {start} of {len(self.data)}")
        self.place += size
        return self.data[start:self.place]

    def number(self, width: int) -> int:
        """Return the next `width` bytes as a number from 0."""
        return int.from_bytes(self.take(width), "little")

    def line(self, most: int | None = None) -> bytes:
        """Return the rest of the line, without its end; of `most` bytes where that is given."""
        line = self.take(self.data.index(b"\n", self.place) + 1 - self.place)[:-1]
        if most is not None and len(line) > most:
            raise ValueError(f"a number of {len(line)} digits")
        return line

    def marked(self) -> list:
        """Return what lies above the last mark, and take both off."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def put(self, index: int) -> None:
        """Remember the top of the stack."""
        if not 0 <= index <= max(255, len(self.data)):
            raise ValueError(f"place {index} of the memo in a file of {len(self.data)} bytes")
        self.memo[index] = self.stack[-1]

    def string(self, content: bytes) -> str | bytes:
        """Return a string of Python 2."""
        return content if self.encoding == "bytes" else content.decode(self.encoding)


def _push(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    """Return the action of pushing value(machine)."""
    def action(machine: Machine) -> None:
        made = value(machine)                      # which may put another stack in place
        machine.stack.append(made)
    return action


def _text(width: int) -> Callable[[Machine], None]:
    return _push(lambda m: str(m.take(m.number(width)), "utf-8", "surrogatepass"))


def _content(width: int, kind: Callable[[bytes], Any] = bytes) -> Callable[[Machine], None]:
    return _push(lambda m: kind(m.take(m.number(width))))


def _remembered(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return _push(lambda m: m.memo[index(m)])


def _protocol(machine: Machine) -> None:
    version = machine.number(1)
    if version > 5:
        raise ValueError(f"protocol {version}")


def _mark(machine: Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _integer(machine: Machine) -> int | bool:
    line = machine.line(40)
    return line == b"01" if line in (b"00", b"01") else int(line)      # protocol 0 writes truth so


def _signed(machine: Machine) -> int:
    size = machine.number(1)
    if size > 16:
        raise ValueError(f"a number of {size} bytes")
    return int.from_bytes(machine.take(size), "little", signed=True)


def _quoted(machine: Machine) -> str | bytes:
    line = machine.line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise ValueError("a string without quotes")
    return machine.string(codecs.escape_decode(line[1:-1])[0])


def _tuple(count: int) -> Callable[[Machine], None]:
    def action(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise ValueError("too few items for a tuple")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]
    return action


def _extend(machine: Machine, items: list) -> None:
    if type(machine.stack[-1]) is not list:
        raise ValueError("items for what is no list")
    machine.stack[-1].extend(items)


def _fill(made: dict, items: list) -> dict:
    """Put key, value, key, value ... into a dictionary. Other keys than these can take for ever to compare."""
    if type(made) is not dict or len(items) % 2:
        raise ValueError("keys and values for what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes, bool, type(None)) and not (type(key) is int and abs(key) < 2**31):
            raise UserError(f"a key of it is a {type(key).__name__}; data has text as keys")
        made[key] = value
    return made


def _pair(machine: Machine) -> None:
    items, machine.stack[-2:] = machine.stack[-2:], []
    _fill(machine.stack[-1], items)


def _pairs(machine: Machine) -> None:
    items = machine.marked()
    _fill(machine.stack[-1], items)


def _named(machine: Machine) -> Any:
    module, name = str(machine.line(), "utf-8"), str(machine.line(), "utf-8")
    return machine.find_class(module, name)


def _stack_named(machine: Machine) -> Any:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name that is no text")
    return machine.find_class(module, name)


def _call(machine: Machine) -> Any:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if type(arguments) is not tuple:
        raise ValueError("arguments that are no tuple")
    return machine.call(function, arguments)


def _state(machine: Machine) -> None:
    state = machine.stack.pop()
    machine.set_state(machine.stack[-1], state)


_ACTIONS: dict[int, Callable[[Machine], None]] = {code[0]: action for code, action in {
    pickle.PROTO: _protocol, pickle.FRAME: lambda m: m.number(8),
    pickle.NONE: _push(lambda m: None), pickle.NEWTRUE: _push(lambda m: True), pickle.NEWFALSE: _push(lambda m: False),
    pickle.INT: _push(_integer), pickle.LONG: _push(lambda m: int(m.line(40).removesuffix(b"L"))), pickle.LONG1: _push(_signed),
    pickle.BININT: _push(lambda m: _INT.unpack(m.take(4))[0]),
    pickle.BININT1: _push(lambda m: m.number(1)), pickle.BININT2: _push(lambda m: m.number(2)),
    pickle.FLOAT: _push(lambda m: float(m.line(40))), pickle.BINFLOAT: _push(lambda m: _FLOAT.unpack(m.take(8))[0]),
    pickle.STRING: _push(_quoted), pickle.SHORT_BINSTRING: _push(lambda m: m.string(m.take(m.number(1)))),
    pickle.BINSTRING: _push(lambda m: m.string(m.take(m.number(4)))),
    pickle.UNICODE: _push(lambda m: str(m.line(), "raw-unicode-escape")),
    pickle.SHORT_BINUNICODE: _text(1), pickle.BINUNICODE: _text(4), pickle.BINUNICODE8: _text(8),
    pickle.SHORT_BINBYTES: _content(1), pickle.BINBYTES: _content(4), pickle.BINBYTES8: _content(8),
    pickle.BYTEARRAY8: _content(8, bytearray),
    pickle.MARK: _mark, pickle.EMPTY_TUPLE: _push(lambda m: ()), pickle.TUPLE: _push(lambda m: tuple(m.marked())),
    pickle.TUPLE1: _tuple(1), pickle.TUPLE2: _tuple(2), pickle.TUPLE3: _tuple(3),
    pickle.EMPTY_LIST: _push(lambda m: []), pickle.LIST: _push(lambda m: m.marked()),
    pickle.APPEND: lambda m: _extend(m, [m.stack.pop()]), pickle.APPENDS: lambda m: _extend(m, m.marked()),
    pickle.EMPTY_DICT: _push(lambda m: {}), pickle.DICT: _push(lambda m: _fill({}, m.marked())),
    pickle.SETITEM: _pair, pickle.SETITEMS: _pairs,
    pickle.PUT: lambda m: m.put(int(m.line(20))), pickle.BINPUT: lambda m: m.put(m.number(1)),
    pickle.LONG_BINPUT: lambda m: m.put(m.number(4)), pickle.MEMOIZE: lambda m: m.put(len(m.memo)),
    pickle.GET: _remembered(lambda m: int(m.line(20))), pickle.BINGET: _remembered(lambda m: m.number(1)),
    pickle.LONG_BINGET: _remembered(lambda m: m.number(4)),
    pickle.GLOBAL: _push(_named), pickle.STACK_GLOBAL: _push(_stack_named), pickle.REDUCE: _push(_call), pickle.BUILD: _state,
}.items()}
