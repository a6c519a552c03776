"""`table`: pictures of one's own, listed in a table with their labels; also in the form of the FashionAI contest."""

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError, report_all, unknown
from ..dataset import Data
from ..images.files import ImageFiles
from ..manifest import Manifest, in_order, to_data
from ..reader import Split
from ..spreadsheets import read_cells, split_header, strange_cells, texts
from .fashion import is_fashion, task_lines

if TYPE_CHECKING:
    import pandas

# What the columns may be called, in any case; --columns names others.
PATH = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name", "imgname", "img",
        "picture")
LABEL = ("label", "class", "category", "target", "label_name", "class_name")
SPLIT = ("split", "set", "subset", "partition")
PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
         "test": "test", "testing": "test"}

# Forms without a header, each known by its look: whether cells have it, and what makes (lines, classes) of them.
FORMS = ((is_fashion, task_lines),)


def dataset(*, root: Path | None = None, image_size: int | None = None, val: bool = True, table: Path | None = None,
            val_table: Path | None = None, task: str | None = None, columns: str | None = None) -> Data:
    """Return the data set of a table, after a check of every file (`files.survey`). Raises one UserError for all mistakes.

    As `read_manifest` finds it; image_size: as in `manifest.to_data`.
    """
    return to_data(read_manifest(root=root, val=val, table=table, val_table=val_table, task=task, columns=columns), image_size)


def read_manifest(*, root: Path | None = None, val: bool = True, table: Path | None = None, val_table: Path | None = None,
                  task: str | None = None, columns: str | None = None) -> Manifest:
    """Return what `table` lists (see `spreadsheets.read_cells` for its kinds): a path and a label in each line, in any order.

    root: the folder that paths are relative to; None: that of the table. Columns are found by their names (PATH, LABEL and,
    if there is one, SPLIT), or named in `columns`, "FILE,LABEL" or "FILE,LABEL,SPLIT". Labels are names, or whole numbers;
    classes are sorted (`in_order`). To validate on: the lines of SPLIT "val" (else "test"), or those of `val_table`; without
    both, or with val=False, there is no validation split.

    A table of the FashionAI form is known by its look (see `fashion`); task: which of its tasks. Raises UserError where there
    is nothing to list; other mistakes are in the Manifest.
    """
    if table is None:
        raise UserError("--table: which table? Name a CSV, TSV or .xlsx file that lists pictures and their labels")
    root = Path(table).parent if root is None else Path(root)
    problems: list[str] = []
    notes: list[str] = []
    train, classes = _lines(table, task, columns, problems, notes)
    train = _normal(root, train)
    judged = None
    if val_table is not None:
        if "split" in train:
            raise UserError(f"--val-table {val_table}: {table} tells the split of each line; leave out one of the two")
        judged = _normal(root, _lines(val_table, task, columns, problems, notes)[0])
    elif "split" in train:
        parts = train["split"]
        part = "val" if (parts == "val").any() else "test"
        if part == "val" and (parts == "test").any():
            notes.append(f"{table}: the {(parts == 'test').sum():,} lines of the split test are not used")
        judged = train[parts == part] if (parts == part).any() else None
        train = train[parts == "train"]
    both = [train] if judged is None or not val else [train, judged]
    problems += _twice(both)
    _check_root(root, both)
    labels = classes or in_order(train["label"].unique().tolist())
    problems += _class_problems(train, labels)
    if labels and judged is not None and len(both) > 1:
        at = both[1].attrs["table"]
        problems += [f"{at}:{line}: label {label!r} is not among those to train on: {', '.join(labels)}"
                     for line, label in judged["label"][~judged["label"].isin(labels)].items()]
        if missing := [name for name in labels if name not in set(judged["label"])]:
            notes.append(f"no validation picture of {', '.join(missing)}")
    number = {label: place for place, label in enumerate(labels)}
    splits = [Split(ImageFiles(root, lines["path"].tolist(), table=lines.attrs["table"], lines=lines.index),
                    lines["label"].map(number).fillna(0)) for lines in both]
    return Manifest(splits[0], splits[1] if len(both) > 1 else None, tuple(labels), problems, notes)


