"""One file from the network into a cache folder: resumed where it broke off, checked, renamed when whole."""

import contextlib
import errno
import http.client
import os
import queue
import re
import shutil
import stat
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from ..errors import UserError
from . import cache
from .files import hash_of, locked

CHUNK = 1 << 20                                    # bytes a read
TIMEOUT = 30                                       # seconds without an answer
PATIENCE, LEAST = 60, 60_000                       # of seconds, and the bytes that have to come in each such time
MOST = 100 * 10**9                                 # bytes of a file, where the server does not say how many come


class _Slow(Exception):
    """The server sends too slowly to wait for it."""


def download(url: str, path: Path, *, sha256: str | None = None, md5: str | None = None,
             otherwise: str | None = None, tries: int = 3) -> Path:
    """Fetch `url` into `path` (unless it is there) and return `path`.

    What a broken connection left in `path`.part is continued, up to `tries` times in this call and again in the next.
    Of several processes one fetches; the others wait for it, and stderr says so.
    sha256, md5: of the whole file in hex; None checks nothing. otherwise: what a user without the network can do.
    Raises UserError: no network, a refusal of the server, one that sends less than LEAST in PATIENCE, a wrong checksum (the
    part is deleted then), a folder that cannot be written.
    """
    try:
        if path.exists():
            return path
        cache.create(path.parent)
        with _alone(path):
            return path if path.exists() else _download(url, path, sha256, md5, otherwise, tries)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be written: {error.strerror or error}; free some space, or "
                        f"{cache.REMEDY}") from None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock))
        except BlockingIOError as error:
            print(f"{path}: {error.strerror}; waiting until it has arrived", file=sys.stderr, flush=True)
            held.enter_context(locked(lock, wait=True))
        yield


def _download(url: str, path: Path, sha256: str | None, md5: str | None, otherwise: str | None, tries: int) -> Path:
    part = path.with_name(path.name + ".part")
    remedy = ("try again later (what has arrived is kept), or "
              + (otherwise or f"put {path.name} into a folder and name it with --data-dir"))
    reason = ""
    for _ in range(tries):
        try:
            if _fetch(url, part):
                break
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            raise UserError(f"{url}: the server answers {error.code} {error.reason}; {remedy}") from None
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except _Slow as error:
            raise UserError(f"{url}: cannot be downloaded: {error}; {remedy}") from None
        except (ValueError, http.client.InvalidURL) as error:
            raise UserError(f"{url}: not a URL ({error})") from None
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__} {error}".strip()
    else:
        raise UserError(f"{url}: cannot be downloaded: {reason}; {remedy}")
    for kind, wanted in (("sha256", sha256), ("md5", md5)):
        if wanted and (found := hash_of(part, kind)) != wanted:
            part.unlink()
            raise UserError(f"{url}: the download has the checksum {found}, not {wanted}; it was deleted; {remedy}")
    os.replace(part, path)
    return path


@contextlib.contextmanager
def _append(part: Path) -> Iterator[BinaryIO]:
    """Open `part` for appending. Raises OSError for a link or what is no file: a FIFO would wait for a reader."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    with open(os.open(part, flags, 0o666), "ab") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(part))
        yield file


def _fetch(url: str, part: Path) -> bool:
    """Append to `part` what is missing of `url`; return whether it is whole."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with contextlib.closing(_arriving(request)) as arriving:
        try:
            answer = next(arriving)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:         # nothing is missing, unless the server says what there is
                told = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range") or "")
                if told is None or int(told[1]) == have:
                    return True
                part.unlink()
                return False
            raise
        with _append(part) as file:
            if answer.status != 206:               # this server starts anew
                have = 0
                file.truncate(0)
            length = answer.headers.get("Content-Length") or ""
            whole = have + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
            free = shutil.disk_usage(part.parent).free
            if whole and whole - have > free:
                raise OSError(errno.ENOSPC, f"{whole - have:,} bytes are to come, and {free:,} are free", str(part))
            with tqdm(total=whole, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar:
                for chunk in arriving:
                    file.write(chunk)
                    bar.update(len(chunk))
                    if whole is None and file.tell() > MOST:
                        raise _Slow(f"over {MOST:,} bytes, and no end")
        return whole is None or part.stat().st_size == whole


def _arriving(request: urllib.request.Request) -> Generator[Any, None, None]:
    """Yield the server's answer, then its content in pieces. Raises what urlopen and reading do, and _Slow.

    A separate thread reads. A server that sends a byte now and then could hold a call for hours, because each byte renews the
    time limit of the connection.
    """
    pieces: queue.Queue[Any] = queue.Queue(8)
    ended = threading.Event()

    def put(piece: object) -> None:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):  # looks again whether anybody still waits
                pieces.put(piece, timeout=0.5)
                return

    def read() -> None:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                put(answer)
                take = getattr(answer, "read1", answer.read)
                while not ended.is_set() and (chunk := take(CHUNK)):
                    put(chunk)
            put(None)
        except Exception as error:                 # whatever it is: it is raised where it is waited for
            put(error if isinstance(error, (ValueError, http.client.HTTPException, urllib.error.URLError, ConnectionError,
                                            TimeoutError)) or not isinstance(error, OSError) else ConnectionError(error))

    threading.Thread(target=read, daemon=True).start()
    try:
        waited, count = 0.0, 0                     # not the time that writing takes
        while True:
            start = time.monotonic()
            try:
                piece = pieces.get(timeout=PATIENCE - waited)
            except queue.Empty:
                piece = b""
            waited += time.monotonic() - start
            if piece is None:
                return
            if isinstance(piece, Exception):
                raise piece
            count += len(piece) if isinstance(piece, bytes) else 0
            if waited >= PATIENCE:
                if count < LEAST:
                    raise _Slow(f"{count:,} bytes in {PATIENCE} seconds are too few to wait for")
                waited, count = 0.0, 0
            if piece:
                yield piece
    finally:
        ended.set()
