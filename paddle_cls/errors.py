"""A user's mistake: one line that says what, where, what is allowed and the remedy; exit status 2."""

import difflib
import re
from collections.abc import Iterable, Sequence

MOST = 4000                                        # characters of a message
# Controls (C0, DEL, C1), marks that turn the direction of writing, ends of lines and paragraphs, halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(ValueError):
    """A mistake that the user can mend; entry points print its text on one line and exit with status 2."""


class NotFinite(ArithmeticError):
    """A loss, a weight or an answer of a network that is infinite or no number: the training has diverged.

    checkpoint: the checkpoint that is from before that.
    """

    def __init__(self, text: str, checkpoint: str = "last"):
        super().__init__(text)
        self.checkpoint = checkpoint


def unknown(what: str, name: str, known: Iterable[str], *, lister: str = "") -> str:
    """Return "unknown WHAT NAME; did you mean CLOSE?", or where none is close the known, or the command that lists them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    rest = f"{lister} lists the known" if lister else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {name!r}; " + (f"did you mean {close[0]!r}?" if close else rest)


def report_all(problems: Sequence[str], most: int = 20) -> None:
    """Raise one UserError that lists all problems (the first `most` of them, and how many more); none: return."""
    if problems:
        count = f"{len(problems)} problems: " if len(problems) > 1 else ""
        more = f"; and {len(problems) - most} more" if len(problems) > most else ""
        raise UserError(count + "; ".join(problems[:most]) + more)


def printable(text: str) -> str:
    r"""Return a text with what would steer a terminal or turn its writing around as \n, \x1b, \u202e; all else as it is."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return a message as one line that a terminal only shows, its middle left out where it is very long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= MOST else f"{line[:MOST // 2]} ... {line[-MOST // 2:]}"


def describe(error: Exception) -> str:
    """Return what an error says; of an OSError the file first, of memory or a package that is missing the remedy too."""
    if isinstance(error, MemoryError):
        wanted = " ".join(str(error).split()).removeprefix("(ResourceExhausted) ").partition(", error code")[0]     # of Paddle's
        return (f"not enough memory{f' ({wanted})' if wanted else ''}; lower --batch-size or --image-size, or free some "
                f"memory")
    if isinstance(error, ModuleNotFoundError):
        return f"this needs {error.name}, which is not installed; install paddle_cls: paddle_cls_runtime only answers by exports"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return (isinstance(error, OSError) and error.strerror) or str(error)
