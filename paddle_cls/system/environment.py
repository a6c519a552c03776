"""What surrounds this process: Paddle's variables of the processes that train together, and the limit of the stack."""

import contextlib
import os
import re

from ..errors import UserError

LAUNCHER = "python -m paddle.distributed.launch"   # sets them all
STACK = 1 << 20                                    # bytes; with a quarter of it, loading Paddle ends in a segmentation fault


def widen_stack() -> None:
    """Raise the limit of the stack to STACK where it is below (`ulimit -s`). Raises UserError where that is not allowed."""
    with contextlib.suppress(ImportError):         # not on Windows
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
        if soft == resource.RLIM_INFINITY or soft >= STACK:
            return
        try:
            resource.setrlimit(resource.RLIMIT_STACK, (STACK, hard))
        except (ValueError, OSError):
            raise UserError(f"the stack is limited to {soft // 1024} kB, with which Paddle crashes; raise the limit: "
                            f"ulimit -s 8192") from None


def rank_and_size() -> tuple[int, int]:
    """Return (the number of this process, from 0 on; how many there are); (0, 1) where no variable says it.

    Raises UserError for what is no number, and where the two variables do not go together.
    """
    number, count = (os.environ.get(name) for name in ("PADDLE_TRAINER_ID", "PADDLE_TRAINERS_NUM"))
    for name, text, least in (("PADDLE_TRAINER_ID", number, 0), ("PADDLE_TRAINERS_NUM", count, 1)):
        if text is not None and not (re.fullmatch("[0-9]{1,5}", text) and int(text) >= least):
            raise UserError(f"{name}={text[:80]!r} is not a whole number from {least} on; unset it, or start by {LAUNCHER}")
    if (number is None) != (count is None):
        raise UserError(f"one of PADDLE_TRAINER_ID and PADDLE_TRAINERS_NUM is set, the other is not; unset it, or start by "
                        f"{LAUNCHER}")
    rank, size = int(number or 0), int(count or 1)
    if rank >= size:
        raise UserError(f"PADDLE_TRAINER_ID={rank}: of PADDLE_TRAINERS_NUM={size} processes the last is number {size - 1}")
    return rank, size


def check_places(rank: int, size: int) -> None:
    """Raise UserError unless the variables say at which HOST:PORT each of `size` processes is, and that this is `rank`."""
    endpoints = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    good = {endpoint for endpoint in endpoints if re.fullmatch(r"[^\s,]+:[0-9]{1,5}", endpoint)}
    if not len(good) == len(endpoints) == size or os.environ.get("PADDLE_CURRENT_ENDPOINT") != endpoints[rank]:
        raise UserError(f"PADDLE_TRAINERS_NUM={size}: PADDLE_TRAINER_ENDPOINTS must name {size} different HOST:PORT, and "
                        f"PADDLE_CURRENT_ENDPOINT number {rank} of them; start by {LAUNCHER}, or unset them all")
