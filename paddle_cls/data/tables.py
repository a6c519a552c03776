"""Tables from files: CSV with any of the usual separators, or an Excel workbook, as the text of their cells."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    import pandas

SEPARATORS = ",;\t"
_EXCEL, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def read_cells(table: Path) -> "pandas.DataFrame":
    """Return the cells of a table as text without the spaces around it, "" where a row is shorter; the index: line numbers.

    CSV with commas, semicolons or tabs (whatever the first line has most of), with or without BOM, CRLF and quotes, or .xlsx
    (its first sheet). Lines with nothing in them are left out. attrs["separator"] is that of a CSV. Raises UserError.
    """
    try:
        content = Path(table).read_bytes()
    except OSError as error:
        raise UserError(f"{table}: cannot be read: {error.strerror}") from None
    if content.startswith(_OLD_EXCEL):
        raise UserError(f"{table}: an Excel file of the old kind (.xls) or with a password; save it as .xlsx or CSV")
    frame = _workbook(table, content) if content.startswith(_EXCEL) else _csv(table, content)
    frame.index += 1
    for column in frame.columns:                   # by hand: pandas takes ten times as long over a million rows
        cells = list(map(str, frame[column].to_numpy(object)))
        whole = "\0".join(cells)
        if whole.split(maxsplit=1) != [whole]:     # there is white space
            cells = [cell.strip() for cell in cells]
        frame[column] = texts(cells, frame.index)
    return frame[(frame != "").any(axis=1)]


def texts(values: Sequence[str], index: "pandas.Index") -> "pandas.Series":
    """Return a column of Python's texts: pandas 3 would make it one of its own, slower to go through."""
    import pandas
    return pandas.Series(values, index, dtype=object)


def _workbook(table: Path, content: bytes) -> "pandas.DataFrame":
    import pandas
    try:
        return pandas.read_excel(io.BytesIO(content), header=None, dtype=str, na_filter=False, engine="openpyxl")
    except (ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, SyntaxError,
            zipfile.BadZipFile) as error:          # SyntaxError: broken XML
        raise UserError(f"{table}: broken Excel file ({error})") from None


def _csv(table: Path, content: bytes) -> "pandas.DataFrame":
    import pandas
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise UserError(f"{table}:{line}: not UTF-8; save it as CSV UTF-8") from None
    if b"\0" in content:
        raise UserError(f"{table}: not a text file; save it as CSV UTF-8")
    first = next((line for line in io.BytesIO(content) if line.strip()), b"").decode()
    separator = max(SEPARATORS, key=first.count)
    signs = np.frombuffer(content + b"\n", np.uint8)
    ends, separators = (np.flatnonzero(signs == ord(sign)) for sign in ("\n", separator))
    width = int(np.diff(np.searchsorted(separators, ends), prepend=0).max()) + 1         # of the longest line
    try:
        frame = pandas.read_csv(io.BytesIO(content or b"\n"), sep=separator, header=None, names=range(width), dtype=object,
                                keep_default_na=False, skip_blank_lines=False, index_col=False).fillna("")
    except ValueError as error:                    # ParserError, EmptyDataError
        raise UserError(f"{table}: not a table ({error})") from None
    frame.attrs["separator"] = separator
    return frame


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
