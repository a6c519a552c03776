"""Large photographs, decoded and shrunk once: in parallel, with a cache on the disk that notices changed files."""

import contextlib
import hashlib
import os
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from .download import cache_dir
from .transforms import decode, resize


def load_photos(paths: Sequence[Path], size: int) -> tuple[np.ndarray, list[str]]:
    """Return (photographs uint8 (N, size, size, 3) RGB, what is wrong with those that cannot be read).

    As `resize` of `decode` gives them. A file is decoded again only when its length or its time of change is another;
    the shrunken ones are kept in a file per folder and size under `cache_dir()`/photos. With any problem the array is of
    no use.
    """
    images = np.zeros((len(paths), size, size, 3), np.uint8)
    problems: list[str] = []
    by_folder: dict[Path, list[int]] = {}
    for place, path in enumerate(paths):
        by_folder.setdefault(path.parent, []).append(place)
    for folder, places in by_folder.items():
        images[places] = _of_folder(folder, [paths[place] for place in places], size, problems)
    return images, problems


def _of_folder(folder: Path, paths: Sequence[Path], size: int, problems: list[str]) -> np.ndarray:
    cache = cache_file(folder, size)
    kept = _read(cache)
    keys, images = [], np.zeros((len(paths), size, size, 3), np.uint8)
    todo = []
    for place, path in enumerate(paths):
        try:
            stat = path.stat()
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
            keys.append("")
            continue
        keys.append(f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}")
        if keys[-1] in kept:
            images[place] = kept[keys[-1]]
        else:
            todo.append(place)

    def work(place: int) -> str:
        try:
            images[place] = resize(decode(paths[place], size), size)
        except UserError as error:
            return str(error)
        return ""

    if todo:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(tqdm(pool.map(work, todo), total=len(todo), desc=f"decoding {folder.name}", unit="img",
                              leave=False, disable=None if len(todo) > 50 else True))
        bad = [problem for problem in found if problem]
        problems += bad
        if not bad:
            _write(cache, keys, images)
    return images


def cache_file(folder: Path, size: int) -> Path:
    """Return where the shrunken photographs of `folder` are kept."""
    name = hashlib.sha256(f"{folder.resolve()}|{size}".encode()).hexdigest()[:16]
    return cache_dir() / "photos" / f"{name}.npz"


def _read(cache: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(cache, allow_pickle=False) as kept:
            return dict(zip(kept["keys"].tolist(), kept["images"], strict=True))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        print(f"{cache}: not readable, decoding the photographs again", file=sys.stderr)
        return {}


def _write(cache: Path, keys: Sequence[str], images: np.ndarray) -> None:
    part = cache.with_name(f".{cache.name}.{os.getpid()}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.savez(file, keys=np.array(keys), images=images)
        os.replace(part, cache)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        print(f"{cache}: cannot be written ({error.strerror}); the photographs are decoded again at the next start",
              file=sys.stderr)
