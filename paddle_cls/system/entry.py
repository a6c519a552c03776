"""How a program begins and ends: signals, the console, and the one line about a mistake."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from ..errors import UserError, describe, one_line
from . import console, stopping


@contextlib.contextmanager
def reported(program: str) -> Iterator[None]:
    """Turn a UserError inside the block into one line on stderr and exit status 2, and a signal into status 128 + its number.

    An OSError without a better message, too little memory and a missing package are treated like a UserError. If the reader of a
    pipe has left, the block ends with status 141 and without a message. Of several processes, the first one prints. The others
    lose their connection to it then. They wait before they say so; mostly they have been ended by then.
    """
    console.prepare()
    first = not os.environ.get("PADDLE_TRAINER_ID", "").strip("0").isdigit() or "PADDLE_TRAINERS_NUM" not in os.environ
    try:
        with stopping.at_once(), console.flushed():
            yield
    except (UserError, OSError, MemoryError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == "paddle_cls":
            raise
        if not first:
            time.sleep(3)
        console.tell(f"{program}: error: {one_line(describe(error))}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        if not first:
            time.sleep(3)
        raise


def again() -> list[str]:
    """Return the command that starts this program once more, with its arguments."""
    if os.path.splitext(os.path.basename(sys.argv[0]))[0] in ("__main__", "paddle-cls"):      # which is no Python file on Windows
        return [sys.executable, "-m", "paddle_cls", *sys.argv[1:]]
    return [sys.executable, *sys.argv]