def _lines(table: Path, task: str | None, columns: str | None, problems: list[str],
           notes: list[str]) -> tuple["pandas.DataFrame", list[str]]:
    """Return (the columns path, label and perhaps split of a table, the classes if the table's form tells them).

    attrs["table"] is the table. Lines with a mistake are left out, and added to `problems`.
    """
    cells = read_cells(table)
    classes: list[str] = []
    form = next((lines_of for fits, lines_of in FORMS if fits(cells)), None)
    if form:
        lines, classes = form(table, cells, task, problems, notes)
    elif task is not None:
        raise UserError(f"--task {task}: {table} has no tasks; leave out --task")
    else:
        lines = _columns(table, cells, columns, problems)
    for name in ("path", "label"):
        if strange := strange_cells(table, name, lines[name]):
            problems += strange.values()
            lines = lines[~lines.index.isin(strange)]
    whole = {label: label.partition(".")[0] for label in set(lines["label"]) if re.fullmatch(r"\d+(\.0+)?", label)}
    if whole and len(whole) == len(set(lines["label"])):         # 1.0 is Excel's and pandas' way to write a whole number
        lines = lines.assign(label=lines["label"].map(whole))
    for name in lines:
        if "" in lines[name].tolist():
            empty = lines[name] == ""
            problems += [f"{table}:{line}: no {name}" for line in lines.index[empty]]
            lines = lines[~empty]
    if "split" in lines:
        parts = lines["split"].str.lower()
        problems += [f"{table}:{line}: {unknown('split', text, PARTS)}" for line, text in parts[~parts.isin(PARTS)].items()]
        lines = lines.assign(split=parts.map(PARTS))
    lines.attrs["table"] = table
    return lines, classes


def _normal(root: Path, lines: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return the lines with one spelling of each path: / between its parts, unless a file has just that name with a \\."""
    every = "\0".join(lines["path"].tolist())
    if not any(sign in every for sign in ("\\", "./", "//")):
        return lines
    paths = [path if "\\" in path and os.path.lexists(root / path) else posixpath.normpath(path.replace("\\", "/"))
             for path in lines["path"]]
    return lines.assign(path=texts(paths, lines.index))


def _columns(table: Path, cells: "pandas.DataFrame", columns: str | None, problems: list[str]) -> "pandas.DataFrame":
    """Return the columns path, label and, if it is there, split of a table with a header. Raises UserError without them."""
    header, body = split_header(table, cells, problems)
    names = [name.lower() for name in header]
    given = [[name.strip().lower()] for name in columns.split(",")] if columns else [PATH, LABEL, SPLIT]
    if not 2 <= len(given) <= 3:
        raise UserError(f"--columns {columns}: name two or three columns: FILE,LABEL or FILE,LABEL,SPLIT")
    places, missing = {}, []
    for what, known in zip(("path", "label", "split"), given, strict=False):
        found = [place for place, name in enumerate(names) if name in known]
        if len(found) == 1:
            places[what] = found[0]
        elif found or columns or what != "split":
            seen = ", ".join(filter(None, header))
            missing.append(f"{table}:{cells.index[0]}: {len(found) or 'no'} columns for the {what} ({', '.join(known)}) among: "
                           f"{seen}; name them with --columns FILE,LABEL")
    report_all(missing)
    return body[list(places.values())].set_axis(list(places), axis=1)


def _twice(both: list["pandas.DataFrame"]) -> list[str]:
    """Return a problem for each line whose path another before it has."""
    import pandas
    paths = pandas.concat([lines["path"] for lines in both])
    again = paths.duplicated().to_numpy()
    if not again.any():
        return []
    places = np.concatenate([lines.index for lines in both])
    tables = np.repeat([str(lines.attrs["table"]) for lines in both], [len(lines) for lines in both])
    first = dict(zip(paths[::-1], range(len(paths) - 1, -1, -1), strict=True))
    return [f"{tables[place]}:{places[place]}: {path} again, first in {tables[first[path]]}:{places[first[path]]}"
            for place, path in zip(np.flatnonzero(again), paths[again], strict=True)]


def _check_root(root: Path, both: list["pandas.DataFrame"]) -> None:
    """Raise UserError if not one of the first hundred pictures is there: `root` is the wrong folder."""
    for lines in both:
        some = lines["path"].iloc[:100]
        if len(some) > 1 and not any(os.path.exists(root / path) for path in some):
            raise UserError(f"{lines.attrs['table']}: there is no {root / some.iloc[0]}, nor any other of its first pictures; "
                            f"name the folder that the paths begin in with --data-dir")


def _class_problems(lines: "pandas.DataFrame", labels: list[str]) -> list[str]:
    table, found = lines.attrs["table"], lines["label"].drop_duplicates()
    problems = [f"{table}: no picture to train on of class {name!r}" for name in labels if name not in set(found)]
    if len(labels) < 2:
        problems.append(f"{table}: {f'all pictures have the label {labels[0]!r}' if labels else 'no picture to train on'}; two "
                        f"classes or more are needed")
    numbers = found.str.fullmatch(r"\d+")
    if numbers.any() and not numbers.all():
        problems += [f"{table}:{line}: label {label!r} is a number, where others are names such as {found[~numbers].iloc[0]!r}"
                     for line, label in found[numbers].items()]
    alike = found[found.str.lower().duplicated()]
    return problems + [f"{table}:{line}: label {label!r} differs in the case of letters only from another" for line, label
                       in alike.items()]
