"""Readers: functions that start a new pass of samples or batches each time they are called.

A reader of samples works with `paddle.reader` and `paddle.batch` as in the tutorial. The training loop uses
`batches`, which those cannot replace: its order and augmentation depend on seed and epoch alone, it can start in
the middle of a pass, and it deals a batch out to several processes without losing or doubling a sample.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .images.files import ImageFiles
from .images.source import ImageSource
from .sampling import balanced_order

Item = TypeVar("Item")
Sample = tuple[np.ndarray, int]                    # uint8 (H, W, 3) RGB image, label
Reader = Callable[[], Iterator[Item]]              # call again for a new pass
Transform = Callable[[ImageSource, np.random.Generator], np.ndarray]           # B images -> float32 (B, 3, size, size)


class Batch(NamedTuple):
    """One process's part of a batch of `total` images."""

    images: np.ndarray                             # float32 (B, 3, H, W), normalized
    labels: np.ndarray                             # int64 (B,)
    indices: np.ndarray                            # int64 (B,): places of the images in their split
    total: int                                     # images of the whole batch, over all processes
    labels_b: np.ndarray | None = None             # int64 (B,): labels of the second images, if two are mixed (augment.mixing)
    lam: float = 1.0                               # share of `labels` in the targets; `labels_b` has the rest


class Split:
    """A part of a data set: its images, their labels int64 (N,), and their names, if they have any."""

    def __init__(self, images: ImageSource, labels: np.ndarray, names: Sequence[str] | None = None):
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        self.images = images
        self.labels = np.asarray(labels, np.int64)
        self.names = names

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: np.ndarray) -> ImageSource:
        """Return the images at `indices`."""
        return self.images[indices]

    def take(self, indices: np.ndarray) -> "Split":
        """Return the split of the samples at `indices`."""
        return Split(self.images[indices], self.labels[indices], self.names and [self.names[i] for i in indices])

    def name(self, index: int) -> str:
        """Return what a person calls the image at `index`: its name, the path of its file, or its place in the split."""
        if self.names:
            return self.names[index]
        return self.images.name(index) if isinstance(self.images, ImageFiles) else f"image {index}"

    def reader(self) -> Reader[Sample]:
        """Return a reader of samples (image uint8 (H, W, 3), label int), for `paddle.reader` and `paddle.batch`."""
        def read() -> Iterator[Sample]:
            for start in range(0, len(self), 256):
                indices = np.arange(start, min(start + 256, len(self)))
                yield from zip(self.fetch(indices), self.labels[indices].tolist(), strict=True)
        return read


def batches(split: Split, batch_size: int, transform: Transform, *, seed: int | None = None, epoch: int = 0,
            start: int = 0, stop: int | None = None, rank: int = 0, world: int = 1, balanced: bool = False) -> Reader[Batch]:
    """Return a reader of Batch: one pass over `split`, the last batch as short as it comes.

    seed: shuffle and augment by (seed, epoch, batch), so equal arguments give equal batches; None keeps the order.
    start, stop: first batch, and the one before which to end, to go on in the middle of a pass or leave it there.
    rank, world: process `rank` of `world` takes every world-th image of each batch, so that all processes together
    read what one would. Where a batch has fewer images than processes, the others get an empty part.
    balanced: draw the images such that all classes come equally often (`balanced_order`, by seed and epoch), as many as the
    split has.
    """
    def read() -> Iterator[Batch]:
        order = np.arange(len(split))
        if balanced:
            order = balanced_order(split.labels, np.random.default_rng([seed or 0, epoch]))
        elif seed is not None:
            np.random.default_rng([seed, epoch]).shuffle(order)
        end = num_batches(len(split), batch_size)
        for number in range(start, end if stop is None else min(stop, end)):
            whole = order[number * batch_size:(number + 1) * batch_size]
            part = whole[rank::world]
            rng = np.random.default_rng([seed or 0, epoch, number, rank])
            yield Batch(transform(split.fetch(part), rng), split.labels[part], part, len(whole))
    return read


def num_batches(samples: int, batch_size: int) -> int:
    """Return the batches of one pass, the short last one included."""
    return -(-samples // batch_size)


def prefetch(reader: Reader[Item], size: int = 4) -> Reader[Item]:
    """Return a reader that prepares up to `size` items in a thread while the current one is used.

    Unlike paddle.reader.buffered it raises the reader's error where the item is taken, and ends its thread when the
    pass is left early.
    """
    def read() -> Iterator[Item]:
        ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(size)
        left = threading.Event()

        def put(item: tuple[Any, BaseException | None]) -> bool:
            while not left.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                for item in reader():
                    if not put((item, None)):
                        return
                put((None, StopIteration()))
            except BaseException as error:   # handed over, and raised in the thread that reads
                put((None, error))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while True:
                item, error = ready.get()
                if isinstance(error, StopIteration):
                    return
                if error is not None:
                    raise error
                yield item
        finally:
            left.set()
            thread.join()
    return read
