"""A user's mistake: one line that says what, where, what is allowed and the remedy; exit status 2."""

import contextlib
import difflib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence


class UserError(ValueError):
    """A mistake that the user can mend; entry points print its text on one line and exit with status 2."""


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


@contextlib.contextmanager
def reported(program: str) -> Iterator[None]:
    """Turn a UserError inside the block into one line on stderr and exit status 2, Ctrl-C into 130.

    So with an OSError: a place that the system does not let us look at, where no better message was at hand.
    Of several processes the first speaks. The others, which lose it in the middle of an exchange, wait before they say
    so, and are mostly ended by then.
    """
    first = os.environ.get("PADDLE_TRAINER_ID", "0") == "0"
    try:
        yield
    except (UserError, OSError) as error:
        if not first:
            time.sleep(3)
        text = f"{error.filename}: {error.strerror}" if getattr(error, "filename", None) else str(error)
        print(f"{program}: error: {' '.join(text.split())}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        if not first:
            time.sleep(3)
        raise


# Controls (C0, DEL, C1), marks that turn the direction of writing, ends of lines and paragraphs, halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text with what would steer a terminal or turn its writing around as \n, \x1b, \u202e; all else as it is."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
