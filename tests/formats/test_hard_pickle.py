"""Hostile pickles: each is refused in a moment, with a word that says why, and nothing of another package is ever called."""

import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from hostile import GRAVEST, HOSTILE, OPCODES, crash, objects

from paddle_cls.errors import UserError
from paddle_cls.formats import opcodes, safe_arrays
from paddle_cls.formats.safe_pickle import ADMITTED, Recorder, load


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_a_hostile_pickle_is_refused_in_a_moment(what):
    data, message = HOSTILE[what]
    started = time.process_time()
    with pytest.raises(UserError, match=f"^pickle: .*{message}") as error:
        load(data)
    assert time.process_time() - started < (1 if what in GRAVEST else 3)
    assert len(str(error.value)) < 300
    with pytest.raises(UserError):
        load(data, encoding="bytes")


def test_what_the_hostile_files_do_without_care():
    """Otherwise the refusals would prove nothing: bytes become an object, and a file of 90 bytes ends the process."""
    secret = object()
    assert pickle.loads(objects(id(secret)))[0] is secret
    assert len(crash()) < 100
    ended = subprocess.run([sys.executable, "-c", f"import pickle; pickle.loads({crash()!r})"], capture_output=True, check=False)
    assert ended.returncode < 0


def test_a_name_never_becomes_something_of_another_package():
    """Of all names that are admitted, and of thousands that are not: a record of ours, which cannot be called, or a refusal."""
    machine = Recorder(b"", "ASCII")
    for module, name in ADMITTED:
        found = machine.find_class(module, name)
        assert type(found) is safe_arrays.Name and found == safe_arrays.Name(name) and not callable(found)
        assert {part for part in dir(found) if not part.startswith("__")} == {"what"}
    names = {(module, name) for module in list(sys.modules) for name in dir(sys.modules[module])} - ADMITTED
    assert len(names) > 10_000
    for module, name in [*names, ("numpy", "dtype.type"), ("numpy.core", "multiarray.scalar")]:
        with pytest.raises(UserError, match="which data never needs; nothing of it was run"):
            machine.find_class(module, name)


def parts(value: object) -> list:
    """Return everything that a value holds, and itself."""
    inner = [*value, *value.values()] if type(value) is dict else value if type(value) in (list, tuple) else []
    return [value, *(part for item in inner for part in parts(item))]


PLAIN = {dict, list, tuple, str, bytes, bytearray, int, float, bool, type(None), np.ndarray}
GOOD = {
    "text": ["a", "é", "\0\n'\\", "\ud800"], "bytes": [b"", b"\xff\n"], "numbers": [0, -1, 2**31, -2**63, 2**64, 1.5, True, None],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "swapped": np.arange(6, dtype=">i2").reshape(2, 3), 3: {}, None: [[]],
    "kinds": [np.ones((2, 2), kind) for kind in sorted(safe_arrays.NUMBERS)], "empty": [np.zeros((0, 3)), np.zeros(())],
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "cut": np.arange(9)[::2],
    "turned": np.arange(24, dtype="i2").reshape(2, 3, 4).transpose(1, 0, 2),
    "scalars": [np.float32(0.5), np.uint8(3), np.bool_(True)]}


def renamed(data: bytes) -> bytes:
    """Return the pickle as the other NumPy, 1 or 2, names its functions."""
    old, new = ("_core", "core") if b"numpy._core." in data else ("core", "_core")
    for module in ("multiarray", "numeric"):
        before, after = (f"numpy.{core}.{module}".encode() for core in (old, new))
        data = data.replace(b"\x8c%c" % len(before) + before, b"\x8c%c" % len(after) + after)    # the length before the text
        data = data.replace(b"c" + before, b"c" + after)
    return data


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_comes_out_is_plain_and_bit_for_bit(protocol):
    data = pickle.dumps(GOOD, protocol)
    assert renamed(data) != data == renamed(renamed(data))
    for written in (data, renamed(data)):
        value = load(written)
        assert repr(value) == repr(GOOD)           # with types, order and every digit
        assert all(type(part) in PLAIN or isinstance(part, np.generic) for part in parts(value))
        for ours, theirs in zip(parts(value), parts(GOOD), strict=True):
            if type(theirs) is np.ndarray:
                assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
                assert not ours.size or not ours.flags.writeable
        assert value["fortran"].flags.f_contiguous and not value["fortran"].flags.c_contiguous


def test_an_array_that_is_named_twice_is_one():
    one = np.arange(3)
    value = load(pickle.dumps([one, {"a": one, "b": (one,)}]))
    assert value[0] is value[1]["a"] is value[1]["b"][0]


def test_every_opcode_of_python_is_known_or_left_out_on_purpose():
    """So that a new one, of a later protocol, is looked at before it is admitted."""
    every = {name: getattr(pickle, name) for name in pickle.__all__ if name.isupper()}
    every = {name: code for name, code in every.items() if isinstance(code, bytes) and len(code) == 1 and code != pickle.STOP}
    left = {name for name, code in every.items() if code[0] not in opcodes._ACTIONS}
    assert left == OPCODES.keys() - {"none"}
    assert len(opcodes._ACTIONS) + len(left) == len(every)
