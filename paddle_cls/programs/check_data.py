"""Look closely at pictures of one's own: paddle-cls check FOLDER_OR_TABLE

Tells counts, sizes and balance of the classes, decodes every file, finds copies (in train and val, under two labels), and
draws a contact sheet. A training does the quick part of it first (`images.files.survey`). Exit status 1 if something is wrong.
"""

import argparse
import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

from ..data import SHARE, quality
from ..data.manifest import Manifest, pictures_of
from ..data.sets import folder, table
from ..data.splits import hold_out, read
from ..errors import UserError, printable, report_all
from ..system.files import write_bytes, writing
from .settings.command_line import Parser

PROGRAM = "python -m paddle_cls.data.check"
SHOWN = 20                                         # problems of a kind that are listed


def main(argv: Sequence[str]) -> int:
    """Print what there is to say; return the exit status."""
    parser = Parser(prog=PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="a folder as --data-dir of train.py, or a table as --table")
    parser.add_argument("--data-dir", type=Path, help="folder that a table's paths begin in (default: the table's)")
    for flag in ("--val-table", "--columns", "--task", "--val-split"):
        parser.add_argument(flag, help="as in train.py")
    parser.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"), help="file of the contact sheet, a PNG "
                        "(default: %(default)s)")
    options = parser.parse_args(argv)
    if options.val_split is not None:
        read(options.val_split, "--val-split")
    check_sheet(options.sheet)
    manifest, drawn = listed(options)
    _refuse_input(options, manifest)
    lines, wrong = quality.findings(manifest)
    print(f"{options.path}: {sum(map(len, quality.splits_of(manifest).values())):,} pictures of {len(manifest.classes)} classes"
          + (f", {options.val_split or SHARE} of them drawn to validate on" if drawn else ""))
    print(*map(printable, [*manifest.notes, *lines]), sep="\n")
    out = io.BytesIO()
    quality.contact_sheet(manifest).save(out, "PNG")
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


def _refuse_input(options: argparse.Namespace, manifest: Manifest) -> None:
    if not options.sheet.exists():
        return
    images = (pictures_of(split).path(place) for split in quality.splits_of(manifest).values() for place in range(len(split)))
    for path in (options.path, *([options.val_table] if options.val_table else []), *images):
        if os.path.exists(path) and os.path.samefile(options.sheet, path):
            raise UserError(f"--sheet {options.sheet}: is one of the files to check; name another file")


def listed(options: argparse.Namespace) -> tuple[Manifest, bool]:
    """Return (what the place lists, whether its validation split was drawn now). Raises UserError if it lists nothing."""
    if options.path.is_dir():
        given = [f"--{name.replace('_', '-')}" for name in ("data_dir", "val_table", "columns", "task") if vars(options)[name]]
        if given:
            raise UserError(f"{given[0]}: goes with a table, and {options.path} is a folder")
        manifest = folder.read_manifest(root=options.path, val=options.val_split is None)
    else:
        manifest = table.read_manifest(root=options.data_dir, val=options.val_split is None, table=options.path,
                                       val_table=options.val_table, columns=options.columns, task=options.task)
    if not manifest.classes or not len(manifest.train):
        report_all(manifest.problems)              # there is nothing to look at
        raise UserError(f"{options.path}: no picture to train on")
    if manifest.val is not None:
        return manifest, False
    try:
        train, val = hold_out(manifest.train, options.val_split or SHARE, "--val-split", manifest.classes)
    except UserError as error:
        manifest.problems.append(str(error))
        return manifest, False
    return dataclasses.replace(manifest, train=train, val=val), True
