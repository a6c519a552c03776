"""Tables from files: CSV with any of the usual separators, or an Excel workbook, as the text of their cells."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError, printable
from ..system.files import read_bytes
from . import workbook

if TYPE_CHECKING:
    import pandas

SEPARATORS = ",;\t"
MOST_BYTES = 512 << 20                             # of a file; a million lines take some 100 MB
MOST_COLUMNS = 1000
MOST_CELLS = 50_000_000                            # columns of the longest line times lines: what lies in memory
MOST_LETTERS = 200                                 # of a label, MOST_PATH of a path
MOST_PATH = 4096
_EXCEL, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_KEPT = "\ue000"                                   # a sign of private use: stands before spaces that stay


def read_cells(table: Path) -> "pandas.DataFrame":
    """Return the cells of a table as text without the spaces around it, "" where a row is shorter; the index: line numbers.

    CSV with commas, semicolons or tabs (whatever the first line has most of), with or without BOM, CRLF and quotes, or .xlsx
    (its first sheet). Spaces inside quotes stay. Lines with nothing in them are left out. attrs["separator"] is that of a CSV.
    Raises UserError, before much memory is taken, also for a table with more than MOST_COLUMNS or MOST_CELLS.
    """
    try:
        content = read_bytes(table, MOST_BYTES)
    except (OSError, ValueError) as error:         # ValueError: a byte of zeros in the path
        raise UserError(f"{table}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if content.startswith(_OLD_EXCEL):
        raise UserError(f"{table}: an Excel file of the old kind (.xls) or with a password; save it as .xlsx or CSV")
    try:
        read = next((read for start, read in READERS.items() if content.startswith(start)), _csv)
        frame = read(table, content)
        return _stripped(frame)
    except MemoryError:
        raise UserError(f"{table}: too little memory is free to read it; free some, or make the table smaller") from None


def _stripped(frame: "pandas.DataFrame") -> "pandas.DataFrame":
    for column in frame.columns:                   # by hand: pandas takes ten times as long over a million rows
        cells = list(map(str, frame[column].to_numpy(object)))
        whole = "\0".join(cells)
        if whole.split(maxsplit=1) != [whole]:     # there is white space
            cells = [cell.strip() for cell in cells]
        if frame.attrs.get("kept"):
            cells = [cell.replace(_KEPT, "") for cell in cells]
        frame[column] = texts(cells, frame.index)
    return frame[(frame != "").any(axis=1)]


def texts(values: Sequence[str], index: "pandas.Index") -> "pandas.Series":
    """Return a column of Python's texts: pandas 3 would make it one of its own, slower to go through."""
    import pandas
    return pandas.Series(values, index, dtype=object)


def _workbook(table: Path, content: bytes) -> "pandas.DataFrame":
    import pandas
    lines = workbook.read(table, content, MOST_COLUMNS, MOST_CELLS)
    width = max(map(len, lines.values()), default=0)
    columns = {column: [cells[column] if column < len(cells) else "" for cells in lines.values()] for column in range(width)}
    return pandas.DataFrame(columns, index=pandas.Index(lines, dtype="int64"), dtype=object)


