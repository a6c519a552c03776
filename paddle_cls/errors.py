"""A user's mistake: one line that says what, where, what is allowed and the remedy; exit status 2."""

import contextlib
import difflib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from . import stopping


class UserError(ValueError):
    """A mistake that the user can mend; entry points print its text on one line and exit with status 2."""


class NotFinite(ArithmeticError):
    """A loss, a weight or an answer of a network that is infinite or no number: the training has diverged.

    kept: the checkpoint that is from before that.
    """

    def __init__(self, text: str, kept: str = "last"):
        super().__init__(text)
        self.kept = kept


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


def told(error: Exception) -> str:
    """Return what an error says; of an OSError the file first."""
    return f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else str(error)


@contextlib.contextmanager
def reported(program: str) -> Iterator[None]:
    """Turn a UserError inside the block into one line on stderr and exit status 2, a signal into 128 + its number.

    So with an OSError: a place that the system does not let us look at, where no better message was at hand.
    Of several processes the first speaks. The others, which lose it in the middle of an exchange, wait before they say
    so, and are mostly ended by then.
    """
    first = os.environ.get("PADDLE_TRAINER_ID", "0") == "0"
    try:
        with stopping.at_once():
            yield
    except (UserError, OSError) as error:
        if not first:
            time.sleep(3)
        print(f"{program}: error: {' '.join(told(error).split())}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        if not first:
            time.sleep(3)
        raise
