"""Wait for one process for longer than gloo's 30 s: it tells the others again and again that it still works."""

import contextlib
import threading
from collections.abc import Callable, Iterator

SECONDS = 10.0                                     # between two beats
Exchange = Callable[[bool], bool]                  # called in all processes at once; returns whether any has said True


@contextlib.contextmanager
def lead(exchange: Exchange) -> Iterator[None]:
    """Tell the others, who `follow`, that the block still runs, and at its end that it is done (not if it raises)."""
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
