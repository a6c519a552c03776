"""Hold out a part of the training split: for validation (once, or k-fold), or to choose a threshold."""

import re
from collections.abc import Sequence

import numpy as np

from ..errors import UserError
from .reader import Split

SEED = 0                                           # the parts are the same whatever --seed is


def _by_label(labels: np.ndarray) -> list[np.ndarray]:
    """Return the sorted places of each label that occurs."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def folds(labels: np.ndarray, count: int) -> list[np.ndarray]:
    """Return `count` disjoint parts (sorted indices) of about equal size that hold each label in equal shares."""
    rng = np.random.default_rng(SEED)
    order = np.concatenate([rng.permutation(indices) for indices in _by_label(labels)])
    return [np.sort(order[start::count]) for start in range(count)]


def fraction(labels: np.ndarray, part: float) -> np.ndarray:
    """Return sorted indices of that share of each label, at least one and not all of each that has two."""
    rng = np.random.default_rng(SEED)
    chosen = [rng.permutation(indices)[:min(max(1, round(part * len(indices))), len(indices) - 1)]
              for indices in _by_label(labels)]
    return np.sort(np.concatenate(chosen))


def read(what: str, setting: str) -> tuple[int, int]:
    """Return (2, 5) of "2/5", and (1, 2) of a share. Raises UserError for anything else; setting: its name."""
    if found := re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", what):
        number, count = int(found[1]), int(found[2])
        good = 1 <= number <= count and count >= 2
    else:
        number, count = 1, 2
        good = bool(re.fullmatch(r"0*\.[0-9]+([eE][-+]?[0-9]{1,3})?|[0-9]+[eE]-[0-9]{1,3}", what)) and 0 < float(what) < 1
    if not good:
        raise UserError(f"{setting}: {what!r} must be a share such as 0.2, or one of k parts such as 2/5")
    return number, count


def hold_out(split: Split, what: str, setting: str, classes: Sequence[str]) -> tuple[Split, Split]:
    """Return (the rest, the part held out) of `split`.

    what: "0.2" holds out that share, "2/5" the second of five equal parts. setting: its name, for the UserError that is
    raised where it is neither, or where a class would have no sample in one of the two. classes: their names.
    """
    number, count = read(what, setting)
    images = np.bincount(split.labels, minlength=len(classes))
    few = [f"{classes[label]} has {images[label]}" for label in np.flatnonzero(images < count).tolist()]
    if few:
        raise UserError(f"{setting} {what}: each class must have at least {count} images, some for either part; "
                        f"{', '.join(few[:10])}{' ...' * (len(few) > 10)}; add images, or leave out the class")
    out = folds(split.labels, count)[number - 1] if "/" in what else fraction(split.labels, float(what))
    rest = np.ones(len(split), bool)
    rest[out] = False
    return split.take(np.flatnonzero(rest)), split.take(out)
