"""Stub."""

from pathlib import Path

from ..checkpoints.info import CheckpointInfo
from .engines import Engine


def is_export(place: Path) -> bool:
    """Return whether a folder holds an export."""
    return (place / "model.json").is_file()


def read(folder: Path) -> CheckpointInfo:
    """Stub."""
    raise NotImplementedError


def engine(folder: Path, info: CheckpointInfo, precision: str) -> Engine:
    """Stub."""
    raise NotImplementedError
