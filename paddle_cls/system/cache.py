"""The cache: its place, its private folders, and the seals on what is loaded from them.

Downloads are data and have checksums, so others may write their folder. Operators, exports and shrunken photographs are in
private folders. Each of these files has a seal: an HMAC-SHA256. Its key was drawn by a process of the user, and only the user can
read it.
"""

import atexit
import errno
import hmac
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from . import files

VARIABLE = "PADDLE_CLS_CACHE"
REMEDY = f"name another folder with {VARIABLE}"
KEY = ".paddle_cls-key"                            # in the cache folder: 32 random bytes
SEAL = 64                                          # characters of a seal, before a line end
_HOME = "paddle_cls-home-"                         # begins the name of a home that lasts as long as the process


def root() -> Path:
    """Return the cache folder: $PADDLE_CLS_CACHE, else paddle_cls in $XDG_CACHE_HOME or ~/.cache. Raises UserError."""
    if own := os.environ.get(VARIABLE):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):                        # its specification: another one is to be ignored
        return Path(base) / "paddle_cls"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise UserError(f"no cache folder: HOME is not set; set it, or name a folder with {VARIABLE}")
    return Path(home) / ".cache" / "paddle_cls"


def lasts() -> bool:
    """Return whether the next process finds this cache again. It does not if `settle` had to make a temporary home."""
    return not any(part.startswith(_HOME) for part in root().parts)


def temporary() -> str:
    """Return the system's folder for temporary files. Raises UserError where none can be written."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UserError(f"{error.strerror}; set TMPDIR to a folder that can be written") from None


def create(folder: Path) -> None:
    """Make `folder` and what is missing above it, for the user alone. Raises OSError."""
    missing = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        missing.append(path)
    for path in reversed(missing):
        path.mkdir(0o700, exist_ok=True)
    os.scandir(folder).close()                     # a file: Not a directory


def check(folder: Path) -> None:
    """Raise UserError where another user may write in `folder` or between it and the cache folder; OSError if it is missing.

    The cache folder itself may be a link, and the system's or sticky, as /tmp is: nobody can replace another's folder there.
    """
    if not hasattr(os, "geteuid"):                 # Windows: a profile is its user's
        return
    base, own = root(), os.geteuid()
    inside = [path for path in (folder, *folder.parents) if path == folder or path.is_relative_to(base)]
    for path in inside:
        status = os.stat(path) if path == base else os.lstat(path)
        shared = path == base and path != folder
        if not stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path}: not a folder; delete it, or {REMEDY}")
        if status.st_uid != own and not (shared and status.st_uid == 0):
            raise UserError(f"{path}: belongs to {_user(status.st_uid)}; {REMEDY}")
        if _open(status) and not (shared and status.st_mode & stat.S_ISVTX):
            raise UserError(f"{path}: others may write there; chmod 700 it, or {REMEDY}")
    for path in inside[-1].resolve().parents:
        if os.stat(path).st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise UserError(f"{path}: others may write there, and put another cache into its place; {REMEDY}")


def private(folder: Path) -> None:
    """Make `folder` and see that it is private. Raises OSError where it cannot be made, UserError as `check` does."""
    create(folder)
    check(folder)


def _user(number: int) -> str:
    try:
        import pwd
        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return f"user {number}"


def _open(status: os.stat_result) -> bool:
    """Return whether others may write. A group that has the user's name and no other member does not count."""
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    try:
        import grp
        import pwd
        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except (ImportError, KeyError):
        return True
    return not (group.gr_name == user.pw_name and user.pw_gid == group.gr_gid and {*group.gr_mem} <= {user.pw_name})


def remove(path: Path) -> None:
    """Remove a file, link or folder of the cache. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def opened(path: Path) -> BinaryIO:
    """Return a file of the cache opened for reading. Raises OSError, also for a link and for a file that is not the user's."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) or (hasattr(os, "geteuid") and status.st_uid != os.geteuid()):
        raise PermissionError(f"{path}: not a file of the user's own")
    return files.opened(path)


def seal(label: str, content: bytes, home: Path | None = None) -> bytes:
    """Return the seal, followed by `content`. Raises OSError if the key cannot be made.

    label: kind, version and name of the content. Content under another label does not fit its seal.
    home: the cache folder whose key is taken; None: `root`.
    """
    return hmac.digest(_key(home or root()), _text(label) + content, "sha256").hex().encode() + b"\n" + content


def unseal(label: str, content: bytes, home: Path | None = None) -> bytes | None:
    """Return what was sealed. Return None if the seal was made with another key, or if content or label have changed."""
    key = _read_key(home or root())
    inside = content[SEAL + 1:]
    right = key and hmac.digest(key, _text(label) + inside, "sha256").hex().encode() + b"\n"
    return inside if right and hmac.compare_digest(right, content[:SEAL + 1]) else None


def seal_of(label: str, file: BinaryIO, home: Path | None = None, *, make: bool = False) -> str:
    """Return the seal of the rest of an open file; "" where there is no key. make: one at need. Raises OSError."""
    key = _key(home or root()) if make else _read_key(home or root())
    if key is None:
        return ""
    digest = hmac.new(key, _text(label), "sha256")
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _text(label: str) -> bytes:
    return label.encode("utf-8", "surrogateescape") + b"\0"


def _read_key(home: Path) -> bytes | None:
    try:
        with opened(home / KEY) as file:
            key = file.read(33)
            hidden = not hasattr(os, "geteuid") or not os.fstat(file.fileno()).st_mode & 0o077
    except OSError:
        return None
    return key if hidden and len(key) == 32 else None


def _key(home: Path) -> bytes:
    if key := _read_key(home):
        return key
    create(home)
    with files.locked(home / f"{KEY}.lock", wait=True):
        if key := _read_key(home):                 # another process has made it meanwhile
            return key
        key, part = secrets.token_bytes(32), files.part_name(home)
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb") as file:
                file.write(key)
            os.replace(part, home / KEY)
        finally:
            part.unlink(missing_ok=True)
    return key


def settle() -> None:
    """See that libraries find a home folder: Paddle and VisualDL make folders in it when they are loaded, else they fail.

    If the user's home cannot be written (a container's --user, HOME unset), a temporary one is used. A line on stderr says what
    that means, unless the cache is somewhere else.
    """
    home, given = os.path.expanduser("~"), os.environ.get("HOME")
    try:
        if not os.path.isabs(home) or given == "":
            raise NotADirectoryError(errno.ENOTDIR, "not an absolute path")
        for name in (".cache/paddle/dataset", ".visualdl/conf"):
            os.makedirs(os.path.join(home, name), exist_ok=True)
        return
    except OSError as error:
        reason = f"HOME={given}: cannot be written ({error.strerror})" if given else "HOME is not set"
    made, process = tempfile.mkdtemp(prefix=_HOME, dir=temporary()), os.getpid()
    os.environ["HOME"] = made

    def clear() -> None:
        if os.getpid() == process:                 # not of a child
            shutil.rmtree(made, ignore_errors=True)

    atexit.register(clear)
    if not lasts() and os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        print(f"{reason}: the cache lasts as long as this process; set HOME, or name a folder with {VARIABLE}", file=sys.stderr,
              flush=True)
