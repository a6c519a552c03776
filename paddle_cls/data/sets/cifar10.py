"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32x32 pixels in ten classes.

Readers as in the tutorial, and the whole set as arrays. The files are pickles; they are read without running any code
in them (see `safe_pickle`).
"""

import gzip
import os
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import UserError
from ...formats import safe_pickle
from ...system import cache
from ...system.download import download
from ...system.files import opened, read_bytes
from ..dataset import Data
from ..images.transforms import CIFAR10
from ..reader import Reader, Split

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
URL_VARIABLE, SHA256_VARIABLE = "PADDLE_CLS_CIFAR10_URL", "PADDLE_CLS_CIFAR10_SHA256"
ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MOST, MOST_UNPACKED = 1 << 28, 1 << 29             # bytes of a batch and of all files; the published have 31 and 186 million
FILES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def dataset(*, root: Path | None = None, val: bool = True) -> Data:
    """Return the data set, the test images as validation split. root: as in `load`. val=False: without that split."""
    return Data(load("train", root), load("test", root) if val else None, CLASSES, 32, CIFAR10)


def train10(root: Path | None = None) -> Reader:
    """Return a reader of the training samples: (uint8 (32, 32, 3) RGB, label 0 to 9). root: as in `load`."""
    return load("train", root).reader()


def test10(root: Path | None = None) -> Reader:
    """Return a reader of the test samples: (uint8 (32, 32, 3) RGB, label 0 to 9). root: as in `load`."""
    return load("test", root).reader()


def load(split: str, root: Path | None = None) -> Split:
    """Return the "train" or "test" split.

    root: folder with cifar-10-batches-py/ or cifar-10-python.tar.gz (or the batches' folder itself). None: a cache
    folder, filled by a download from the publisher, or from $PADDLE_CLS_CIFAR10_URL (checked against
    $PADDLE_CLS_CIFAR10_SHA256 if that is set). Only a download is checked against the published checksum, so that a
    repacked archive can be used; what is in it is checked always.
    Raises UserError for files that are missing, truncated, corrupt or not CIFAR-10.
    """
    if root is None:
        url = os.environ.get(URL_VARIABLE)
        sha256 = os.environ.get(SHA256_VARIABLE) if url else SHA256
        folder = cache.root() / "cifar10"
        if not (folder / FOLDER).is_dir():
            download(url or URL, folder / ARCHIVE, sha256=sha256)
        root = folder
    parts = [_check(name, content) for name, content in _read(Path(root), FILES[split])]
    images = np.concatenate([images for images, _ in parts])
    return Split(images, np.concatenate([labels for _, labels in parts]))


def _read(root: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    for folder in (root / FOLDER, root):
        if any((folder / name).exists() for name in names):
            try:
                return [(str(folder / name), read_bytes(folder / name, MOST)) for name in names]
            except OSError as error:
                raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    archive = root / ARCHIVE
    if not archive.exists():
        raise UserError(f"{root}: no {FOLDER}/ and no {ARCHIVE} in this folder; put one there, or leave out --data-dir "
                        f"to download it")
    try:
        packed = opened(archive)
    except OSError as error:
        raise UserError(f"{archive}: cannot be read: {error.strerror}") from None
    with packed:
        found = _unpack(archive, packed, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{archive}: it lacks {FOLDER}/{missing[0]}; it is not CIFAR-10's archive")
    return [(f"{archive}:{name}", found[name]) for name in names]


def _unpack(archive: Path, packed: BinaryIO, names: tuple[str, ...]) -> dict[str, bytes]:
    if not archive.stat().st_size:
        raise UserError(f"{archive}: the file is empty; delete it and download it again")
    found = {}
    try:
        with gzip.open(packed) as unzipped:
            file: Any = _Bounded(unzipped)         # all that tarfile asks of a file to read
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    name = member.name.removeprefix(f"{FOLDER}/")
                    if name in names and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):    # no link, device or holes
                        content = tar.extractfile(member)
                        assert content, "None is of what is no file"
                        found[name] = content.read()
            while file.read(1 << 20):              # to the end, where gzip has its checksum
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise UserError(f"{archive}: truncated or corrupt ({error}); delete it and download it again") from None
    return found


class _Bounded:
    """An unzipped file for tarfile, which takes the sizes in its headers for true and would read so much at once."""

    def __init__(self, file: gzip.GzipFile):
        self.file, self.tell = file, file.tell

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raises OSError past MOST_UNPACKED."""
        self._check(self.tell() + size)
        return self.file.read(size)

    def seek(self, place: int) -> int:
        """Go to a place. Raises OSError past MOST_UNPACKED."""
        self._check(place)
        return self.file.seek(place)

    def _check(self, place: int) -> None:
        if place > MOST_UNPACKED:
            raise OSError(f"it claims to hold over {MOST_UNPACKED:,} bytes")


def _check(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = safe_pickle.load(content, encoding="bytes")
    except UserError as error:
        raise UserError(f"{name}: {str(error).removeprefix('pickle: ')}") from None
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= set(batch):
        raise UserError(f"{name}: not a CIFAR-10 batch: it lacks 'data' or 'labels'")
    data = batch[b"data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise UserError(f"{name}: 'data' is not uint8 (N, 3072)")
    labels = _labels(name, batch[b"labels"], len(data))
    if labels.shape != (len(data),) or labels.dtype.kind != "i":
        raise UserError(f"{name}: {len(data)} images, but labels of shape {labels.shape} and type {labels.dtype}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise UserError(f"{name}: labels from {labels.min()} to {labels.max()}, allowed are 0 to 9")
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)             # a view: the network wants channels first again
    return images, labels.astype(np.int64)


def _labels(name: str, labels: Any, count: int) -> np.ndarray:
    """Return labels as an array. NumPy is given a flat list of numbers only: of lists in lists it would try every path."""
    if isinstance(labels, np.ndarray):
        return labels
    others = [label for label in labels if not isinstance(label, (int, np.integer))] if isinstance(labels, list) else [labels]
    if others and not (isinstance(labels, list) and isinstance(others[0], (str, bytes, float))):
        raise UserError(f"{name}: not a CIFAR-10 batch: its 'labels' are no list of numbers")
    if others:
        raise UserError(f"{name}: {count} images, but labels of shape ({len(labels)},) and type {np.asarray(others[0]).dtype}")
    return np.asarray(labels)
