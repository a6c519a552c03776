"""Label tables: CSV with any of the usual separators, or an Excel workbook, checked against the pictures they are about."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError

NAME, LABEL = "imgName", "Label"
_EXCEL, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def read_labels(table: Path, images: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Return ({name of an image: 0 or 1}, what is wrong with the table, each with file and line).

    table: has the columns imgName and Label (in any case) and any others: CSV with commas, semicolons or tabs, with or
    without BOM, CRLF and an index column, or .xlsx (its first sheet). images: names of the files it must be about, each
    exactly once, whatever the case of the letters. With any problem the labels are of no use.
    """
    try:
        rows = _rows(table)
    except UserError as error:
        return {}, [str(error)]
    for row in rows:
        while row and not row[-1]:                 # separators at the line's end
            row.pop()
    lines = [(number, row) for number, row in enumerate(rows, 1) if row]
    if not lines:
        return {}, [f"{table}: the table is empty"]
    first, header = lines.pop(0)
    columns = [name.lower() for name in header]
    problems = [f"{table}:{first}: {columns.count(name.lower()) or 'no'} column{'s' * (name.lower() in columns)} {name!r}; "
                f"found: {', '.join(filter(None, header)) or 'nothing'}"
                for name in (NAME, LABEL) if columns.count(name.lower()) != 1]
    if problems:
        return {}, problems
    if not lines:
        return {}, [f"{table}: the table is empty: it has a header and no rows"]
    width = len(header)
    if all(len(row) == width + 1 for _, row in lines):           # an index column without a name
        columns.insert(0, "")
        width += 1
    name_at, label_at = columns.index(NAME.lower()), columns.index(LABEL.lower())
    return _check(table, lines, images, width, name_at, label_at)


def _check(table: Path, lines: list, images: Iterable[str], width: int, name_at: int,
           label_at: int) -> tuple[dict[str, int], list[str]]:
    files: dict[str, str] = {}
    problems: list[str] = []
    for image in sorted(images):
        if image.lower() in files:
            problems.append(f"{image} and {files[image.lower()]} differ in the case of letters only")
        files[image.lower()] = image
    labels: dict[str, int] = {}
    seen: dict[str, int] = {}
    for number, row in lines:
        where = f"{table}:{number}"
        if len(row) > width:
            problems.append(f"{where}: {len(row)} fields, the header has {width}")
            continue
        row = row + [""] * (width - len(row))
        name, text = row[name_at], row[label_at]
        if not name:
            problems.append(f"{where}: no {NAME}")
            continue
        if name.lower() in seen:
            problems.append(f"{where}: {name} again, first in line {seen[name.lower()]}")
            continue
        seen[name.lower()] = number
        if name.lower() not in files:
            problems.append(f"{where}: there is no image {name}")
        if text not in ("0", "1", "0.0", "1.0"):
            problems.append(f"{where}: label {text!r} of {name} is not 0 or 1" if text else f"{where}: no label of {name}")
        elif name.lower() in files:
            labels[files[name.lower()]] = int(float(text))
    problems += [f"image {image} is not in {table}" for image in files.values() if image.lower() not in seen]
    return labels, problems


def _rows(table: Path) -> list[list[str]]:
    """Return the cells of all rows without the spaces around them; a short row is filled up with empty ones."""
    import pandas
    try:
        content = Path(table).read_bytes()
    except OSError as error:
        raise UserError(f"{table}: cannot be read: {error.strerror}") from None
    if content.startswith(_OLD_EXCEL):
        raise UserError(f"{table}: an Excel file of the old kind (.xls) or with a password; save it as .xlsx or CSV")
    if content.startswith(_EXCEL):
        try:
            frame = pandas.read_excel(io.BytesIO(content), header=None, dtype=str, na_filter=False, engine="openpyxl")
        except (ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, SyntaxError,
                zipfile.BadZipFile) as error:      # SyntaxError: broken XML
            raise UserError(f"{table}: broken Excel file ({error})") from None
        return [[str(cell).strip() for cell in row] for row in frame.itertuples(index=False)]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise UserError(f"{table}:{line}: not UTF-8; save it as CSV UTF-8") from None
    if "\0" in text:
        raise UserError(f"{table}: not a text file; save it as CSV UTF-8")
    lines = text.splitlines() or [""]
    header = next((line for line in lines if line.strip()), "")
    separator = max(",;\t", key=header.count)
    width = max(line.count(separator) for line in lines) + 1
    try:
        frame = pandas.read_csv(io.StringIO("\n".join(lines)), sep=separator, header=None, names=range(width), dtype=str,
                                keep_default_na=False, skip_blank_lines=False, index_col=False)
    except ValueError as error:                    # ParserError, EmptyDataError
        raise UserError(f"{table}: not a table ({error})") from None
    return [[cell.strip() for cell in row] for row in frame.fillna("").itertuples(index=False)]
