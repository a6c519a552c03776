"""Pictures decoded by several threads while the network computes: as many ahead as are asked for, whatever there are in all."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..data.images.transforms import decode, resize
from ..errors import UserError
from ..system import runtime

Item = TypeVar("Item")


def decoded(paths: Iterable[Path], ahead: int, size: int) -> Iterator[tuple[Path, np.ndarray | UserError]]:
    """Yield for each file, in order, (its path, uint8 (size, size, 3) RGB or what is wrong with it).

    ahead: pictures that are decoded, or wait for a thread, while the current one is used.
    """
    def attempt(path: Path) -> np.ndarray | UserError:
        try:
            return resize(decode(path, size), size)
        except UserError as error:
            return error
        except MemoryError:
            return UserError(f"{path}: too little memory is free to shrink it; free some, or shrink the picture")

    paths = iter(paths)
    pool = ThreadPoolExecutor(runtime.cores())
    try:
        waiting = deque((path, pool.submit(attempt, path)) for path in islice(paths, ahead))
        while waiting:
            path, answer = waiting.popleft()
            waiting.extend((new, pool.submit(attempt, new)) for new in islice(paths, 1))
            yield path, answer.result()
    finally:
        pool.shutdown(cancel_futures=True)         # whoever stops need not wait for what nobody will use


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items, the last one of what is left."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