def _csv(table: Path, content: bytes) -> "pandas.DataFrame":
    import pandas
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise UserError(f"{table}:{line}: not UTF-8; save it as CSV UTF-8") from None
    if b"\0" in content:
        raise UserError(f"{table}: not a text file; save it as CSV UTF-8")
    first = next((line for line in io.BytesIO(content) if line.strip()), b"").decode()
    separator = max(SEPARATORS, key=first.count)
    signs = np.frombuffer(content + b"\n", np.uint8)
    ends, separators = (np.flatnonzero(signs == ord(sign)) for sign in ("\n", separator))
    widths = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
    check_size(table, int(widths.argmax()) + 1, int(widths.max()), len(widths))
    kept = '"' in text and _KEPT not in text
    if kept:                                       # spaces inside quotes
        text = re.sub(rf'(?:(?<=^)|(?<=[\n{separator}]))"(?=[^\S\n])', f'"{_KEPT}', text)
        content = re.sub(rf'(?<=[^\S\n])"(?=[\n{separator}]|$)', f'{_KEPT}"', text).encode()
    try:
        frame = pandas.read_csv(io.BytesIO(content or b"\n"), sep=separator, header=None, names=range(widths.max()), dtype=object,
                                keep_default_na=False, skip_blank_lines=False, index_col=False).fillna("")
    except (ValueError, OverflowError) as error:   # ParserError, EmptyDataError
        raise UserError(f"{table}: not a table ({error})") from None
    frame.index += 1
    frame.attrs.update(separator=separator, kept=kept)
    rest = content.lstrip(b"\n")
    if not first.strip(SEPARATORS + " \n") and rest.strip(SEPARATORS.encode() + b" \n"):
        line = len(content) - len(rest) + 1
        raise UserError(f"{table}:{line}: the header names no column; remove this line, or write the names into it")
    return frame


# first bytes of a file: what reads it; a file that begins otherwise is CSV
READERS: dict[bytes, Callable[[Path, bytes], "pandas.DataFrame"]] = {_EXCEL: _workbook}


def check_size(table: Path, line: int, width: int, lines: int) -> None:
    """Raise UserError if a table of `lines` lines, of which line number `line` has the most fields, `width`, is too large."""
    most = min(MOST_COLUMNS, MOST_CELLS // max(1, lines))
    if width > most:
        raise UserError(f"{table}:{line}: {width:,} fields, more than the {most:,} that are allowed in a table of {lines:,} "
                        f"lines; shorten this line")


def strange_cells(table: Path, what: str, cells: "pandas.Series") -> dict[int, str]:
    """Return {line: problem} of the cells (paths, labels) that are too long or hold what is no text. what: they are."""
    most = MOST_PATH if what == "path" else MOST_LETTERS
    values = cells.tolist()
    if max(map(len, values), default=0) <= most and printable(whole := "".join(values)) == whole:         # nearly always
        return {}
    problems = {}
    for line, text in zip(cells.index, values, strict=True):
        if len(text) > most:
            problems[line] = f"{table}:{line}: a {what} of {len(text):,} letters; {most:,} are allowed"
        elif printable(text) != text:
            problems[line] = f"{table}:{line}: the {what} {text!a} has characters that are no text; correct it"
    return problems


def split_header(table: Path, cells: "pandas.DataFrame", problems: list[str]) -> tuple[list[str], "pandas.DataFrame"]:
    """Return (the names of the columns, "" where one has none; the lines below, a column for each) of `read_cells`.

    An index column may lack its name. Lines that are too long, or separated by other signs than the first, are left out and
    added to `problems`. Raises UserError where there is no line.
    """
    if not len(cells):
        raise UserError(f"{table}: the table is empty")
    body = cells.iloc[1:]
    if not len(body):
        raise UserError(f"{table}: the table is empty: it has a header and no rows")
    header = cells.iloc[0].tolist()
    while header[-1] == "":                        # separators at the line's end
        header.pop()
    width = len(header)
    lengths = ((body != "") * range(1, body.shape[1] + 1)).max(axis=1)
    if (lengths == width + 1).all():
        header.insert(0, "")
        width += 1
    separator = cells.attrs.get("separator", SEPARATORS)
    others = "".join(set(SEPARATORS) - set(separator))
    alone = body[0][lengths == 1]
    mixed = lengths.index.isin(alone.index[[any(sign in cell for sign in others) for cell in alone]]) & (width > 1)
    problems += [f"{table}:{line}: {length} fields, the header has {width}" for line, length in lengths[lengths > width].items()]
    problems += [f"{table}:{line}: not separated by {separator!r}, as the first line is" for line in body.index[mixed]]
    return header, body.loc[~mixed & (lengths <= width), range(width)]
