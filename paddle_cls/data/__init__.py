"""Data: sets of images, readers of them, augmentation. Nothing here loads Paddle, and little before it is used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:                                  # what `__getattr__` gives, for type checkers
    from .dataset import Data, ReadyData
    from .images.transforms import CIFAR10, HALF, Normalization
    from .loading import DATASETS, SHARE, check_name, load_data, transforms
    from .reader import Split

__all__ = ["CIFAR10", "DATASETS", "HALF", "SHARE", "Data", "Normalization", "ReadyData", "Split", "check_name",
           "load_data", "transforms"]
_WHERE = {"CIFAR10": "images.transforms", "HALF": "images.transforms", "Normalization": "images.transforms", "Data": "dataset",
          "ReadyData": "dataset", "Split": "reader", "DATASETS": "loading", "SHARE": "loading", "check_name": "loading",
          "load_data": "loading", "transforms": "loading"}


def __getattr__(name: str) -> object:
    """Return what `from paddle_cls.data import NAME` asks for, such as `load_data` (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
