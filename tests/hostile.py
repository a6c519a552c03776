"""Pickles that a stranger wrote to run code, to crash, to hang or to fill the memory: (bytes, what the refusal says)."""

import pickle
import struct

P2, P4 = b"\x80\x02", b"\x80\x04"                  # protocols


def put(value: object) -> bytes:
    """Return the opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def called(name: str, *arguments: bytes) -> bytes:
    """Return the opcodes that call module.name with arguments, each pushed by its opcodes."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def dtype(code: str, *state: object) -> bytes:
    """Return the opcodes that push a NumPy dtype. state: in the place of that of plain numbers."""
    return called("numpy.dtype", put(code), put(False), put(True)) + put(state or (3, "<", None, None, None, -1, -1, 0)) + b"b"


def array(shape: object, kind: bytes, data: bytes) -> bytes:
    """Return the opcodes that push a NumPy array."""
    head = called("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", put((0,)), content(b"b"))
    return head + b"(" + put(1) + put(shape) + kind + put(False) + data + b"tb"


def content(data: bytes) -> bytes:
    """Return the opcodes that push bytes, of protocol 3."""
    return b"B" + struct.pack("<I", len(data)) + data


def objects(address: int) -> bytes:
    """Return an array of one Python object that lies at an address of the process: from there a file reached `eval`."""
    return P4 + called("numpy.ndarray", put((1,)), dtype("O8", 3, "|", None, None, None, -1, -1, 63),
                       content(struct.pack("P", address)), put(0)) + b"."


def crash() -> bytes:
    """Return a file that goes through such an array, at an address where nothing is: the process ends by a signal."""
    array = called("numpy.ndarray", put((1,)), called("numpy.dtype", put("O")), content(b"A" * 8))
    return P4 + called("builtins.tuple", array) + b"."


def doubled(levels: int, kind: str = "list") -> bytes:
    """Return the opcodes of something that holds another twice, and so on: 2 ** levels paths through a few bytes."""
    begin, pair = {"list": (b"]", b"](h%ch%ce"), "tuple": (b")", b"h%ch%c\x86")}[kind]
    return begin + b"q\0" + b"".join(pair % (i, i) + b"q%c" % (i + 1) for i in range(levels))


F4, EIGHT = dtype("f4"), content(bytes(8))
COLLIDING = b"".join(put(i * (2**61 - 1)) + b"N" for i in range(1, 30_000))        # all of them have the hash 0
CALLS = "which data never needs; nothing of it was run"
SIZES = "it holds an array of shape .* bytes, but .* bytes for it"

