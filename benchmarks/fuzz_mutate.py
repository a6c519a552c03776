"""Broken versions of what is good, for fuzz.py: bytes, text, JSON, pickles and zip files; a random generator decides all."""

import io
import json
import pickle
import pickletools
import random
import re
import string
import struct
import zipfile
from collections.abc import Callable, Sequence

INTS = (0, 1, -1, 2, 3, 7, 255, 256, 65535, 10**6, 2**31 - 1, 2**31, -2**31, 2**32, 2**63 - 1, 2**63, -2**63 - 1, 10**12,
        10**20, 10**30, 10**400)
FLOATS = (0.0, -0.0, 0.5, 1.5, -0.5, 1e-320, 1e-30, 1e38, 1e308, -1e308, float("nan"), float("inf"), float("-inf"))
WORDS = ("", " ", "0", "1", "-1", "01", "1_0", "0x10", "1e3", "1e400", "-1e400", "nan", "inf", "5" * 5000, "1.5", "1:00", "none",
         "null", "~", "auto", "true", "off", "yes", "None", "x", "a b", "\t", "\0", "\n", "\r\n", "'", '"', "\\", "/", "//", ".",
         "..", "../..", "~root", "\x1b[31m", "\ud800", "é", "猫", "\u0661\u0660", "\u202e", "\ufeff", "<b>", "=1+1",
         "=cmd|' /C calc'!A0", "@x", "%s", "{0}", "${HOME}", ",", ",,", ";", "=", "a=b", "a=b,c", "[", "]", "{", "}", "[[1]]",
         "&a", "*a", "!!set", "!!binary eA==", "-", "--", "#", "a" * 300, "z" * 70000, "1,2", "2/5", "0/0", "1/0", "-1/5", "5x5",
         "9x", "2024-13-45", "0.1,0.2")
BYTES = (b"\0", b"\xff", b"\0" * 8, b"\xff" * 8, b"\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"PK\x03\x04", b"\x89PNG", b"%!PS\n",
         b"\n", b"\r", b",", b'"', b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"<", b"]", b"{", b"9" * 400)
ADMITTED = ("numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar",
            "numpy.core.numeric _frombuffer", "_codecs encode", "collections OrderedDict", "builtins tuple", "builtins eval",
            "os system", "numpy load", "builtins getattr")
DEEP = "@deep{}@"                                  # stands for as many brackets, which json.dumps could not nest


