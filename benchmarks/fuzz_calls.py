"""How fuzz.py calls a program inside its process, as a shell would, and what it asks of what is printed."""

import contextlib
import io
import unicodedata
from collections.abc import Iterable
from types import ModuleType


class Wrong(Exception):
    """An answer that keeps no promise, such as one of NaN with status 0."""


def as_words(words: Iterable[str]) -> list[str]:
    """Return words as a shell could pass them: without NUL, and UTF-8."""
    return [word.replace("\0", "").encode("utf-8", "replace").decode() for word in words]


def program(module: ModuleType, argv: Iterable[str]) -> str:
    """Run a program's main as a shell does; return its output. Raises UserError with what it said where its status is 2.

    Wrong, where that is not one line, the status is none of 0, 1 and 2, or a control character is printed.
    """
    from paddle_cls.errors import UserError
    from paddle_cls.system.entry import reported
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with reported(module.PROGRAM):
                status = module.main(as_words(argv))
        except SystemExit as ended:
            status = ended.code or 0
    answer, told = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))
    if signs := {sign for sign in answer + told if unicodedata.category(sign) == "Cc"} - {"\n", "\t"}:
        raise Wrong(f"control characters {signs} are printed")
    if status not in (0, 1, 2):
        raise Wrong(f"status {status}: {told[-200:]}")
    if status == 2:
        if told.count("\n") != 1 or ": error: " not in told:
            raise Wrong(f"{told.count(chr(10))} lines: {told[-300:]}")
        raise UserError(told.strip())
    return answer
