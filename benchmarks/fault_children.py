"""Works in forked children that are harmed: this process has loaded Paddle once, so that an attempt costs no import.

The parent must not compute before it forks: no thread of a math library would be in the child. Linux only.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from paddle_cls.system import stopping

GONE = 10.0                                        # seconds for what an attempt has started to end after it
# What changes a file, of https://docs.python.org/3/library/audit_events.html
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.chmod"}


@dataclass
class Ended:
    """What became of an attempt. status: as subprocess has it, None where it hung; where: it was killed, if it did so itself."""

    status: int | None
    out: str
    err: str
    seconds: float
    orphans: int
    where: str = ""


@dataclass
class Harm:
    """None at all, the base of the others."""

    def inside(self, tell: Callable[[str], None]) -> None:
        """Prepare it in the child, before the work. tell: notes where the child is about to be killed."""

    def outside(self, number: int, ended: Callable[[float], bool]) -> None:
        """Do it from the parent. number: the child's; ended: waits some seconds for it, and returns whether it has ended."""


@dataclass
class Signals(Harm):
    """Signals after some seconds each."""

    plan: Sequence[tuple[float, int]]

    def outside(self, number, ended):
        """Send them."""
        for delay, kind in self.plan:
            if ended(delay):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, kind)


@dataclass
class AtOperation(Harm):
    """A kill -9 just before the operation of this number that changes a file, or syncs one."""

    number: int

    def inside(self, tell):
        """Count the operations, by Python's audit events."""
        left, sync = self.number, os.fsync

        def count(event: str, about: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                tell(f"{event} {about}")
                os.kill(os.getpid(), signal.SIGKILL)

        def heard(event: str, arguments: tuple) -> None:
            if event in CHANGES or (event == "open" and _writes(arguments)):
                count(event, arguments[0])

        def synced(descriptor: int) -> None:
            count("os.fsync", descriptor)
            sync(descriptor)

        os.fsync = synced
        sys.addaudithook(heard)


def _writes(arguments: tuple) -> bool:
    _, mode, flags = arguments
    return bool(set(mode or "") & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


@dataclass
class InWrite(Harm):
    """Death in the middle of a write: Linux ends the process (SIGXFSZ) where a file of its gets longer than this."""

    length: int                                    # bytes

    def inside(self, tell):
        """Set the limit; Python ignores the signal otherwise."""
        tell(f"byte {self.length:,} of a file")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.length, self.length))


@dataclass
class Workers(Harm):
    """A signal to one of the processes that the child has started (or, below 0, to all with itself), perhaps taken back."""

    delay: float                                   # seconds
    place: int
    kind: int = signal.SIGKILL
    pause: float | None = None                     # seconds until SIGCONT

    def outside(self, number, ended):
        """Send it; where the child has not started any yet, wait for them."""
        if ended(self.delay):
            return
        while not (workers := _children(number)):
            if ended(0.02):
                return
        hit = [number, *workers] if self.place < 0 else [workers[self.place % len(workers)]]
        for kind in (self.kind,) if self.pause is None else (self.kind, signal.SIGCONT):
            for process in hit:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, kind)
            if self.pause is not None and kind != signal.SIGCONT:
                time.sleep(self.pause)


def _children(number: int) -> list[int]:
    try:
        return sorted(child.pid for child in psutil.Process(number).children())
    except psutil.NoSuchProcess:
        return []


def attempt(work: Callable[[], int], harm: Harm, scratch: Path, limit: float) -> Ended:
    """Do `work` in a child, harm it, and wait for its end.

    scratch: a folder for what it writes. limit: seconds after which it hangs.
    """
    files = _new_files(scratch)
    number = os.fork()
    if not number:
        _child(work, harm, files)

    def poll() -> int | None:
        found, answer = os.waitpid(number, os.WNOHANG)
        return os.waitstatus_to_exitcode(answer) if found else None
    return _follow(number, poll, harm, files, limit, lambda process: os.getsid(process.pid) == number)


def started(command: Sequence[str], mark: str, harm: Harm, scratch: Path, limit: float) -> Ended:
    """Do the same with a command. mark: an argument that all its processes have."""
    files = _new_files(scratch)
    with open(files[0], "w") as out, open(files[1], "w") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
    return _follow(process.pid, process.poll, harm, files, limit, lambda process: mark in (process.info["cmdline"] or ()))


def _new_files(scratch: Path) -> list[Path]:
    files = [scratch / name for name in ("out", "err", "where")]
    for file in files:
        file.write_text("")
    return files


def _follow(number: int, poll: Callable[[], int | None], harm: Harm, files: list[Path], limit: float,
            ours: Callable[[psutil.Process], bool]) -> Ended:
    begun, status = time.monotonic(), None

    def ended(seconds: float) -> bool:
        nonlocal status
        until = time.monotonic() + seconds
        while status is None:
            status = poll()
            if status is None and time.monotonic() >= until:
                break
            if status is None:
                time.sleep(0.003)
        return status is not None

    harm.outside(number, ended)
    hung = not ended(limit)
    if hung:
        os.kill(number, signal.SIGKILL)
        ended(GONE)
    seconds = time.monotonic() - begun
    left = orphans(ours)
    out, err, where = (file.read_text(errors="replace") for file in files)
    return Ended(None if hung else status, out, err, seconds, left, where)


def orphans(ours: Callable[[psutil.Process], bool]) -> int:
    """Wait for the end of the processes that `ours` knows; kill and count those that stay."""
    deadline = time.monotonic() + GONE
    while left := [process for process in psutil.process_iter(["status", "cmdline"]) if _lives(process, ours)]:
        if time.monotonic() > deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            break
        time.sleep(0.05)
    return len(left)


def _lives(process: psutil.Process, ours: Callable[[psutil.Process], bool]) -> bool:
    try:
        return process.info["status"] != psutil.STATUS_ZOMBIE and ours(process)
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False


def _child(work: Callable[[], int], harm: Harm, files: list[Path]) -> None:
    """Do the work as a new process would, and end."""
    os.setsid()
    status = 70
    try:
        for number, file in enumerate(files[:2], 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        where = os.open(files[2], os.O_WRONLY | os.O_TRUNC)
        stopping.install()                         # as each program does first
        harm.inside(lambda text: os.write(where, text.encode()))
        status = work()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:                          # as the interpreter does
        status = 1
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):   # a late signal: what there was to do is done
            sys.stdout.flush()
        os._exit(status)
