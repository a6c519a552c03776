"""Which pictures a program works on: files, folders, globs or a list in a file, and one of several parts of them."""

import glob
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ...errors import UserError
from ...system.files import opened

if TYPE_CHECKING:
    from tqdm import tqdm

Result = TypeVar("Result")
RUN_FILES = {"config.yaml", "figures.json", "metrics.jsonl", "pretrained.txt", "split.csv"}


class Picture(NamedTuple):
    """A file, and where a list names it: "list.txt:3: ", else nothing."""

    path: Path
    where: str = ""


class Found:
    """The pictures that files, folders (with all below) and globs stand for, each once, in order.

    They are looked for each time that somebody iterates: in memory are the names in one folder, and of several places those
    that came already. Folders are searched as `walk` does.
    """

    def __init__(self, places: Sequence[str], flag: str = "--image"):
        """flag: what an error begins with, where it is not empty. Raises UserError for a place that is missing or empty."""
        self.unread: list[str] = []                # the folders below that the last search could not look into
        self.named: list[Path] = []                # files that were named or match
        self._places: list[Path | list[Path]] = []
        for place in places:
            where, path = f"{flag} {place}".strip(), Path(place)
            if not place:
                raise UserError(f"{flag} '': is empty; name a picture, a folder or a pattern".strip())
            if path.is_dir():
                _check_folder(path, where)
                self._places.append(path)
            else:
                files = [path] if path.exists() and place[-1] not in (os.sep, os.altsep) else _matching(place, where)
                self._places.append(files)
                self.named += files

    def __iter__(self) -> Iterator[Picture]:
        self.unread.clear()
        for path in self._once() if len(self._places) > 1 else self._each():
            yield Picture(path)

    def _each(self) -> Iterator[Path]:
        from ...data.images.files import walk
        for place in self._places:
            yield from walk(place, self.unread) if isinstance(place, Path) else place

    def _once(self) -> Iterator[Path]:
        seen: set[str] = set()
        for path in self._each():
            if str(path) not in seen:
                seen.add(str(path))
                yield path


def _check_folder(folder: Path, where: str) -> None:
    from ...data.images.files import walk
    from ...data.images.transforms import EXTENSIONS
    problems: list[str] = []
    if next(walk(folder, problems), None) is None:
        nothing = f"no pictures in this folder ({', '.join(EXTENSIONS)})"
        raise UserError(f"{where}: {problems[0] if problems else nothing}")


def _matching(place: str, where: str) -> list[Path]:
    found = dict.fromkeys(Path(name) for name in sorted(glob.glob(place, recursive=True)) if not os.path.isdir(name))
    if not found:
        raise UserError(f"{where}: " + ("is a file, not a folder" if Path(place).exists() else
                                        "no file matches" if glob.has_magic(place) else "no such file or folder"))
    return list(found)


class Listed:
    """The pictures that a text file names, a path a line from the working folder on; - is standard input.

    The file is read as the pictures are needed. What it names twice comes twice.
    """

    def __init__(self, file: Path):
        """Raises UserError unless `file` is a plain file, or -."""
        self.unread: list[str] = []
        self.file, self.named = file, [] if str(file) == "-" else [file]
        for path in self.named:
            try:
                opened(path).close()
            except OSError as error:
                raise UserError(f"--list {path}: cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[Picture]:
        lines = opened(self.file) if self.named else sys.stdin.buffer
        with lines:
            for number, line in enumerate(lines, 1):
                name = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").rstrip(b"\r\n"))
                if "\0" in name:
                    raise UserError(f"--list {self.file}: line {number} holds a zero byte; give one path a line")
                if name:
                    yield Picture(Path(name), f"{self.file}:{number}: ")


class Shard:
    """One of several parts of some pictures: of part 2/8 the 2nd, the 10th, the 18th and so on."""

    def __init__(self, pictures: Found | Listed, part: str | None):
        """part: such as 2/8; None: all. Raises UserError for what is no part."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part or "1/1")
        self.number, self.parts = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= self.number <= self.parts:
            raise UserError(f"--shard {part}: is not of the form PART/PARTS, such as 2/8, with PART from 1 to PARTS")
        self.pictures = pictures

    def __iter__(self) -> Iterator[Picture]:
        return islice(iter(self.pictures), self.number - 1, None, self.parts)

    def count(self) -> int | None:
        """Return how many there are, which takes a search; None of those that standard input names."""
        return None if isinstance(self.pictures, Listed) and not self.pictures.named else sum(1 for _ in self)


def tried(work: Callable[[Iterable[Path]], Iterator[tuple[Path, Result | UserError]]],
          pictures: Iterable[Picture]) -> Iterator[tuple[Path, Result | str]]:
    """Yield for each picture (its path, what `work` makes of it, or a text on why it cannot be read and where it is listed).

    work: takes paths, and gives one answer for each, in order, like `Predictor.files`.
    """
    wheres: deque[str] = deque()

    def paths() -> Iterator[Path]:
        for path, where in pictures:
            wheres.append(where)
            yield path

    for path, result in work(paths()):
        where = wheres.popleft()
        yield path, f"{where}{result}" if isinstance(result, UserError) else result


def progress(results: Iterable[Result], pictures: Shard, *, done: int = 0, quiet: bool = False) -> "tqdm":
    """Return a bar over the results of pictures, on a terminal only. There it knows its end: the pictures are counted first.

    done: how many were done before. quiet: show none.
    """
    from tqdm import tqdm
    quiet = quiet or not sys.stderr.isatty()
    total = None if quiet else pictures.count()
    return tqdm(results, total=total, initial=done, unit="img", disable=quiet or total == 1, leave=False)


def nothing(failures: Sequence[str]) -> str:
    """Return what to say where no picture could be read. failures: why."""
    return failures[0] + (f" (and {len(failures) - 1} more files)" if len(failures) > 1 else "")


def check_output(output: Path, named: Sequence[Path]) -> None:
    """Raise UserError if the answer cannot be written there, or would replace a picture, part of a run, or no plain file.

    named: the files that the user named.
    """
    from ...data.images.transforms import EXTENSIONS
    from ...inference.exported import MODEL_JSON
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; name a file in it")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}; make it first")
    there = os.path.lexists(output)
    if there and (output.is_symlink() or not output.is_file()):
        raise UserError(f"--output {output}: is no plain file; name another, or leave out --output to write to standard output")
    if there and (output.suffix.lower() in EXTENSIONS or _is_picture(output)):
        raise UserError(f"--output {output}: is a picture; name another file")
    if there and any(_same(output, file) for file in named):
        raise UserError(f"--output {output}: is what is to be read; name another file")
    if any((folder / MODEL_JSON).is_file() for folder in [*output.resolve().parents][:3]):           # Triton's lie deeper
        raise UserError(f"--output {output}: lies in an exported folder; name a file elsewhere")
    weights = output.suffix == ".json" and output.with_suffix(".pdparams").exists()
    if weights or output.suffix in (".pdparams", ".pdopt") or (there and output.name in RUN_FILES):
        raise UserError(f"--output {output}: belongs to a checkpoint or a run; name another file")


def _is_picture(file: Path) -> bool:
    """Return whether a file holds a picture, which has another name somewhere perhaps."""
    from ...data.images.transforms import measure
    try:
        measure(file)
    except UserError:
        return False
    return True


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
