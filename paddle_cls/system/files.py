"""Files that are whole or not there: reads of plain files only, writes through names of each process's own, locks, checksums."""

import contextlib
import errno
import hashlib
import io
import os
import secrets
import shutil
import socket
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
          stat.S_IFDIR: "a folder"}


def opened(path: str | os.PathLike) -> io.BufferedReader:
    """Return a plain file opened for reading. Raises OSError, also for a FIFO, socket, device or folder: never waits for one."""
    _refuse(os.stat(path).st_mode, path)           # before the opening, which some devices take as a command
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _refuse(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _refuse(mode: int, path: str | os.PathLike) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{_KINDS.get(stat.S_IFMT(mode), 'a special file')}, not a file", str(path))


def read_bytes(path: str | os.PathLike, most: int | None = None) -> bytes:
    """Return what a plain file holds. Raises OSError as `opened` does, and where it holds over `most` bytes."""
    with opened(path) as file:
        if most is None:
            return file.read()
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return content


def hash_of(path: Path, kind: str = "sha256") -> str:
    """Return the checksum of a file in hex. kind: a name that hashlib knows. Raises OSError."""
    digest = hashlib.new(kind)
    with opened(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"


def part_name(folder: Path) -> Path:
    """Return a hidden name in `folder` that no other process uses, for what is not whole yet.

    What processes of this machine left under such names when they were killed is removed.
    """
    for left in folder.glob(f".paddle_cls-{_HOST}-*.part"):
        number = left.name.split("-")[2]
        if not (number.isdigit() and _alive(int(number))):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    return folder / f".paddle_cls-{_HOST}-{os.getpid()}-{secrets.token_hex(8)}.part"


def _alive(process: int) -> bool:
    import psutil
    return psutil.pid_exists(process)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file, which takes the place of `path` after the block; after an error nothing has changed.

    `path` is there whole or as it was before, and nothing is written through a link. Raises OSError.
    """
    part = part_name(path.parent)
    try:
        with open(part, "xb") as file:             # x: what somebody has put there is not followed
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            error.filename = str(path)             # the name that the user knows
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as `replaced` does. Raises OSError."""
    with replaced(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file as `write_bytes` does. Raises OSError."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn an OSError inside the block (full disk, read-only folder) into a UserError that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or what}: cannot be written: {error.strerror or error}; free some space or "
                        f"choose another folder") from None


@contextlib.contextmanager
def locked(file: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `file` (made if needed) as a lock inside the block. The system frees it when the process ends in any way.

    wait: for another holder. Otherwise BlockingIOError is raised, its strerror naming the holder's process number.
    Raises OSError where the file cannot be made.
    """
    with _holding(file, wait) as lock:
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
            yield
        finally:
            if os.name == "nt":                    # where an open file cannot be removed
                lock.truncate(0)
            else:
                file.unlink(missing_ok=True)


@contextlib.contextmanager
def _holding(file: Path, wait: bool) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    while True:
        with open(os.open(file, flags, 0o600), "r+b", buffering=0) as lock:
            try:
                _lock(lock.fileno(), wait)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                    raise
                raise BlockingIOError(errno.EAGAIN, f"process {_holder(lock)} works there", str(file)) from None
            with contextlib.suppress(FileNotFoundError):
                if os.name == "nt" or os.path.samestat(os.fstat(lock.fileno()), os.stat(file)):
                    yield lock
                    return                         # else the holder before us has just removed it: make another


def _holder(lock: BinaryIO) -> str:
    """Return the number of the process that holds a lock. It stands in the file a moment after the lock is held."""
    deadline = time.monotonic() + 0.5
    while True:
        lock.seek(0)
        if number := lock.read(32).decode("ascii", "replace").strip():
            return number
        if time.monotonic() > deadline:
            return "unknown"
        time.sleep(0.005)


def _lock(descriptor: int, wait: bool) -> None:
    if sys.platform == "win32":
        import msvcrt
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)             # far behind the number, which others may read
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder in `folder`, which is gone after the block. Raises UserError where it cannot be made."""
    with writing(folder):
        part = part_name(folder)
        part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside `folder`. It replaces `folder` after the block; after an error nothing has changed.

    Of two processes that do so at once both succeed; the later one's folder stays.
    Raises UserError where nothing can be written.
    """
    old, lock = (folder.with_name(f".{folder.name}.{word}") for word in ("old", "lock"))
    with writing(folder), locked(lock, wait=True):
        if old.exists() and not folder.exists():           # killed between the two renamings below
            os.replace(old, folder)
    with scratch(folder.parent) as part:
        yield part
        with writing(folder):
            for file in part.rglob("*"):
                if file.is_file():
                    sync(file)
            with locked(lock, wait=True):
                shutil.rmtree(old, ignore_errors=True)
                if folder.exists():
                    os.replace(folder, old)
                os.replace(part, folder)
                shutil.rmtree(old, ignore_errors=True)
