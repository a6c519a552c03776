"""Mixup and cutmix: each image of a training batch mixed with another, and its target in the same shares. NumPy."""

import math
from collections.abc import Iterator

import numpy as np

from ..reader import Batch, Reader, Split, Transform, batches, prefetch

_STREAM = 2**32 - 1                                # keeps the numbers drawn here apart from those of `batches`


def mixed(reader: Reader, *, mixup: float = 0.0, cutmix: float = 0.0, seed: int, epoch: int, start: int = 0) -> Reader:
    """Return a reader of the Batches of `reader` with mixed images: `labels_b` and `lam` tell their targets.

    mixup, cutmix: alpha of the Beta(alpha, alpha) from which a batch's lam is drawn; 0 leaves the method out, and of two
    one is chosen for each batch at random. start: number of the reader's first batch in its pass.
    What is drawn depends on (seed, epoch, number of the batch) only. Each process mixes the images of its own part of a
    batch with each other, all of them with the same method, lam and rectangle.
    """
    if not mixup and not cutmix:
        return reader

    def read() -> Iterator[Batch]:
        for number, batch in enumerate(reader(), start):
            rng = np.random.default_rng([seed, epoch, number, _STREAM])
            if cutmix and (not mixup or rng.random() < 0.5):
                yield cut_mix(batch, float(rng.beta(cutmix, cutmix)), rng)
            else:
                yield mix_up(batch, float(rng.beta(mixup, mixup)))
    return read


def mix_up(batch: Batch, lam: float) -> Batch:
    """Return the batch with lam * image + (1 - lam) * the image before it (Zhang et al. 2018, arXiv 1710.09412).

    The first goes with the last. The paper pairs by a random permutation; the order of a batch is random already.
    """
    images = np.roll(batch.images, 1, axis=0)
    images *= 1 - lam
    images += lam * batch.images
    return batch._replace(images=images, labels_b=np.roll(batch.labels, 1), lam=lam)


def cut_mix(batch: Batch, lam: float, rng: np.random.Generator) -> Batch:
    """Return the batch with one rectangle of each image taken from the image before it (Yun et al. 2019, arXiv 1905.04899).

    The rectangle has the image's aspect and 1 - lam of its area, its middle lies anywhere, and what of it is outside is
    cut off; lam of the result is that of the pixels left. The pairs are those of `mix_up`.
    """
    height, width = batch.images.shape[2:]
    side = math.sqrt(1 - lam)
    middle = np.array([rng.integers(height), rng.integers(width)])
    half = np.array([int(height * side), int(width * side)]) // 2
    (top, left), (bottom, right) = np.maximum(middle - half, 0), np.minimum(middle + half, (height, width))
    images = batch.images.copy()
    images[:, :, top:bottom, left:right] = np.roll(batch.images, 1, axis=0)[:, :, top:bottom, left:right]
    return batch._replace(images=images, labels_b=np.roll(batch.labels, 1),
                          lam=1 - float((bottom - top) * (right - left)) / (height * width))


def train_batches(split: Split, batch_size: int, transform: Transform, *, seed: int, epoch: int, start: int = 0,
                  stop: int | None = None, rank: int = 0, world: int = 1, balanced: bool = False, mixup: float = 0.0,
                  cutmix: float = 0.0) -> Reader:
    """Return a reader of the training Batches of an epoch, read ahead and mixed. Arguments: of `reader.batches` and `mixed`."""
    parts = batches(split, batch_size, transform, seed=seed, epoch=epoch, start=start, stop=stop, rank=rank, world=world,
                    balanced=balanced)
    return prefetch(mixed(parts, mixup=mixup, cutmix=cutmix, seed=seed, epoch=epoch, start=start))
