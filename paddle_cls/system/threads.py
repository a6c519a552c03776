"""Work on many images in several threads: OpenCV, Pillow and NumPy let the others run while they compute."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from . import environment, runtime


@functools.cache
def opencv() -> Any:
    """Return OpenCV, the module cv2, set to one thread a call: an image is too small to be shared out.

    It is loaded here, as that takes as long as answering for a picture. Raises ImportError where it is not installed.
    """
    import cv2
    cv2.setNumThreads(1)
    return cv2


@functools.cache
def _pool() -> tuple[ThreadPoolExecutor, int]:
    count = max(1, runtime.cores() // environment.rank_and_size()[1])
    return ThreadPoolExecutor(count, "images"), count


def for_each(function: Callable[[int], object], count: int) -> None:
    """Call function(0) to function(count - 1), in any order, in as many threads as this process has cores for.

    An error in one is raised here, when all are done. `function` must not call this one.
    """
    numbers = iter(range(count))                   # shared: whoever is ready takes the next

    def work() -> None:
        for number in numbers:
            function(number)

    pool, threads = _pool()
    if min(threads, count) < 2:                    # handing it to another thread takes longer than a small image does
        work()
        return
    futures = [pool.submit(work) for _ in range(min(threads, count))]
    wait(futures)
    for future in futures:
        future.result()


def stacked(function: Callable[[int], np.ndarray], count: int, shape: Sequence[int], kind: type) -> np.ndarray:
    """Return function(0) to function(count - 1), each an array of `shape` and type `kind`, as one array (count, ...)."""
    out: np.ndarray = np.empty((count, *shape), kind)
    for_each(lambda number: np.copyto(out[number], function(number)), count)
    return out