class Mutator:
    """Mutates by `rng`, or, where that is None, gives everything back as it is."""

    def __init__(self, rng: random.Random | None):
        self.rng = rng

    def maybe(self, share: float) -> bool:
        """Return True in that share of the calls, never without a generator."""
        return self.rng is not None and self.rng.random() < share

    def choose(self, values: Sequence, first: object = None) -> object:
        """Return one of `values`; without a generator `first`, or else the first of them."""
        return self.rng.choice(values) if self.rng else values[0] if first is None else first

    def some(self, content: object, change: Callable, most: int = 3) -> object:
        """Return `content` after one to `most` changes, mostly one."""
        if self.rng is None:
            return content
        for _ in range(min(self.rng.choice((1, 1, 1, 2, 3)), most)):
            content = change(content)
        return content

    def bytes(self, content: bytes) -> bytes:
        """Return bytes with bits flipped, cut off, pieces put in, taken out, doubled or moved."""
        return self.some(content, self._bytes)

    def _bytes(self, content: bytes) -> bytes:
        rng, length = self.rng, len(content)
        place, end = (sorted(rng.randrange(length + 1) for _ in range(2)) if length else (0, 0))
        end = min(end, place + rng.choice((1, 4, 30, length)))
        kind = rng.randrange(7)
        if kind == 0 and length:
            return self._flipped(content)
        if kind == 1:
            return content[:place]
        if kind == 2:
            return content[:place] + rng.choice(BYTES) + content[place:]
        if kind == 3:
            return content[:place] + content[end:]
        if kind == 4:
            return content[:end] + content[place:end] * rng.choice((1, 2, 50)) + content[end:]
        if kind == 5:
            return content[:place] + rng.choice(BYTES) + content[place + 4:]
        return rng.choice((b"", rng.randbytes(rng.choice((1, 20, 500))), content[place:], content * 2))

    def _flipped(self, content: bytes) -> bytes:
        out = bytearray(content)
        for _ in range(self.rng.choice((1, 1, 3, 10))):
            out[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        return bytes(out)

    def text(self, content: str) -> str:
        """Return text with words, lines and signs replaced, put in, taken out, doubled or exchanged."""
        return self.some(content, self._text)

    def _text(self, content: str) -> str:
        rng = self.rng
        lines = content.splitlines(keepends=True)
        kind = rng.randrange(8)
        if kind < 3 and (words := list(re.finditer(r"[^\s,;:=]+", content))):
            word = rng.choice(words)
            return content[:word.start()] + self.word() + content[word.end():]
        if kind == 3 and lines:
            place = rng.randrange(len(lines))
            return "".join(lines[:place] + lines[place + 1:])
        if kind == 4 and lines:
            line = rng.choice(lines)
            lines.insert(rng.randrange(len(lines) + 1), line * rng.choice((1, 1, 5)))
            return "".join(lines)
        place = rng.randrange(len(content) + 1)
        if kind == 5:
            return content[:place] + self.word() + content[place:]
        if kind == 6:
            return content[:place] + content[place + rng.choice((1, 1, 3, 20)):]
        return content[:place] + rng.choice(string.punctuation + " \t\n") + content[place + rng.choice((0, 1)):]

    def encoded(self, text: str) -> bytes:
        """Return a text as bytes, rarely in another encoding than UTF-8, rarely with broken bytes."""
        if self.maybe(0.05):
            return text.encode(self.rng.choice(("utf-16", "latin-1", "utf-8-sig", "utf-32")), "replace")
        content = text.encode("utf-8", "surrogatepass")
        return self.bytes(content) if self.maybe(0.05) else content

    def word(self) -> str:
        """Return a word that programs stumble over."""
        return str(self.rng.choice(self.rng.choice((WORDS, INTS, FLOATS))))

    def value(self, like: object = None) -> object:
        """Return a JSON value that programs stumble over, for a number often a number; DEEP becomes brackets in `dumps`."""
        rng = self.rng
        if isinstance(like, (int, float)) and not isinstance(like, bool) and rng.random() < 0.5:
            return rng.choice(rng.choice((INTS, FLOATS)))
        return rng.choice((None, True, False, rng.choice(INTS), rng.choice(INTS), rng.choice(FLOATS), rng.choice(FLOATS),
                           rng.choice(WORDS), rng.choice(WORDS), [], {}, [None], [1, "a"], [[]], {"a": {}}, {"": 0}, [0.5] * 3,
                           [float("nan")] * 3, ["0.5"] * 3, [[1, 2], [3]], [1] * 1000, DEEP.format(rng.choice((50, 900, 99999)))))

    def json(self, content: object) -> object:
        """Return a JSON value with one to three of its parts replaced, left out, renamed, wrapped or exchanged."""
        return self.some(content, self._json)

    def _json(self, content: object) -> object:
        rng = self.rng
        content = pickle.loads(pickle.dumps(content))          # a deep copy
        places = [(owner, key) for owner in _owners(content) for key in (owner if isinstance(owner, dict) else range(len(owner)))]
        if not places or rng.random() < 0.03:
            return self.value()
        few = [place for place in places if not (isinstance(place[0], list) and len(place[0]) > 12)]
        owner, key = rng.choice(few or places)
        kind = rng.randrange(8)
        if kind == 0:
            del owner[key]
        elif kind == 1:
            owner[key] = rng.choice(([owner[key]], {"a": owner[key]}, str(owner[key]), [owner[key]] * 2))
        elif kind == 2:
            other, place = rng.choice(few or places)
            owner[key] = pickle.loads(pickle.dumps(other[place]))
        elif kind == 3 and isinstance(owner, dict):
            owner[rng.choice((str(key) + "x", rng.choice(WORDS), str(key).upper()))] = owner.pop(key)
        elif kind == 4 and isinstance(owner[key], (int, float)) and not isinstance(owner[key], bool):
            owner[key] = rng.choice((-owner[key], owner[key] + 1, float(owner[key]), str(owner[key]), owner[key] * 1e9))
        else:
            owner[key] = self.value(owner[key])
        return content

    def dumps(self, content: object) -> bytes:
        """Return JSON text; rarely with a key twice, a number out of range, or broken as text."""
        text = json.dumps(content)
        text = re.sub(r'"@deep(\d+)@"', lambda match: "[" * int(match[1]) + "]" * int(match[1]), text)
        if self.maybe(0.1):
            text = text.replace("Infinity", "1e400").replace("NaN", "1e999")
        if self.maybe(0.05):
            text = text.replace("{", '{"format": "x", "step": [], ', 1) if self.maybe(0.5) else self.text(text)
        return self.encoded(text)

    def pickle(self, content: bytes) -> bytes:
        """Return a pickle with operations replaced, left out, doubled or put in, or with broken bytes."""
        return self.some(content, self._pickle) if self.rng is None or self.rng.random() < 0.75 else self.bytes(content)

    def _pickle(self, content: bytes) -> bytes:
        rng = self.rng
        try:
            places = [place for _, _, place in pickletools.genops(content)] + [len(content)]
        except Exception:                          # a former change broke it
            return self._bytes(content)
        number = rng.randrange(len(places) - 1)
        start, end = places[number], places[number + 1]
        kind = rng.randrange(6)
        if kind == 0:
            return content[:start] + content[end:]
        if kind == 1:
            return content[:end] + content[start:end] * rng.choice((1, 1, 3)) + content[end:]
        if kind == 2:
            return content[:start] + _operation(rng) + content[end:]
        if kind == 3:
            return content[:start] + _operation(rng) + content[start:]
        if kind == 4:                              # the kind of the numbers
            kinds = [match.span() for match in re.finditer(rb"[fiub][1248](?=q|\x94|\x8c|K|\x89|r|T|U)", content)]
            if kinds:
                start, end = rng.choice(kinds)
                other = rng.choice((b"O8", b"U2", b"V4", b"c8", b"S1", b"f2", b"i8", b"f8", b"M8", b"b1"))
                return content[:start] + other + content[end:]
        names = [match.span() for match in re.finditer(rb"[a-z_]{4,}", content)]
        if not names:
            return self._bytes(content)
        start, end = rng.choice(names)
        new = rng.choice(rng.choice(ADMITTED).split()).encode()
        return content[:start] + (new[:end - start].ljust(end - start, b"x")) + content[end:]

    def zip(self, content: bytes, inside: Callable[[bytes], bytes]) -> bytes:
        """Return a zip file with a member changed by `inside`, renamed, left out or stored otherwise, or with broken bytes."""
        if self.rng is None:
            return content
        rng, kind = self.rng, self.rng.randrange(-3, 8)
        if kind < 0:
            return self._flipped(content)
        if kind == 0 or not zipfile.is_zipfile(io.BytesIO(content)):
            return self.bytes(content)
        if kind < 3:                               # of a header: version, flags, method, time, checksum, sizes, lengths
            signs = [match.start() for match in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", content)]
            place = rng.choice(signs) + rng.randrange(4, 30)
            return content[:place] + bytes([rng.choice((0, 1, 8, 9, 12, 99, 255))]) + content[place + 1:]
        out, members = io.BytesIO(), zipfile.ZipFile(io.BytesIO(content))
        names = members.namelist()
        chosen = rng.choice(names)
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                data = members.read(name)
                if name == chosen and kind == 3:
                    continue
                if name == chosen and kind > 4:
                    data = inside(data)
                new = rng.choice((name.upper(), "../x", "", name + "x")) if name == chosen and kind == 4 else name
                archive.writestr(zipfile.ZipInfo(new or "x"), data, method)
        return out.getvalue()


def _owners(content: object) -> list:
    """Return all dictionaries and lists in a JSON value that hold something."""
    found, todo = [], [content]
    while todo:
        one = todo.pop()
        if isinstance(one, (dict, list)):
            found += [one] * bool(one)
            todo += one.values() if isinstance(one, dict) else one
    return found


def _operation(rng: random.Random) -> bytes:
    """Return an operation of a pickle."""
    number = rng.choice((0, 1, 255, 2**31 - 1, 2**32, 2**63 - 1, -1))
    module, name = rng.choice(ADMITTED).split()
    return rng.choice((
        b"N", b"\x88", b"\x89", b"]", b"}", b")", b"(", b"t", b"\x85", b"\x86", b"0", b"2", b"R", b"b", b"u", b"a", b"s", b".",
        b"\x94", b"\x8f", b"\x81", b"Q", b"\x97", b"h" + bytes([rng.randrange(256)]), b"K" + bytes([rng.randrange(256)]),
        b"J" + struct.pack("<i", number if abs(number) < 2**31 else 9), b"I%d\n" % number, b"L%dL\n" % number, b"Fnan\n",
        b"F1e400\n", b"G" + struct.pack(">d", 1e308), b"\x8b\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f",
        b"\x8e" + b"\xff" * 7 + b"\x7f",
        b"\x96" + struct.pack("<Q", 2**40), b"X\x03\x00\x00\x00abc", b"C\x02ab", b"B" + struct.pack("<I", 4) + b"\0\0\xc0\x7f",
        f"c{module}\n{name}\n".encode(), f"i{module}\n{name}\n".encode(), b"\x82\x01", b"Pabc\n", b"p9\n", b"\x95" + b"\xff" * 8))
