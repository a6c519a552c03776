"""How much memory is free, and whether something fits into it before it is allocated."""

import contextlib
from pathlib import Path

from ..errors import UserError

_CGROUP = Path("/sys/fs/cgroup")                   # a container's limit, in Linux


def free() -> int:
    """Return the bytes that this process may still allocate: the least that machine, container and `ulimit -v` allow."""
    import psutil
    limits = [psutil.virtual_memory().available]
    with contextlib.suppress(OSError, ValueError):             # no limit: "max"
        used = int((_CGROUP / "memory.stat").read_text(encoding="ascii").split()[1])           # the line "anon N"
        limits.append(int((_CGROUP / "memory.max").read_text(encoding="ascii")) - used)
    with contextlib.suppress(ImportError):         # not on Windows
        import resource
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            limits.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(limits))


def check(needed: int, what: str, remedy: str) -> None:
    """Raise UserError if `needed` bytes are more than there are. what: takes them; remedy: what to do then."""
    if needed > (left := free()):
        raise UserError(f"{what} {_gigabytes(needed)} of memory, and {_gigabytes(left)} are free; {remedy}")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
