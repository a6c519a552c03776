"""Files that are whole or not there: writes through a temporary name, and checksums."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError


def hash_of(path: Path, kind: str = "sha256") -> str:
    """Return the checksum of a file in hex. kind: a name that hashlib knows."""
    digest = hashlib.new(kind)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file that is there whole or as it was before. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        sync(part)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn an OSError inside the block (full disk, read-only folder) into a UserError that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or what}: cannot be written: {error.strerror or error}; free some space or "
                        f"choose another folder") from None


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside `folder`, which takes its place after the block; an error leaves all as it was.

    What a killed process left is cleared away. Raises UserError where nothing can be written.
    """
    part, old = (folder.with_name(f".{folder.name}.{word}") for word in ("part", "old"))
    with writing(folder):
        if old.exists() and not folder.exists():   # killed between the two renamings below
            os.replace(old, folder)
        for left in (part, old):
            if left.exists():
                shutil.rmtree(left)
        part.mkdir()
    try:
        yield part
        with writing(folder):
            for file in part.iterdir():
                sync(file)
            if folder.exists():
                os.replace(folder, old)
            os.replace(part, folder)
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
