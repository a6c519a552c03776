"""Parts of a training split held out: as validation split (once, or in turn: k-fold), or to choose a threshold."""

import numpy as np

from ..errors import UserError
from .reader import Split

SEED = 0                                           # the parts are the same whatever --seed is


def parts(labels: np.ndarray, count: int) -> list[np.ndarray]:
    """Return `count` disjoint parts (sorted indices) of about equal size that hold each label in equal shares."""
    rng = np.random.default_rng(SEED)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return [np.sort(order[start::count]) for start in range(count)]


def hold_out(split: Split, what: str, setting: str) -> tuple[Split, Split]:
    """Return (the rest, the part held out) of `split`.

    what: "0.2" holds out that share, "2/5" the second of five equal parts. setting: its name, for the UserError that is
    raised where it is neither, or where a label would have no sample in one of the two.
    """
    labels = split.labels
    try:
        if "/" in what:
            number, count = (int(text) for text in what.split("/"))
            if not 1 <= number <= count or count < 2:
                raise ValueError
            out = parts(labels, count)[number - 1]
        else:
            share = float(what)
            if not 0 < share < 1:
                raise ValueError
            rng = np.random.default_rng(SEED)
            out = np.sort(np.concatenate([
                rng.permutation(places)[:round(share * len(places))]
                for places in (np.flatnonzero(labels == label) for label in np.unique(labels))]))
    except ValueError:
        raise UserError(f"{setting}: {what!r} must be a share such as 0.2, or one of k parts such as 2/5") from None
    rest = np.setdiff1d(np.arange(len(split)), out)
    for part in (rest, out):
        if set(labels[part]) != set(labels):
            raise UserError(f"{setting}: {what!r} of {len(split)} images leaves {len(rest)} and {len(out)}, one of them "
                            f"without an image of each class")
    return split.take(rest), split.take(out)
