"""Pictures in files: as many as there are, in little memory, decoded when they are asked for."""

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from tqdm import tqdm

from ...errors import UserError, printable
from ...system.threads import for_each
from .transforms import EXTENSIONS, decode, measure

MOST = 50_000                                      # files of which every header is read before a training
SAMPLE = 10_000                                    # files of which it is where there are more
SIZES = (32, 64, 96, 128, 160, 192, 224)           # pixels a side that a network is given unless the user says otherwise
_NOT_DATA = {"thumbs.db", "desktop.ini", "__macosx"}          # left by file managers


class ImageFiles(Sequence[np.ndarray]):
    """Files below a folder as a sequence of images uint8 (H, W, 3) RGB of any sizes.

    A number gives one image, decoded now; a slice or an array of numbers gives ImageFiles. To iterate decodes in several
    threads. All names lie in one buffer, so that a million takes some 60 MB and a part next to nothing.
    """

    def __init__(self, root: Path, names: Iterable[str], *, table: Path | None = None, lines: Iterable[int] = ()):
        """names: paths relative to `root`, or absolute. table, lines: where each is named, for messages."""
        self.root, self.table = Path(root), table
        self.size: int | None = None
        self._names = "".join(f"{name}\0" for name in names).encode(errors="surrogateescape")       # no path has this byte
        self._ends = np.flatnonzero(np.frombuffer(self._names, np.uint8) == 0)
        self._starts = np.concatenate([[0], self._ends[:-1] + 1])[:len(self._ends)]
        self._lines = np.asarray(lines, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "ImageFiles": ...

    def __getitem__(self, index: int | slice | np.ndarray) -> "np.ndarray | ImageFiles":
        if isinstance(index, (int, np.integer)):
            return decode(self.path(int(index)), self.size)
        chosen = copy.copy(self)
        chosen._starts, chosen._ends = self._starts[index], self._ends[index]
        chosen._lines = self._lines[index] if len(self._lines) else self._lines
        return chosen

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), 64):
            images: list = [None] * min(64, len(self) - start)

            def read(number: int, images: list = images, start: int = start) -> None:
                images[number] = self[start + number]

            for_each(read, len(images))
            yield from images

    def name(self, index: int) -> str:
        """Return the path relative to the folder, as it was given."""
        return self._names[self._starts[index]:self._ends[index]].decode(errors="surrogateescape")

    def names(self) -> list[str]:
        """Return all names at once, far faster than one after the other."""
        every = self._names.decode(errors="surrogateescape").split("\0")
        ends = np.flatnonzero(np.frombuffer(self._names, np.uint8) == 0)
        return [every[index] for index in np.searchsorted(ends, self._ends)]

    def path(self, index: int) -> str:
        """Return the path of a file."""
        return os.path.join(self.root, self.name(index))

    def where(self, index: int) -> str:
        """Return "TABLE:LINE: " of a picture that a table names, else nothing."""
        return f"{self.table}:{self._lines[index]}: " if len(self._lines) else ""

    def sized(self, size: int) -> "ImageFiles":
        """Return the same pictures, large JPEGs shrunk to no less than twice `size` pixels a side while they are decoded."""
        sized = copy.copy(self)
        sized.size = size
        return sized


def list_images(folder: Path) -> tuple[list[str], list[str]]:
    """Return (the names of the pictures in `folder`, sorted; what is wrong with the folder)."""
    names, problems = [], []
    for entry in entries(folder):
        if is_folder(entry):
            problems.append(f"{entry.path}: a folder among pictures; move it elsewhere")
        elif not entry.name.lower().endswith(EXTENSIONS):
            problems.append(f"{entry.path}: not a picture ({', '.join(EXTENSIONS)}); move it elsewhere")
        else:
            names.append(entry.name)
    return names, problems + strange_names(folder, names)


def entries(folder: Path | str) -> list[os.DirEntry]:
    """Return what is in a folder, sorted by name, without hidden files and what file managers leave."""
    with os.scandir(folder) as found:
        return sorted((entry for entry in found if _is_data(entry.name)), key=lambda entry: entry.name)


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _NOT_DATA


