"""The console: streams that take all text in every locale, and text that moves no cursor."""

import contextlib
import ctypes
import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TextIO

PIPE_CLOSED = 141                                  # exit status, what a shell gives for a program that SIGPIPE ended


def prepare() -> None:
    """Let stdout and stderr take all text: what their encoding lacks is escaped, and a closed stream drops everything.

    A closed descriptor is opened too. Else the next file would get its number, and with it what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        with contextlib.suppress(OSError):
            _open(number)
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))         # noqa: SIM115 (for good)
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:                   # the system gives the lowest number that is free
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.set_inheritable(number, True)


def tell(line: str) -> None:
    """Print a line on stderr. If stderr is closed, the program continues without it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Write out what the block prints. Raises SystemExit(141) where the reader of a pipe has left, as `| head` does.

    Raises OSError with the filename "standard output" where that cannot be written, such as to a full disk.
    """
    try:
        try:
            yield
        finally:
            flush()
    except BrokenPipeError as error:
        if error.filename is not None or not any(map(_is_pipe, (sys.stdout, sys.stderr))):
            raise
        _abandon(sys.stdout, sys.stderr)
        raise SystemExit(PIPE_CLOSED) from None


@contextlib.contextmanager
def libraries_on_stderr() -> Iterator[None]:
    """Have what libraries print past Python inside the block on stderr: a program's stdout may be read by another program.

    All threads' output goes there meanwhile. Descriptor 1 is the old one again afterwards, whatever happens; where 1 or 2 is
    closed all stays as it is.
    """
    with _stdout_as(2):
        yield


@contextlib.contextmanager
def libraries_kept() -> Iterator[Callable[[], str]]:
    """Keep all that is printed on stdout inside the block, by Python too; the function given returns it, so far.

    For a library that tells its progress on stdout, and its errors among it. All threads' output goes there meanwhile.
    """
    with tempfile.TemporaryFile() as file, contextlib.redirect_stdout(io.StringIO()) as text, _stdout_as(file.fileno()):
        def kept() -> str:
            _flush_all()                           # C's part
            file.seek(0)
            return file.read().decode(errors="replace") + text.getvalue()
        yield kept


@contextlib.contextmanager
def _stdout_as(descriptor: int) -> Iterator[None]:
    _flush_all()
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(descriptor, 1)
        yield
    finally:
        try:
            _flush_all()                           # C keeps back what it writes into a pipe or a file
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _flush_all() -> None:
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):         # it stays in Python's buffer, which is told of at the end
            sys.stdout.flush()
    with contextlib.suppress(OSError, AttributeError, TypeError):              # a C library that is found otherwise
        ctypes.CDLL("ucrtbase" if os.name == "nt" else None).fflush(None)


def flush() -> None:
    """Write out what was printed on stdout. Raises OSError with the filename "standard output", BrokenPipeError without."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _abandon(sys.stdout)
        raise OSError(error.errno, error.strerror, "standard output") from None


def _is_pipe(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError):             # of a test's stream, which has no descriptor
        mode = os.fstat(stream.fileno()).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    return False


def _abandon(*streams: TextIO) -> None:
    """Let streams drop everything, so that the interpreter does not write to them again when it ends."""
    for stream in streams:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
