"""Child processes that do not outlive their parent, whichever way it ends."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

# A compiler has children of its own, which Linux does not bind to us: a shell leads the group of all, and ends it.
_LEADER = ("sh", "-c", 'trap "kill -9 0" TERM; "$@" & wait $!', "sh")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have Linux send this process a signal when its parent dies, even by kill -9 (prctl 1 is PR_SET_PDEATHSIG).

    Elsewhere: nothing.
    """
    if sys.platform == "linux":
        import ctypes
        ctypes.CDLL(None).prctl(1, number)


BOUND = die_with_parent if sys.platform == "linux" else None           # preexec_fn of a child; Windows has none


def start_group(command: Sequence[str], **where: Any) -> subprocess.Popen:
    """Start a command that has children, on Linux: `terminate` ends all of them, and so does the end of this process.

    where: keyword arguments of Popen.
    """
    return subprocess.Popen([*_LEADER, *command], start_new_session=True, preexec_fn=lambda: die_with_parent(signal.SIGTERM),
                            **where)
