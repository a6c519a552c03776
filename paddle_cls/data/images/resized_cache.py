"""Large photographs, decoded and shrunk once: in parallel, with a sealed cache on the disk that notices changed files."""

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ...system import cache
from ...system.files import part_name
from .transforms import decode, resize


def load_resized(paths: Sequence[Path], size: int) -> tuple[np.ndarray, list[str]]:
    """Return (photographs uint8 (N, size, size, 3) RGB, what is wrong with those that cannot be read).

    Each is decoded by `decode` and shrunk by `resize`. It is decoded again only if its length or its modification time has
    changed. The shrunken ones are kept under `cache.root()`/photos, in one file per folder and size. If there is any problem, do
    not use the array.
    """
    images = np.zeros((len(paths), size, size, 3), np.uint8)
    problems: list[str] = []
    by_folder: dict[Path, list[int]] = {}
    for index, path in enumerate(paths):
        by_folder.setdefault(path.parent, []).append(index)
    for folder, indices in by_folder.items():
        images[indices] = _of_folder(folder, [paths[index] for index in indices], size, problems)
    return images, problems


def _of_folder(folder: Path, paths: Sequence[Path], size: int, problems: list[str]) -> np.ndarray:
    file = cache_file(folder, size)
    kept = _read(file, size)
    keys, images = [], np.zeros((len(paths), size, size, 3), np.uint8)
    todo = []
    for index, path in enumerate(paths):
        try:
            stat = path.stat()
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
            keys.append("")
            continue
        keys.append(f"{path.name}|{stat.st_size}|{stat.st_mtime_ns}")
        if keys[-1] in kept:
            images[index] = kept[keys[-1]]
        else:
            todo.append(index)

    def work(index: int) -> str:
        try:
            images[index] = resize(decode(paths[index], size), size)
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
            _write(file, keys, images)
    return images


def cache_file(folder: Path, size: int) -> Path:
    """Return where the shrunken photographs of `folder` are kept."""
    name = hashlib.sha256(f"{folder.resolve()}|{size}".encode()).hexdigest()[:16]
    return cache.root() / "photos" / f"{name}.photos"


# A file is: the seal of all that follows, a line end, the keys and the images as np.save writes them.
def _label(file: Path) -> str:
    return f"photos 1 {file.name}"


def _read(file: Path, size: int) -> dict[str, np.ndarray]:
    try:
        cache.check(file.parent)
        with cache.opened(file) as content:
            seal = content.read(cache.SEAL + 1)
            if len(seal) == cache.SEAL + 1 and seal == f"{cache.seal_of(_label(file), content)}\n".encode():
                content.seek(len(seal))
                keys, images = (np.lib.format.read_array(content, allow_pickle=False) for _ in range(2))
                if keys.dtype.kind == "U" and images.dtype == np.uint8 and images.shape == (*keys.shape, size, size, 3):
                    return dict(zip(keys.tolist(), images, strict=True))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UserError:                              # a folder that is not private: told when it is to be written
        return {}
    except (OSError, ValueError, EOFError):
        pass
    print(f"{file}: not readable, decoding the photographs again", file=sys.stderr)
    return {}


def _write(file: Path, keys: Sequence[str], images: np.ndarray) -> None:
    try:
        cache.private(file.parent)
        part = part_name(file.parent)
        try:
            with open(part, "xb+") as content:
                content.write(bytes(cache.SEAL) + b"\n")
                np.save(content, np.array(keys))
                np.save(content, images)
                content.seek(cache.SEAL + 1)
                seal = cache.seal_of(_label(file), content, make=True)
                content.seek(0)
                content.write(seal.encode())
            part.chmod(0o600)
            if not file.is_file() or file.is_symlink():
                cache.remove(file)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
        file.with_suffix(".npz").unlink(missing_ok=True)               # what versions up to November 2026 kept
        return
    except UserError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{file}: cannot be written ({error.strerror or error}); {cache.REMEDY}"
    print(f"{reason}; the photographs are decoded again at each start", file=sys.stderr)
