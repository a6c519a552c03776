"""What Ctrl-C, SIGTERM and SIGHUP (a closed terminal) do: end at once, or after a training has saved.

A program has three phases. While its libraries are loaded, a signal ends the process. Inside `at_once`, which `entry.reported`
enters, a signal raises Stopped, so that half-done work is cleaned up. If this takes over a second, a thread ends the process,
because Python's handlers wait for a library that computes. In a training, from `Stop.defer` on, a signal is only noted: the loop
checks after each step, saves and ends.
"""

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE = 1.0                                     # seconds to put away what is half done
STATUSES = tuple(128 + number for number in NUMBERS)           # of a program that was stopped, as shells say it


class Stopped(KeyboardInterrupt):
    """A signal ends the program. This is no Exception, so that no `except Exception` catches it."""


class _Phase:
    """What a signal does at the moment in this process."""

    def __init__(self) -> None:
        self.caught: list[int] = []                # signals that are to end the program, the first one first
        self.inside = 0                            # `at_once` blocks around what runs now
        self.stop: Stop | None = None              # a training that is to be asked


_now = _Phase()


def heard() -> list[int]:
    """Return the signals to handle. SIGHUP is left out if it was ignored from the start, as with nohup."""
    return [number for number in NUMBERS if number is signal.SIGINT or number is signal.SIGTERM
            or signal.getsignal(number) is not signal.SIG_IGN]


def install() -> None:
    """Answer signals from now on; a program's first act, before it imports what takes time."""
    came, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    _thread.start_new_thread(_watch, (came,))
    for number in heard():
        signal.signal(number, on_signal)
    if hasattr(signal, "pthread_sigmask"):         # whoever started us may have held them back until now
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def on_signal(number: int, _: object = None) -> None:
    """Answer a signal, as its handler. Raises Stopped where that is due, or does not return."""
    stop = _now.stop
    if stop and stop.deferred:
        stop.came.append(number)
        return
    _now.caught.append(number)
    if not _now.inside or len(_now.caught) > 1:    # nothing to put away yet, or somebody is in a hurry
        leave(number)
    _thread.start_new_thread(_force, (number,))    # no threading.Thread: its locks may be held where we have interrupted
    if stop:
        stop.tell()
        if not stop.alone:                         # the exchange with the others is broken, which would be told too
            leave(number)
    raise Stopped(number)


def _force(number: int) -> None:
    time.sleep(PATIENCE)
    leave(number)


def _watch(came: int) -> None:
    """End the process a while after each signal that `on_signal` should have answered: the main thread may compute in C++."""
    while number := os.read(came, 1):
        _thread.start_new_thread(_overdue, (number[0],))


def _overdue(number: int) -> None:
    time.sleep(PATIENCE)
    if number in NUMBERS and signal.getsignal(number) is on_signal and not (_now.stop and _now.stop.deferred):
        leave(number)


def leave(number: int) -> None:
    """End this process and its threads now."""
    os._exit(128 + number)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Have a signal end the block, and whatever it turns the block's error into, with exit status 128 + its number.

    A library may make another error of Stopped, as NumPy does when it is interrupted while it is loaded.
    """
    _now.inside += 1
    try:
        yield
    except BaseException as error:
        if _now.caught and not (isinstance(error, SystemExit) and error.code in STATUSES):
            raise SystemExit(128 + _now.caught[0]) from None
        raise
    finally:
        _now.inside -= 1
        if not _now.inside:
            _now.caught.clear()


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """Let a signal end the process without Stopped inside the block: nothing is half done, and libraries would print Stopped."""
    inside, _now.inside = _now.inside, 0
    try:
        yield
    finally:
        _now.inside = inside


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Keep our handlers over a block that loads a library with its own: Paddle has one for SIGTERM that prints a traceback.

    SIGTERM waits for the end of the block; the others end the process as in `bare`.
    """
    before = {number: signal.getsignal(number) for number in NUMBERS}
    holds = hasattr(signal, "pthread_sigmask")
    if holds:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        with bare():
            yield
    finally:
        for number, handler in before.items():
            if handler is not None:                # None: not set by Python, and not to be had
                signal.signal(number, handler)
        if holds:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def by_default() -> Iterator[None]:
    """Have signals end the process by themselves in a block that waits inside a library, where no Python runs."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in heard() if signal.getsignal(number) is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held(numbers: Sequence[int] = NUMBERS) -> Iterator[None]:
    """Hold signals back inside the block, and in the processes that it starts until they call `install`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Unheard(contextlib.nullcontext):
    """In the place of a `Stop`, for a training in somebody's own program, which answers its signals itself."""

    def wanted(self) -> int:
        """Return 0: no signal is to be answered here."""
        return 0

    def defer(self) -> None:
        """Do nothing."""

    def allow(self) -> None:
        """Do nothing."""

    def tell(self) -> None:
        """Do nothing."""


class Stop:
    """The signals to a training, in a `with` block.

    on_stop: () -> None, says that the training was stopped and where to go on; called once, when nothing is left to save.
    alone: False where other processes train with this one: then a process leaves without the others' part in it.
    """

    def __init__(self, on_stop: Callable[[], None], *, alone: bool = True):
        self.on_stop, self.alone = on_stop, alone
        self.came: list[int] = []
        self.deferred = False

    def __enter__(self) -> "Stop":
        self.before = {number: signal.signal(number, on_signal) for number in heard()}
        _now.stop = self
        return self

    def __exit__(self, *_: object) -> None:
        self.deferred, _now.stop = False, None
        for number, handler in self.before.items():
            if handler is not None:
                signal.signal(number, handler)

    def wanted(self) -> int:
        """Return the signal that this process is to leave for, the first of NUMBERS that came, or 0."""
        return next((int(number) for number in NUMBERS if number in self.came), 0)

    def defer(self) -> None:
        """From here on a signal is noted only: the steps that follow would be lost."""
        self.deferred = True

    def allow(self) -> None:
        """From here on nothing can be lost: a signal that came or comes ends the training at once."""
        self.deferred = False
        if self.came:
            on_signal(self.came[0])

    def tell(self) -> None:
        """Say that the training was stopped. A closed terminal or pipe raises no error."""
        try:
            self.on_stop()
        except (OSError, ValueError, RuntimeError):            # dead; closed; or a line was being printed when the signal came
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())         # else the flush at the end fails
