"""Numbers as flags and settings files spell them, and values as messages show them."""

import re

LONGEST = 400                                      # characters of a value that a message shows
# Decimal, as everybody reads it: 010 is not eight, 1:30 not ninety, and 1_0 not ten, as they are to YAML 1.1 or Python.
WHOLE = re.compile("[-+]?(0|[1-9][0-9]{0,999})", re.ASCII)
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]{0,999})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)


def shown(value: object) -> str:
    """Return the repr of a value, short enough for a message."""
    text = repr(value)
    return text if len(text) <= LONGEST + 100 else f"{text[:LONGEST]}... ({len(text):,} characters)"
