"""The data sets, by the names that `--dataset` takes. Nothing here loads Paddle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError, unknown
from . import cifar, ichallenge_pm
from .reader import Split, Transform
from .recipes import batched
from .splits import hold_out
from .transforms import CIFAR10, HALF, Normalization, eval_transform


@dataclass(frozen=True)
class Data:
    """A data set ready for training; `classes[label]` is a label's name.

    sigmoid: two classes told apart by one sigmoid logit, that of classes[1], instead of one output a class.
    """

    train: Split
    val: Split | None                              # None: one is about to be held out of `train`
    classes: tuple[str, ...]
    image_size: int
    normalization: Normalization
    sigmoid: bool = False
    holdout: Split | None = None                   # training images on which nothing is trained, to choose a threshold

    @property
    def outputs(self) -> int:
        """The numbers that a network gives an image."""
        return 1 if self.sigmoid else len(self.classes)


def _cifar10(root: Path | None, size: int | None, val: bool) -> Data:
    return Data(cifar.load("train", root), cifar.load("test", root) if val else None, cifar.CLASSES, 32, CIFAR10)


def _ichallenge_pm(root: Path | None, size: int | None, val: bool) -> Data:
    size = size or ichallenge_pm.SIZE
    return Data(*ichallenge_pm.load(root, size, val=val), ichallenge_pm.CLASSES, size, HALF, sigmoid=True)


def _shapes(root: Path | None, size: int | None, val: bool) -> Data:
    from . import shapes  # here, so that python -m paddle_cls.data.shapes finds it not loaded
    if root is not None:
        raise UserError("--data-dir: the data set 'shapes' is drawn, not read; leave out --data-dir")
    return Data(shapes.generate("train"), shapes.generate("val"), shapes.CLASSES, shapes.SIZE, CIFAR10)


# functions of (the folder, pixels a side, whether the validation split is wanted)
DATASETS: dict[str, Callable[[Path | None, int | None, bool], Data]] = {
    "cifar10": _cifar10,
    "ichallenge_pm": _ichallenge_pm,
    "shapes": _shapes,
}


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, unless `name` is in DATASETS."""
    if name not in DATASETS:
        raise UserError(unknown("data set", name, DATASETS))


def load_data(name: str, root: Path | None = None, image_size: int | None = None, *, val_split: str | None = None,
              holdout: float = 0.0) -> Data:
    """Return data set `name`, whole and checked.

    root: its folder; None for the cache folder (downloaded at need). image_size: pixels a side that will be used, to which
    large photographs are shrunk as they are read. val_split: validate on a part of the training split instead: a share, or
    "2/5", the second of five parts; the set's own validation split is then not read, and may be missing.
    holdout: share of the training split kept apart as `holdout`.
    Raises UserError for an unknown name and for files that are missing or broken.
    """
    check_name(name)
    if root is not None and not Path(root).is_dir():
        raise UserError(f"--data-dir {root}: no such folder")
    data = DATASETS[name](root, image_size, val_split is None)
    if val_split is not None:
        rest, part = hold_out(data.train, val_split, "--val-split")
        data = replace(data, train=rest, val=part)
    if holdout:
        if not data.sigmoid:
            raise UserError(f"--holdout: data set {name!r} has {len(data.classes)} classes, and only a yes has a threshold; "
                            f"leave out --holdout")
        rest, part = hold_out(data.train, str(holdout), "--holdout")
        data = replace(data, train=rest, holdout=part)
    return data


def transforms(data: Data, image_size: int | None = None, augment: str = "none") -> tuple[Transform, Transform]:
    """Return the (train, eval) transforms: B images uint8 (H, W, 3) -> float32 (B, 3, size, size), normalized.

    image_size: pixels a side, None for the data set's own. augment: see `recipes.parse`; for training only.
    """
    size = image_size or data.image_size
    change = batched(augment, size)

    def train(images: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        return data.normalization(change(images, rng))

    def evaluate(images: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        if not len(images):
            return np.zeros((0, 3, size, size), np.float32)
        return eval_transform(images, size, data.normalization)

    return train, evaluate


__all__ = ["DATASETS", "Data", "check_name", "load_data", "transforms"]
