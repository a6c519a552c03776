"""Pictures decoded by several threads while the network computes: as many ahead as are asked for, whatever there are in all."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from ..data.images.transforms import decode, resize
from ..errors import UserError
from ..system import runtime


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


def computed(paths: Iterable[Path], compute: Callable[[list[np.ndarray]], np.ndarray], *, size: int,
             batch_size: int) -> Iterator[tuple[Path, np.ndarray | UserError]]:
    """Yield for each file, in order, (its path, its row of what `compute` makes of a batch, or what is wrong with it).

    compute: takes up to batch_size images uint8 (size, size, 3). The next ones are decoded meanwhile.
    """
    pictures = decoded(paths, batch_size, size)
    while batch := list(islice(pictures, batch_size)):
        good = [image for _, image in batch if not isinstance(image, UserError)]
        rows = iter(compute(good) if good else ())
        for path, image in batch:
            yield path, image if isinstance(image, UserError) else next(rows)