def walk(place: Path | str, problems: list[str]) -> Iterator[Path]:
    """Yield the pictures below a folder, sorted as paths are, without hidden ones and without following links to folders.

    In memory are the names in the current folder and in those above it. problems: gets the folders that cannot be looked into.
    """
    below: list[tuple[str, Iterator[str]]] = [("", iter([f"{place}/"]))]
    while below:
        folder, names = below[-1]
        name = next(names, None)
        if name is None:
            below.pop()
        elif name.endswith("/"):
            inside = os.path.join(folder, name[:-1])
            try:
                below.append((inside, iter(_names(inside))))
            except OSError as error:
                problems.append(f"{inside}: cannot be looked into: {error.strerror}")
        else:
            yield Path(folder, name)


def _names(folder: str) -> list[str]:
    """Return the names of the pictures and, with a / behind them, of the folders in a folder, sorted without that."""
    names = []
    with os.scandir(folder) as found:
        for entry in found:
            if _is_data(entry.name) and is_folder(entry):
                names += [] if entry.is_symlink() else [f"{entry.name}/"]
            elif _is_data(entry.name) and entry.name.lower().endswith(EXTENSIONS):
                names.append(entry.name)
    return sorted(names, key=lambda name: name.removesuffix("/"))


def is_folder(entry: os.DirEntry) -> bool:
    """Return whether this is a folder, or a link to one; a circle of links is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def strange_names(folder: Path, names: Sequence[str]) -> list[str]:
    """Return which of these names in a folder are no text, or differ from another in the case of letters only."""
    problems: list[str] = []
    whole = "/".join(names)
    if printable(whole) == whole and len(set(whole.lower().split("/"))) == len(names):   # nearly always
        return problems
    seen: dict[str, str] = {}
    for name in names:
        if printable(name) != name:                # bytes that are no UTF-8, line ends, marks that turn the writing around
            problems.append(f"{folder}: the name {name!a} has characters that are no text; rename it")
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            problems.append(f"{folder}: {other} and {name} differ in the case of letters only; rename one")
    return problems


def survey(files: ImageFiles) -> tuple[list[str], np.ndarray]:
    """Return (what is wrong with the files; (width, height) of those whose headers were read, int64 (n, 2)).

    Every header is read of up to MOST files (see `transforms.measure`). Of more, all that a table names must be in their
    folders (the others were found there), and SAMPLE of them, drawn at random, are read.
    """
    count = len(files)
    problems: dict[int, str] = {}
    looked = np.arange(count)
    if count > MOST:
        problems = _absent(files) if files.table else {}
        looked = np.sort(np.random.default_rng(0).choice(count, SAMPLE, replace=False))
    sizes = np.zeros((len(looked), 2), np.int64)

    def look(number: int) -> None:
        try:
            sizes[number] = measure(files.path(looked[number]))
        except UserError as error:
            problems[looked[number]] = str(error)
        bar.update()

    with tqdm(total=len(looked), desc="looking at the files", unit="img", leave=False,
              disable=None if count > 5000 else True) as bar:
        for_each(look, len(looked))
    return [files.where(index) + problems[index] for index in sorted(problems)], sizes


def _absent(files: ImageFiles) -> dict[int, str]:
    """Return {place: problem} of the files that are not in their folders, each of which is listed once."""
    found: dict[str, set[str]] = {}
    problems = {}
    for index, path in enumerate(files.names()):
        folder, _, name = path.rpartition("/")
        if folder not in found:
            try:
                found[folder] = set(os.listdir(os.path.join(files.root, folder)))
            except OSError:
                found[folder] = set()
        if name not in found[folder]:
            problems[index] = f"{files.path(index)}: cannot be read: No such file or directory"
    return problems


def default_size(sizes: np.ndarray) -> int:
    """Return the largest of SIZES that is no more than half of the pictures' shorter sides. sizes: of `survey`."""
    middle = np.median(sizes.min(axis=1))
    return max([size for size in SIZES if size <= middle], default=SIZES[0])
