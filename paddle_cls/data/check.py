"""Look closely at pictures of one's own: python -m paddle_cls.data.check FOLDER_OR_TABLE

Tells counts, sizes and balance of the classes, decodes every file, finds copies (in train and val, under two labels), and
draws a contact sheet. A training does the quick part of it first (`pictures.survey`). Exit status 1 if something is wrong.
"""

import argparse
import dataclasses
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from ..errors import UserError, printable, report_all, reported
from ..files import hash_of, write_bytes, writing
from . import SHARE, folder, table
from .listing import Listing
from .reader import Split
from .splits import hold_out, read
from .threads import for_each
from .transforms import decode, resize

PROGRAM = "paddle_cls.data.check"
SHOWN = 20                                         # problems of a kind that are listed, and classes on the sheet
ROW, SIDE = 8, 96                                  # pictures of a class on the sheet, and their pixels a side


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; {self.prog} --help lists the flags")


def main(argv: Sequence[str]) -> int:
    """Print what there is to say; return the exit status."""
    parser = _Parser(prog=f"python -m {PROGRAM}", description=__doc__.splitlines()[0])
    parser.add_argument("place", type=Path, help="a folder as --data-dir of train.py, or a table as --table")
    parser.add_argument("--data-dir", type=Path, help="folder that a table's paths begin in (default: the table's)")
    for flag in ("--val-table", "--columns", "--task", "--val-split"):
        parser.add_argument(flag, help="as in train.py")
    parser.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"), help="file of the contact sheet, a PNG "
                        "(default: %(default)s)")
    options = parser.parse_args(argv)
    if options.val_split is not None:
        read(options.val_split, "--val-split")
    check_sheet(options.sheet)
    listing, drawn = listed(options)
    _not_an_input(options, listing)
    lines, wrong = findings(listing)
    print(f"{options.place}: {sum(map(len, parts(listing).values())):,} pictures of {len(listing.classes)} classes"
          + (f", {options.val_split or SHARE} of them drawn to validate on" if drawn else ""))
    print(*map(printable, [*listing.notes, *lines]), sep="\n")
    out = io.BytesIO()
    contact_sheet(listing).save(out, "PNG")
    with writing(options.sheet):
        write_bytes(options.sheet, out.getvalue())
    print(f"contact sheet: {options.sheet}")
    for kind, found in wrong.items():
        print(f"{kind}: {len(found):,}", *map(printable, found[:SHOWN]), *(["..."] if len(found) > SHOWN else []), sep="\n  ")
    return 1 if wrong else 0


def check_sheet(sheet: Path) -> None:
    """Raise UserError unless the contact sheet would be a PNG, in the place of nothing or of a PNG."""
    if sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: is a PNG; name it so, such as contact_sheet.png")
    if os.path.lexists(sheet) and (sheet.is_symlink() or not sheet.is_file()):
        raise UserError(f"--sheet {sheet}: is there and no plain file; name another file")


def _not_an_input(options: argparse.Namespace, listing: Listing) -> None:
    if not options.sheet.exists():
        return
    images = (split.images.path(place) for split in parts(listing).values() for place in range(len(split)))
    for path in (options.place, *([options.val_table] if options.val_table else []), *images):
        if os.path.exists(path) and os.path.samefile(options.sheet, path):
            raise UserError(f"--sheet {options.sheet}: is one of the files to check; name another file")


def listed(options: argparse.Namespace) -> tuple[Listing, bool]:
    """Return (what the place lists, whether its validation split was drawn now). Raises UserError if it lists nothing."""
    if options.place.is_dir():
        given = [f"--{name.replace('_', '-')}" for name in ("data_dir", "val_table", "columns", "task") if vars(options)[name]]
        if given:
            raise UserError(f"{given[0]}: goes with a table, and {options.place} is a folder")
        listing = folder.listing(root=options.place, val=options.val_split is None)
    else:
        listing = table.listing(root=options.data_dir, val=options.val_split is None, table=options.place,
                                val_table=options.val_table, columns=options.columns, task=options.task)
    if not listing.classes or not len(listing.train):
        report_all(listing.problems)               # there is nothing to look at
        raise UserError(f"{options.place}: no picture to train on")
    if listing.val is not None:
        return listing, False
    try:
        train, val = hold_out(listing.train, options.val_split or SHARE, "--val-split", listing.classes)
    except UserError as error:
        listing.problems.append(str(error))
        return listing, False
    return dataclasses.replace(listing, train=train, val=val), True


