"""Answers in a file that grows, CSV or JSON lines, and how the same command goes on after it was stopped in any way.

Beside FILE lies FILE.resume, JSON lines too: first the settings, then each picture that could not be read, at the end that all
is done. Of both a line counts once it is whole: a torn last one, of a process that was killed, is cut off.
"""

import contextlib
import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...inference.answer import STREAMED, Answer, cell, csv_header, written
from ...system.files import locked, opened, write_text, writing
from ...system.stopping import held

GROWING = ("csv", "jsonl")
SUFFIX = ".resume"


class Done:
    """Which pictures need no answer any more, by their names in a file: 16 bytes each."""

    def __init__(self, names: Iterable[str]):
        """names: a picture that was listed twice, and answered twice, is there twice."""
        self._hashes, self._left = np.unique(np.fromiter(map(_hash, names), np.uint64), return_counts=True)

    def take(self, name: str) -> bool:
        """Return whether `name` is there, and take it away once."""
        wanted = _hash(name)
        place = int(np.searchsorted(self._hashes, wanted))
        there = place < len(self._hashes) and bool(self._hashes[place] == wanted) and bool(self._left[place])
        if there:
            self._left[place] -= 1
        return there


def _hash(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"))


class _Lines:
    """A file to whose end texts are added, each as a whole or not at all."""

    def __init__(self, path: Path, size: int):
        """size: bytes that stay; what is behind them is cut off."""
        self._path, self._size = path, size
        self._file = open(path, "r+b", buffering=0)            # noqa: SIM115 (closed by `close`)
        self._file.truncate(size)
        self._file.seek(size)

    def add(self, text: str) -> None:
        content = memoryview(text.encode("utf-8"))
        try:
            with writing(self._path):
                while content:                     # a disk that gets full takes a part
                    content = content[self._file.write(content):]
        except BaseException:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise
        self._size = self._file.tell()

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep other processes from adding to `file` inside the block. Raises UserError where one does so already."""
    with contextlib.ExitStack() as stack:
        with writing(file):
            try:
                stack.enter_context(locked(file.with_name(f".{file.name}.lock")))
            except BlockingIOError as error:
                raise UserError(f"--output {file}: {error.strerror}; wait for it, or name another --output") from None
            except OSError as error:
                error.filename = str(file)         # the name that the user knows
                raise
        yield


class Growing:
    """The answers in `file`. They are on the disk as they are added; the file begins with the first one."""

    def __init__(self, file: Path, kind: str, *, resume: bool):
        """kind: one of GROWING. resume: go on with what is there, instead of replacing it.

        Raises UserError for answers of which nobody knows how they were made, and for those of a command that was stopped,
        unless `resume`.
        """
        self.file, self.kind, self.resume, self.count = file, kind, resume, 0
        self._beside = file.with_name(file.name + SUFFIX)
        self._settings: dict[str, Any] = {}
        self._unread: list[str] = []               # lines that wait for the first answer
        self._answers: _Lines | None = None
        self._notes: _Lines | None = None
        there = self._read_notes()
        if resume and file.exists() and not there:
            raise UserError(f"--resume: {file} has no {self._beside.name} beside it, which says how its answers were made; leave "
                            f"out --resume to replace it, or name another --output")
        if not resume and there and file.exists() and not there[-1].get("finished"):
            raise UserError(f"--output {file}: holds the answers of a command that was stopped; add --resume to go on, or remove "
                            f"{self._beside} to begin again")

    def _read_notes(self) -> list[dict[str, Any]]:
        """Return what the whole lines of FILE.resume hold. Raises UserError unless they are such."""
        notes = [note for note, _ in _records(self._beside, _note)] if self._beside.exists() else []
        if notes and not isinstance(notes[0].get("settings"), dict):
            raise UserError(f"{self._beside}: begins with no settings; remove it to begin again")
        return notes

    def go_on(self, settings: Mapping[str, object], *, verdicts: bool, rows: int) -> Done:
        """Return the pictures that have their answers, or cannot be read; none unless this resumes.

        settings: what must be the same, by the names of the flags. verdicts: of a yes-or-no network. rows: lines of a CSV for
        one picture. Raises UserError where the answers in the file are others.
        """
        self._settings = dict(settings)
        self._header = csv_header(verdicts) if self.kind == "csv" else ""
        notes = self._read_notes() if self.resume and self.file.exists() else []
        if not notes:
            return Done(())
        for name, value in json.loads(json.dumps(self._settings)).items():
            if notes[0]["settings"].get(name) != value:
                raise UserError(f"--resume: {self.file} was made with {name} {notes[0]['settings'].get(name)}, not "
                                f"{value}; use the same, or name another --output")
        size = 0

        def names() -> Iterator[str]:
            nonlocal size
            for name, end in _records(self.file, _row(rows) if self.kind == "csv" else _object, self._header):
                size = end
                if name is not None:
                    self.count += 1
                    yield name
            yield from (self._name(note["unread"]) for note in notes if "unread" in note)

        done = Done(names())
        with writing(self.file):
            self._answers = _Lines(self.file, size)
            self._notes = _Lines(self._beside, max(end for note, end in _records(self._beside, _note) if "finished" not in note))
            if not size:
                self._answers.add(self._header)
        return done

    def _name(self, path: str | Path) -> str:
        """Return the name of a picture as the file has it."""
        return cell(written(path)) if self.kind == "csv" else written(path)

    def awaits(self, done: Done, path: Path) -> bool:
        """Return whether a picture is none of those `done`."""
        return not done.take(self._name(path))

    def add(self, answer: Answer) -> None:
        """Write an answer. Raises UserError where that cannot be done; then the file ends with the answer before."""
        text = STREAMED[self.kind]([answer])
        if self._answers is None:
            self._begin(text)
        else:
            self._answers.add(text)
        self.count += 1

    def _begin(self, first: str) -> None:
        """Replace what is there."""
        notes = json.dumps({"settings": self._settings}) + "\n" + "".join(self._unread)
        with held(), writing(self.file):
            self._beside.unlink(missing_ok=True)               # first: it tells of other answers
            write_text(self.file, self._header + first)
            write_text(self._beside, notes)
            self._answers = _Lines(self.file, self.file.stat().st_size)
            self._notes = _Lines(self._beside, len(notes))

    def fail(self, path: Path, text: str) -> None:
        """Keep in mind that a picture cannot be read, and why. It is not tried again. Raises UserError as `add` does."""
        line = json.dumps({"unread": str(path), "why": text}) + "\n"
        if self._notes is None:
            self._unread.append(line)
        else:
            self._notes.add(line)

    def failures(self) -> list[str]:
        """Return why the pictures cannot be read that could not, in this command and in those before it."""
        lines = map(json.loads, self._unread) if self._notes is None else self._read_notes()
        return [note["why"] for note in lines if "why" in note]

    def close(self) -> None:
        """Note that all is done. Without `resume` nothing stays beside the file."""
        assert self._answers and self._notes, "there is an answer"
        self._notes.add('{"finished": true}\n')
        self._answers.close()
        self._notes.close()
        if not self.resume:
            self._beside.unlink()


def _records(file: Path, read: Callable[[str], Any], header: str = "") -> Iterator[tuple[Any, int]]:
    """Yield (what `read` makes of each whole line, bytes up to its end), but for lines of which it makes None.

    header: the first line, of which None is yielded. Raises UserError for a line that `read` does not know.
    """
    size = 0
    try:
        with opened(file) as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                size += len(line)
                text = line.decode("utf-8")
                if header and number == 1:
                    if text != header:
                        raise ValueError
                    yield None, size
                elif (found := read(text)) is not None:
                    yield found, size
    except ValueError:                             # also what is no UTF-8 and no JSON
        raise UserError(f"{file}:{number}: is no line that infer has written; mend it, or remove the file to begin "
                        f"again") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def _note(line: str) -> dict[str, Any]:
    note = json.loads(line)
    if not isinstance(note, dict) or not note.keys() & {"settings", "unread", "finished"}:
        raise ValueError
    return note


def _object(line: str) -> str:
    found = json.loads(line)
    if not isinstance(found, dict) or not isinstance(found.get("image"), str):
        raise ValueError
    return found["image"]


def _row(rows: int) -> Callable[[str], str | None]:
    """Return a function that returns the picture of a CSV's line, where it is the last of its `rows` lines, else None."""
    def read(line: str) -> str | None:
        cells = next(csv.reader([line]))
        if len(cells) not in (4, 5):
            raise ValueError
        return cells[0] if len(cells) == 5 or cells[1] == str(rows) else None
    return read
