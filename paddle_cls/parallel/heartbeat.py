"""Waiting for one process for longer than gloo allows, which gives up after 30 s: the one tells the others that it works."""

import contextlib
import threading
from collections.abc import Callable, Iterator

SECONDS = 10.0                                     # between two beats
Exchange = Callable[[bool], bool]                  # called in all processes at once; returns whether any has said True


@contextlib.contextmanager
def lead(exchange: Exchange) -> Iterator[None]:
    """Tell the others, who `follow`, that the block goes on, and at its end that it is done (not where it raises)."""
    ended = threading.Event()

    def beat() -> None:
        with contextlib.suppress(RuntimeError):    # they are lost: the exchange at the end tells so
            while not ended.wait(SECONDS):
                exchange(False)

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
    exchange(True)


def follow(exchange: Exchange) -> None:
    """Wait for the end of the block of the one that leads."""
    while not exchange(False):
        pass