# Those of the issue, which each door is tried with.
GRAVEST = {
    "code": (objects(id(None)), f"refused: it calls ndarray, {CALLS}"),
    "crash": (crash(), f"refused: it calls ndarray, {CALLS}"),
    "hang": (P4 + called("_codecs.encode", put("".join(map(chr, range(256, 5000))) * 2), put("punycode")) + b".",
             "refused: it encodes text as 'punycode'; data has 'latin1' only"),
    "terabytes": (P4 + called("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", put((10**12,)), content(b"b")) + b".",
                  "refused: it calls NumPy's _reconstruct as NumPy never does; nothing of it was run"),
    "terabytes of state": (P4 + array((10**12,), F4, EIGHT) + b".",
                           r"refused: it holds an array of shape \(10{12},\) and type float32, 4,[0,]+ bytes, but 8 bytes"),
    "a memo of gigabytes": (P4 + b"]r\xff\xff\xff\x7f.", r"truncated or not a pickle \(place 2147483647 of the memo in a file"),
    "deep lists": (P4 + b"]" * 100_000 + b"a" * 99_999 + b".", "refused: its lists are nested over 32 deep"),
    "deep tuples": (P4 + b")" + b"\x85" * 100_000 + b".", "refused: its lists are nested over 32 deep"),
    "2**200 paths": (P4 + doubled(200) + b".", "refused: its lists are nested over 32 deep"),
}
OTHERS = {
    "a list in itself": (P4 + b"]q\0h\0a.", "refused: its lists are nested over 32 deep"),
    "deep by the back": (P4 + b"](]q\0" + b"".join(b"]h%ca" % i + b"q%c" % (i + 1) for i in range(100)) + b"e.",
                         "refused: its lists are nested over 32 deep"),
    "tuples as keys": (P4 + doubled(30, "tuple") + b"}h\x1eNs.", "refused: a key of it is a tuple; data has text as keys"),
    "keys of one hash": (P4 + b"}(" + COLLIDING + b"u.", "refused: a key of it is a int; data has text as keys"),
    "a text encoded often": (P4 + put("x" * 10_000) + b"q\7" + called("_codecs.encode", b"h\7", put("latin1")) * 5 + b".",
                             "refused: it encodes more text than it holds"),
    "a million opcodes": (P4 + b"]" * 1_000_000 + b".", "refused: it has over 500,000 opcodes; data has fewer"),
    "a size of exabytes": (P4 + b"\x8d" + struct.pack("<Q", 2**60) + b"x.", "truncated or not a pickle .1152921504606846976 byt"),
    "a number of 9000 digits": (P2 + b"L" + b"9" * 9_000 + b"L\n.", r"truncated or not a pickle \(a number of 9001 digits"),
    "a number of many bytes": (P2 + b"\x8a\xff" + bytes(255) + b".", r"truncated or not a pickle \(a number of 255 bytes"),
    "objects": (P4 + array((1,), dtype("O8", 3, "|", None, None, None, -1, -1, 63), b"]Na") + b".",
                "refused: it holds an array of type 'O8'; the types of data are b1 f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8"),
    "text": (P4 + array((1,), dtype("U2", 3, "<", None, None, None, 8, 4, 8), EIGHT) + b".", "an array of type 'U2'"),
    "records": (P4 + array((1,), dtype("V8", 3, "|", None, ("a",), {"a": 1}, 8, 1, 0), EIGHT) + b".", "an array of type 'V8'"),
    "sub-arrays": (P4 + array((1,), dtype("f4", 3, "<", (1, (2,)), None, None, -1, -1, 0), EIGHT) + b".", "array of type 'f4'"),
    "complex": (P4 + array((1,), dtype("c8"), EIGHT) + b".", "an array of type 'c8'"),
    "times": (P4 + array((1,), dtype("M8", 4, "<", None, None, None, -1, -1, 0, {}), EIGHT) + b".", "an array of type 'M8'"),
    "no type": (P4 + array((2,), put("f4"), EIGHT) + b".", "refused: it holds an array of no type that NumPy writes"),
    "too few bytes": (P4 + array((3,), F4, EIGHT) + b".", rf"refused: {SIZES}"),
    "too many bytes": (P4 + array((1,), F4, EIGHT) + b".", rf"refused: {SIZES}"),
    "an overflowing shape": (P4 + array((2**61, 8), F4, EIGHT) + b".", rf"refused: {SIZES}"),
    "a negative shape": (P4 + array((-1, -2), F4, EIGHT) + b".", "refused: it holds an array whose shape is no shape"),
    "a shape of truths": (P4 + array((True, 2), F4, EIGHT) + b".", "refused: it holds an array whose shape is no shape"),
    "a shape of a thousand": (P4 + array((1,) * 1000, F4, content(bytes(4))) + b".", "whose shape is no shape"),
    "text for bytes": (P4 + array((2,), F4, put("x" * 8)) + b".", "but no bytes for it"),
    "a buffer's order": (P4 + called("numpy.core.numeric._frombuffer", EIGHT, F4, put((2,)), put("K")) + b".",
                         "it calls NumPy's _frombuffer as NumPy never does"),
    "a buffer's axes": (P4 + called("numpy.core.numeric._frombuffer", EIGHT, F4, put((2,)), put("K"), put((3,))) + b".",
                        "truncated or not a pickle .axes don't match array|truncated or not a pickle .axis 3 is out of bounds"),
    "a scalar's object": (P4 + called("numpy.core.multiarray.scalar", dtype("O8"), EIGHT) + b".", "an array of type 'O8'"),
    "a state twice": (P4 + F4 + put((3,)) + b"b.", f"refused: it sets the state of a Call, {CALLS}"),
    "a state of a name": (P4 + b"cnumpy\ndtype\n" + put({"what": "x"}) + b"b.", f"refused: it sets the state of a Name, {CALLS}"),
    "a state of a list": (P4 + b"]" + put({"append": 1}) + b"b.", f"refused: it sets the state of a list, {CALLS}"),
    "a name": (P4 + b"cnumpy\nndarray\n.", "refused: it holds ndarray itself, which is no data"),
    "a type": (P4 + F4 + b".", "refused: it calls NumPy's dtype as NumPy never does"),
    "a name with dots": (P4 + b"\x8c\x05numpy\x8c\x0endarray.tofile\x93.", r"refused: it asks for numpy\.ndarray\.tofile"),
    "a name that is a list": (P4 + b"]]\x93.", "truncated or not a pickle .a name that is no text"),
    "a call of a number": (P4 + b"K\1)R.", f"refused: it calls a int, {CALLS}"),
    "a call of an array": (P4 + array((2,), F4, EIGHT) + b")R.", f"refused: it calls a Call, {CALLS}"),
    "a tuple of a list": (P4 + called("builtins.tuple", b"]") + b".", f"refused: it calls tuple, {CALLS}"),
    "an OrderedDict of pairs": (P4 + called("collections.OrderedDict", put([["a", 1]])) + b".", f"it calls OrderedDict, {CALLS}"),
}
NDARRAY = b"cnumpy\nndarray\n"
OPCODES = {                                        # that no data needs
    "EXT1": b"\x82\1", "EXT2": b"\x83\1\0", "EXT4": b"\x84\1\0\0\0", "PERSID": b"Pa\n", "BINPERSID": b"NQ",
    "INST": b"(inumpy\nndarray\n", "OBJ": b"(" + NDARRAY + b"o", "NEWOBJ": NDARRAY + b")\x81", "NEWOBJ_EX": NDARRAY + b")}\x92",
    "NEXT_BUFFER": b"\x97", "READONLY_BUFFER": b"N\x98", "EMPTY_SET": b"\x8f", "FROZENSET": b"(\x91", "ADDITEMS": b"](\x90",
    "DUP": b"N2", "POP": b"NN0", "POP_MARK": b"N(1", "LONG4": b"\x8b\1\0\0\0\1", "none": b"\xfe",
}
OTHERS |= {f"opcode {name}": (P4 + code + b".", r"truncated or not a pickle \(opcode 0x.. at byte \d+, which data never needs")
           for name, code in OPCODES.items()}
HOSTILE = GRAVEST | OTHERS
WITHIN = {                                         # what is data, but nowhere a weight, a moment or a label; and what it is
    "lists": (doubled(28), "list"), "tuples": (doubled(28, "tuple"), "tuple"), "a truth": (put(True), "bool"),
    "a scalar": (called("numpy.core.multiarray.scalar", F4, content(bytes(4))), "float32"), "a number": (put(2**100), "int"),
    "a text": (put("abc"), "str"), "nothing": (b"N", "NoneType"), "a dictionary": (b"}", "dict"), "bytes": (EIGHT, "bytes"),
}


def under(key: object, value: bytes) -> bytes:
    """Return a pickle of {key: value}, the value by its opcodes."""
    return P4 + value + b"q\xf0}" + put(key) + b"h\xf0s."
