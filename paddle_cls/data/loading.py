"""Data by name: `load_data`, and the transforms of its images."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import named
from ..errors import UserError, unknown
from .augment.recipes import batched
from .dataset import Data, ReadyData
from .images.source import ImageSource
from .images.transforms import eval_transform
from .reader import Transform
from .splits import hold_out

# name: file of this folder, and the function in it that gives the Data. It takes what it needs of: root (folder), image_size
# (pixels a side that will be used, or None), val (whether the validation split is wanted), and settings named as in `load_data`.
# From outside: DATASETS["mine"] = function, or = "package.module:function".
DATASETS: dict[str, str | Callable[..., Data]] = {
    "cifar10": "cifar10.dataset",
    "folder": "folder.dataset",
    "ichallenge_pm": "ichallenge_pm.dataset",
    "shapes": "shapes.dataset",
    "table": "table.dataset",
}
SHARE = "0.1"                                      # held out to validate on where a data set has nothing for it


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, unless `name` is in DATASETS, or of the form module:function, and that is there."""
    if name in DATASETS:
        return
    if not named.is_named(name):
        raise UserError(unknown("data set", name, DATASETS))
    named.check(name, "--dataset")


def check_root(root: Path | None) -> None:
    """Raise UserError if the folder of the data is given and not there."""
    if root is not None and not Path(root).is_dir():
        raise UserError(f"--data-dir {root}: no such folder")


def _loader(name: str) -> Callable[..., Data]:
    check_name(name)
    place = DATASETS.get(name)
    if place is None:
        return named.load(name, "--dataset")
    if not isinstance(place, str) or named.is_named(place):
        return named.resolve(place, f"DATASETS[{name!r}]")
    module, _, function = place.partition(".")
    try:
        return getattr(importlib.import_module(f".sets.{module}", __package__), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(f"DATASETS[{name!r}] = {place!r}: {error}; a function of another package is written "
                        f"'package.module:function'") from None


def load_data(name: str, root: Path | None = None, image_size: int | None = None, *, val_split: str | None = None,
              holdout: float = 0.0, **more: Any) -> ReadyData:
    """Return data set `name`, whole and checked.

    root: its folder; None for the cache folder (downloaded at need). image_size: pixels a side that will be used, to which
    large photographs are shrunk as they are read. val_split: validate on a part of the training split instead: a share, or
    "2/5", the second of five parts; the set's own validation split is then not read, and may be missing. Where there is none
    at all, SHARE is held out. holdout: share of the training split kept apart as `holdout`. more: of the data set's own
    arguments, such as table or task; None is as good as not given.
    Raises UserError for an unknown name, an argument that the data set does not take, and files that are missing or broken.
    """
    load = _loader(name)
    check_root(root)
    taken = inspect.signature(load).parameters
    given = {key: value for key, value in {"root": root, **more}.items() if value is not None}
    for key in given.keys() - taken.keys():
        flag = {"root": "data-dir"}.get(key, key.replace("_", "-"))
        raise UserError(f"--{flag} {given[key]}: not for data set {name!r}; leave it out, or choose another --dataset")
    given |= {"image_size": image_size, "val": val_split is None}
    found = load(**{key: value for key, value in given.items() if key in taken})
    if not isinstance(found, Data):
        raise UserError(f"data set {name!r} gives a {type(found).__name__}, not a paddle_cls.data.Data")
    if found.val is None or val_split is not None:
        data = found.ready(*hold_out(found.train, val_split or SHARE, "--val-split", found.classes), drawn=True)
    else:
        data = found.ready(found.train, found.val, drawn=found.drawn)
    if holdout:
        if not data.sigmoid:
            raise UserError(f"--holdout: data set {name!r} has {len(data.classes)} classes, and only a yes has a threshold; "
                            f"leave out --holdout")
        rest, part = hold_out(data.train, str(holdout), "--holdout", data.classes)
        data = replace(data, train=rest, holdout=part)
    return data


def transforms(data: Data, image_size: int | None = None, augment: str = "none") -> tuple[Transform, Transform]:
    """Return the (train, eval) transforms: B images uint8 (H, W, 3) -> float32 (B, 3, size, size), normalized.

    image_size: pixels a side, None for the data set's own. augment: see `recipes.parse`; for training only.
    """
    size = image_size or data.image_size
    change = batched(augment, size)

    def train(images: ImageSource, rng: np.random.Generator) -> np.ndarray:
        return data.normalization(change(images, rng))

    def evaluate(images: ImageSource, rng: np.random.Generator) -> np.ndarray:
        return eval_transform(images, size, data.normalization)

    return train, evaluate

