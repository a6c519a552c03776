"""Excel workbooks (.xlsx): the text of the first sheet's cells, after a look at what would be taken from the file."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from ..errors import UserError, printable

MOST_LINES = 1_048_576                             # Excel's own limit
_MOST_TEXT = 512 << 20                             # bytes of all sheets and texts, unpacked
_MOST_REST = 8 << 20                               # bytes of any other part (styles, names), which is held whole as a tree
_MOST_ELEMENTS = 100_000                           # in a line of a sheet, or in one text


def read(table: Path, content: bytes, most_columns: int, most_cells: int) -> dict[int, list[str]]:
    """Return {line number: text of its cells} of the first sheet of a workbook, without lines that have none.

    A formula gives its last result, a whole number no fraction. Raises UserError for a file that is broken, has a password,
    or would take too much memory.
    """
    from openpyxl import load_workbook
    try:
        _check(table, content)
        with warnings.catch_warnings():            # of styles and extensions that openpyxl leaves out
            warnings.simplefilter("ignore")
            book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()               # what the file tells of them may be wrong
            sheet._shared_strings = _Texts(sheet._shared_strings)
            return _lines(table, sheet, most_columns, most_cells)
    except (UserError, MemoryError):
        raise
    except Exception as error:                     # in a broken file openpyxl, zlib and expat can fail in any way
        what = printable(" ".join(str(error).split()))[:200] or type(error).__name__
        raise UserError(f"{table}: broken Excel file ({what})") from None


class _Texts(list[str]):
    """The texts that cells name by their number. Unlike in a list, none is before the first."""

    def __getitem__(self, place: int) -> str:      # type: ignore[override]  # openpyxl asks for no slice
        if not 0 <= place < len(self):
            raise IndexError(f"a cell names text {place} of {len(self)}")
        return super().__getitem__(place)


def _lines(table: Path, sheet: Any, most_columns: int, most_cells: int) -> dict[int, list[str]]:
    lines, width = {}, 0
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > MOST_LINES:
            raise UserError(f"{table}:{number}: more than the {MOST_LINES:,} lines that a sheet has")
        cells = [_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        lines[number], width = cells, max(width, len(cells))
        most = min(most_columns, most_cells // len(lines))
        if width > most:
            raise UserError(f"{table}:{number}: {len(cells):,} fields, more than the {most:,} that are allowed; shorten the line")
    return lines


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check(table: Path, content: bytes) -> None:
    """Read the whole archive, part by part. Raises UserError for what is too large, and whatever zipfile and expat raise."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        total = 0
        for part in archive.infolist():
            large = part.filename.lower().startswith(("xl/worksheets/", "xl/sharedstrings"))
            if part.flag_bits & 1:
                raise UserError(f"{table}: an Excel file with a password; save it without, or as CSV")
            if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"{part.filename}: packed by method {part.compress_type}, which no .xlsx uses")
            total += part.file_size
            if total > _MOST_TEXT or (not large and part.filename.endswith((".xml", ".rels")) and part.file_size > _MOST_REST):
                raise UserError(f"{table}: {part.filename} is too large ({part.file_size:,} bytes); save the sheet as CSV")
            with archive.open(part) as file:
                _scan(table, file) if large and part.filename.endswith(".xml") else file.read()


def _scan(table: Path, file: IO[bytes]) -> None:
    """Go through a sheet or the texts, without a tree: no line may be out of order, or hold more than Excel could."""
    count = last = 0

    def start(name: str, about: dict[str, str]) -> None:
        nonlocal count, last
        count += 1
        kind = name.rpartition(":")[2]
        if kind == "row":
            number = int(about.get("r", last + 1))
            if not last < number <= MOST_LINES:
                raise UserError(f"{table}: broken Excel file (line {number:,} after line {last:,})")
            count, last = 0, number
        elif kind == "si":
            count = 0
        elif count > _MOST_ELEMENTS:
            raise UserError(f"{table}:{last}: more cells than the 16,384 that a line has")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.ParseFile(file)
