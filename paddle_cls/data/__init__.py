"""Data: sets of images, readers of them, augmentation. Nothing here loads Paddle, and little before it is used."""

import importlib

_WHERE = {"CIFAR10": "images.transforms", "HALF": "images.transforms", "Normalization": "images.transforms", "Data": "dataset",
          "Split": "reader", "DATASETS": "loading", "SHARE": "loading", "check_name": "loading", "load_data": "loading",
          "transforms": "loading"}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> object:
    """Return what `from paddle_cls.data import NAME` asks for, such as `load_data` (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
