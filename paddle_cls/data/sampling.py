"""Uneven classes: weights for the loss, and an order that draws all classes equally often."""

from collections.abc import Sequence

import numpy as np

from ..errors import UserError, unknown


def class_weights(text: str, classes: Sequence[str], labels: np.ndarray, *, balanced: bool = False) -> np.ndarray:
    """Return the weight of each class in the loss, float32 (C,), with a mean of 1 over the training images.

    So the mean of weight * loss over all images is their weighted mean, a batch takes part in it with what its images weigh,
    and neither the cut into batches nor the learning rate feels the scale of the weights.
    text: "balanced" makes the classes weigh the same in all; or a list such as "cat=2,dog=0.5", in which a class not named
    has 1. labels: int (N,) of the training images; balanced: they are drawn by `balanced_order`.
    Raises UserError for anything else in `text`, and for a class without an image where all are to weigh the same.
    """
    counts = np.bincount(labels, minlength=len(classes))
    shares = (counts > 0) / (counts > 0).sum() if balanced else counts / counts.sum()
    if text == "balanced":
        if balanced:
            raise UserError("--class-weights balanced with --sampling balanced: the classes are drawn equally often already; "
                            "leave out one of the two")
        if not counts.all():
            raise UserError(f"--class-weights balanced: no training image of class {classes[int(counts.argmin())]!r}; add "
                            f"some, or name the weights")
        weights = 1 / shares
    else:
        weights = np.ones(len(classes))
        for name, weight in _named(text).items():
            if name not in classes:
                raise UserError(f"--class-weights: {unknown('class', name, classes)}")
            weights[list(classes).index(name)] = weight
    return (weights / (weights @ shares)).astype(np.float32)


def _named(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in text.split(","):
        name, _, value = entry.rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < np.inf:
            raise UserError(f"--class-weights: {entry!r} must be 'balanced', or a class and a number above 0 such as cat=2")
        if name in found:
            raise UserError(f"--class-weights: {name!r} is there twice")
        found[name] = weight
    return found


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return N places of `labels` int (N,), int64, in random order, every label that is there drawn equally often.

    Where N cannot be divided, some labels are drawn once more than others, which ones is drawn too. Of a label's samples
    none is drawn twice before each was drawn once.
    """
    _, counts = np.unique(labels, return_counts=True)
    groups = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    draws = len(labels) // len(groups) + (rng.permutation(len(groups)) < len(labels) % len(groups))
    order = np.concatenate([np.concatenate([rng.permutation(group) for _ in range(-(-draw // len(group)))])[:draw]
                            for group, draw in zip(groups, draws, strict=True)])
    rng.shuffle(order)
    return order
