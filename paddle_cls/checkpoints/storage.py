"""The files of a checkpoint: how new ones take the place of old ones, and how a reader sees whole ones meanwhile.

A new checkpoint is written under hidden names, the .json last: from then on it counts. Its files then get their names one by
one, the .json last again. Only the process that trains renames and removes. Readers write nothing: they take each file from
whichever name holds the one that the .json tells of, and look again where something changed under them.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from ..formats.strict_json import MOST_BYTES
from ..system.files import opened, read_bytes
from .info import CheckpointInfo

SUFFIXES = (".pdparams", ".pdopt")                 # renamed in this order, then the .json; `best` has no .pdopt
_PATIENCE = 20.0                                   # seconds that a reader looks again, as long as the files change


def final(path: Path, suffix: str) -> Path:
    """Return the name of a file of checkpoint `path` (without suffix)."""
    return path.with_name(path.name + suffix)


def hidden(path: Path, suffix: str) -> Path:
    """Return the name of that file before it gets its own."""
    return path.with_name(f".{path.name}.new{suffix}")


def finish(path: Path) -> None:
    """Complete the checkpoint that a killed process had written but not yet renamed; drop a half-written one.

    A part that the new checkpoint does not have goes, such as the best.pdopt of older versions.
    Only who trains in the folder, and holds its lock, may do so.
    """
    if hidden(path, ".json").exists():
        stale = _not_in(hidden(path, ".json"))
        for suffix in (*SUFFIXES, ".json"):        # the .json last: until then another call can do the rest
            if hidden(path, suffix).exists():
                os.replace(hidden(path, suffix), final(path, suffix))
            elif suffix in stale:
                final(path, suffix).unlink(missing_ok=True)
    for suffix in SUFFIXES:
        hidden(path, suffix).unlink(missing_ok=True)


def _not_in(file: Path) -> set[str]:
    """Return the parts that a .json does not tell of; none where it cannot be read."""
    try:
        return set(SUFFIXES) - CheckpointInfo.from_json(read_bytes(file, MOST_BYTES), file).sha256.keys()
    except (UserError, OSError):
        return set()


def exists(path: Path) -> bool:
    """Return whether there is a checkpoint `path` (without suffix), renamed or about to be."""
    return hidden(path, ".json").exists() or final(path, ".json").exists()       # it may be renamed between the two looks


class CheckpointFile:
    """A file of a checkpoint, held open: another that takes its place changes nothing here."""

    def __init__(self, path: Path, file: BinaryIO, checksum: str | None):
        """checksum: the SHA-256 that it should have."""
        self.path, self._file, self._checksum = path, file, checksum

    def whole(self) -> bool:
        """Return whether it is what was saved. Raises OSError."""
        self._file.seek(0)
        digest = hashlib.sha256()
        while chunk := self._file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest() == self._checksum

    def read(self) -> bytes:
        """Return its content, checked. Raises UserError."""
        try:
            self._file.seek(0)
            content = self._file.read()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror or error}; use another checkpoint") from None
        if hashlib.sha256(content).hexdigest() != self._checksum:
            raise _changed(self.path)
        return content


def _changed(file: Path) -> UserError:
    return UserError(f"{file}: truncated or changed since it was saved (checksum differs); use another checkpoint")


def read(path: Path, suffixes: Iterable[str] = ()) -> tuple[CheckpointInfo, dict[str, CheckpointFile]]:
    """Return (what the .json of checkpoint `path` says, {suffix: that file}), all of one save, each checked.

    Beside a process that saves, the answer is the checkpoint before or after it. Raises UserError where there is none, or it is
    broken.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        before = _state(path)
        try:
            info, found = _describe(path), {}
            held = {suffix: _hold(path, info, suffix) for suffix in suffixes}    # all, before any is read: they stay the same
            for suffix, parts in held.items():
                found[suffix] = _choose(path, suffix, parts)
            return info, found
        except UserError:
            if _state(path) == before or time.monotonic() > deadline:
                raise
        time.sleep(0.001)


def check_file(path: Path, info: CheckpointInfo, suffix: str) -> CheckpointFile:
    """Return a part of the checkpoint that `info` tells of. Raises UserError if it is missing or not what was saved."""
    return _choose(path, suffix, _hold(path, info, suffix))


def _state(path: Path) -> list:
    """Return what changes when a file of the checkpoint is written, renamed or removed."""
    found = []
    for suffix in (*SUFFIXES, ".json"):
        for file in (final(path, suffix), hidden(path, suffix)):
            with contextlib.suppress(OSError):
                state = file.stat()
                found.append((file, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return found


def _describe(path: Path) -> CheckpointInfo:
    for file in (hidden(path, ".json"), final(path, ".json")):
        try:
            return CheckpointInfo.from_json(read_bytes(file, MOST_BYTES), file)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}; use another checkpoint") from None
    raise UserError(f"{file}: no such checkpoint; train.py writes one")


def _hold(path: Path, info: CheckpointInfo, suffix: str) -> list[CheckpointFile]:
    held = []
    for file in (final(path, suffix), hidden(path, suffix)):
        try:
            held.append(CheckpointFile(file, opened(file), info.sha256.get(suffix)))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}; use another checkpoint") from None
    return held


def _choose(path: Path, suffix: str, parts: list[CheckpointFile]) -> CheckpointFile:
    if not parts:
        raise UserError(f"{final(path, suffix)}: missing; use another checkpoint")
    try:
        chosen = next((part for part in parts if part.whole()), None)
    except OSError as error:
        raise UserError(f"{parts[0].path}: cannot be read: {error.strerror or error}; use another checkpoint") from None
    if chosen is None:
        raise _changed(parts[0].path)
    return chosen