def parts(listing: Listing) -> dict[str, Split]:
    """Return the splits that there are by their names."""
    return {"train": listing.train} | ({"val": listing.val} if listing.val is not None else {})


def findings(listing: Listing) -> tuple[list[str], dict[str, list[str]]]:
    """Return (lines about what there is, {kind of problem: where it is found}), having decoded every file."""
    wrong = {"mistakes": listing.problems, "not readable": [], "in train and val": [], "under two labels": [], "copies": []}
    sizes, copies = [], {}
    for name, split in parts(listing).items():
        measured, hashes = _read_all(name, split, wrong["not readable"])
        sizes.append(measured)
        for place, digest in enumerate(hashes):
            copies.setdefault(digest, []).append((name, place))
    copies.pop("", None)
    splits = parts(listing)
    for places in copies.values():
        if len(places) > 1:
            labels = {splits[name].labels[place] for name, place in places}
            kind = ("under two labels" if len(labels) > 1 else
                    "in train and val" if len({name for name, _ in places}) > 1 else "copies")
            wrong[kind].append(" = ".join(splits[name].images.name(place) for name, place in places))
    return [*_counts(listing), *_sizes(np.concatenate(sizes))], {kind: found for kind, found in wrong.items() if found}


def _read_all(name: str, split: Split, unreadable: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return ((width, height) int64 (n, 2) of the files that can be decoded, the hash of each file or "")."""
    sizes, hashes = np.zeros((len(split), 2), np.int64), [""] * len(split)
    problems = [""] * len(split)

    def read(place: int) -> None:
        path = split.images.path(place)
        try:
            sizes[place] = decode(path).shape[1::-1]
            hashes[place] = hash_of(Path(path))
        except UserError as error:
            problems[place] = split.images.where(place) + str(error)
        bar.update()

    with tqdm(total=len(split), desc=f"reading {name}", unit="img", leave=False, disable=None) as bar:
        for_each(read, len(split))
    unreadable += filter(None, problems)
    return sizes[sizes[:, 0] > 0], hashes


def _counts(listing: Listing) -> list[str]:
    counts = {name: np.bincount(split.labels, minlength=len(listing.classes)) for name, split in parts(listing).items()}
    width = max(map(len, (*listing.classes, "class")))
    lines = ["  ".join([f"{name:{width}}", *(f"{of[label]:8,}" for of in counts.values())])
             for label, name in enumerate(listing.classes)]
    most, least = counts["train"].max(), counts["train"].min()
    return ["  ".join([f"{'class':{width}}", *(f"{name:>8}" for name in counts)]), *lines,
            f"balance: the largest class has {most:,} training pictures, the smallest {least:,}"
            + ("; see --class-weights and --sampling of train.py" if most > 2 * least else "")]


def _sizes(sizes: np.ndarray) -> list[str]:
    return [f"{name}: {of.min():,} to {of.max():,} pixels, median {np.median(of):,.0f}"
            for name, of in zip(("width", "height"), sizes.T, strict=True) if len(of)]


def contact_sheet(listing: Listing) -> Image.Image:
    """Return a row for each of the first SHOWN classes: its name and up to ROW training pictures, evenly out of all."""
    classes = listing.classes[:SHOWN]
    sheet = Image.new("RGB", (SIDE * (ROW + 2), SIDE * len(classes)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, name in enumerate(classes):
        draw.text((6, SIDE * row + SIDE // 2), name[:24], "black", font, anchor="lm")
        places = np.flatnonzero(listing.train.labels == row)
        for column, place in enumerate(places[np.linspace(0, len(places) - 1, min(ROW, len(places))).astype(int)]):
            try:
                image = decode(listing.train.images.path(place), SIDE)
            except UserError:                      # told of already
                continue
            sheet.paste(Image.fromarray(resize(image, SIDE)), (SIDE * (column + 2), SIDE * row))
    return sheet


if __name__ == "__main__":
    with reported(PROGRAM):
        sys.exit(main(sys.argv[1:]))
