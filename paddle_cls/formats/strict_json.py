"""JSON that a stranger may have written: size, depth and digits are limited before the content is used."""

import json
import math
import reprlib
from typing import Any

MOST_BYTES = 16 << 20                              # of one text: 100,000 classes with long names
_MOST_DIGITS = 400                                 # of a number: more than any float has

_shown = reprlib.Repr()
_shown.maxlevel, _shown.maxlist, _shown.maxdict, _shown.maxstring, _shown.maxlong, _shown.maxother = 3, 10, 6, 60, 40, 60


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, in one line, with no character that a terminal obeys."""
    return _shown.repr(value)


def parse(content: bytes) -> Any:
    """Return what a JSON text holds. Raises ValueError in words that go into one line.

    Refused beside what is no JSON: NaN and Infinity, numbers beyond a float's range or of over 400 digits, a key that is there
    twice, lists in lists in lists without end.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES:,} bytes")
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse, parse_float=_float, parse_int=_int,
                          object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _float(text: str) -> float:
    if len(text) > _MOST_DIGITS or not math.isfinite(float(text)):
        raise ValueError(f"{shown(text)} is larger or longer than any number here")
    return float(text)


def _int(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} is there twice")
    return found
