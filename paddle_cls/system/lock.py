"""One training at a time in a run folder: a lock file in it, which the system frees when the process ends in any way."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .files import locked, read_bytes, writing

NAME = ".training.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, getattr(errno, "ENOTSUP", errno.ENOSYS), getattr(errno, "EOPNOTSUPP", errno.ENOSYS))


def run_in(folder: Path) -> str:
    """Return the name of a file that shows that a folder holds a run, or ""."""
    return next((name for name in ("config.yaml", "last.json", "metrics.jsonl") if (folder / name).exists()), "")


@contextlib.contextmanager
def training_in(folder: Path, *, active: bool = True) -> Iterator[None]:
    """Reserve the run folder for this training inside the block. It is made if needed, and removed if it stays empty.

    active: False does nothing, for all processes but the first. The first one of several that train.py itself has started
    shares the lock that train.py holds. Raises UserError, with the other's process number, where another training has the
    folder, and where the folder cannot be made.
    """
    if not active:
        yield
        return
    with contextlib.ExitStack() as stack:
        with writing(folder):
            stack.enter_context(_made(folder))
            try:
                stack.enter_context(locked(folder / NAME))
            except BlockingIOError:
                if _holder(folder) != os.getppid():
                    raise UserError(f"{folder}: process {_holder(folder) or 'unknown'} trains in it; wait for it, or choose "
                                    f"another --output-dir") from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                print(f"{folder}: no locks on this file system; let no second training write there", flush=True)
        yield


def _holder(folder: Path) -> int | None:
    """Return the process number in the lock file, None where there is none: a file that a killed process left has one too."""
    try:
        return int(read_bytes(folder / NAME, 100))
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make `folder` for the block. After it, remove those of the new folders that are empty."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):         # not empty
            for place in new:
                place.rmdir()
