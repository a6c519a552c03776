"""The user's own pictures, listed by a folder or a table: checked, summed up in a line, and written as a table."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import report_all
from .dataset import Data
from .images.files import ImageFiles, default_size, survey
from .images.transforms import IMAGENET
from .reader import Split


@dataclass(frozen=True)
class Manifest:
    """What a folder or a table names, before any picture is opened; the images of its splits are ImageFiles."""

    train: Split
    val: Split | None                              # None: to be held out of `train`
    classes: tuple[str, ...]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pictures_of(split: Split) -> ImageFiles:
    """Return the images of a split that a Manifest names."""
    assert isinstance(split.images, ImageFiles)
    return split.images


def in_order(names: Sequence[str]) -> list[str]:
    """Return the names of classes sorted: by value if all are whole numbers, else as text."""
    numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name), name) if numbers else name)


def to_data(manifest: Manifest, image_size: int | None) -> Data:
    """Return the data set after a check of its files by `survey`. Raises one UserError that lists all mistakes.

    image_size: pixels a side that will be used; None for `default_size` of the training pictures.
    """
    splits = [split for split in (manifest.train, manifest.val) if split is not None]
    found = [survey(pictures_of(split)) for split in splits]
    report_all(manifest.problems + [problem for problems, _ in found for problem in problems])
    size = image_size or default_size(found[0][1])
    sized = [Split(pictures_of(split).sized(size), split.labels) for split in splits]
    count, read = sum(len(split) for split in splits), sum(len(sizes) for _, sizes in found)
    width, height = np.median(np.concatenate([sizes for _, sizes in found]), axis=0).astype(int)
    which = "every one begins and ends" if read == count else f"all are there, and {read:,} drawn at random begin and end"
    note = (f"{count:,} files: {which} as a picture does (paddle-cls check decodes them all); median "
            f"{width}x{height} pixels, brought to {size}x{size} (--image-size)")
    return Data(sized[0], sized[1] if len(sized) > 1 else None, manifest.classes, size, IMAGENET, notes=(*manifest.notes, note))


def split_csv(data: Data) -> str | None:
    """Return a table (CSV: path, label, split) of the data set's files, as `--dataset table` reads it; None if it has none."""
    if not isinstance(data.train.images, ImageFiles):
        return None
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    quoting = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for name, split in {"train": data.train, **({"val": data.val} if data.val else {})}.items():
        for file, label in zip(pictures_of(split).names(), split.labels, strict=True):
            line = [file, data.classes[label], name]
            (quoting if any(cell != cell.strip() for cell in line) else writer).writerow(line)        # quotes keep outer spaces
    return out.getvalue()
