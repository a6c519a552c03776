"""Tables and workbooks that somebody made to hurt: one line with file and line, at once, in little memory."""

import io
import os
import struct
import zipfile
from pathlib import Path

import pandas
import pytest
from fake_own import arguments, fashion, pictures, rows, table, write

from paddle_cls.data import spreadsheets
from paddle_cls.data.sets import ichallenge_labels
from paddle_cls.data.sets.table import read_manifest
from paddle_cls.data.spreadsheets import read_cells
from paddle_cls.errors import UserError
from paddle_cls.programs import check_data, train

GOOD = table(*rows("cat", "dog"))
# name: (own/t.csv, what is said)
TABLES = {
    "label 5000 digits": (GOOD + f"cat/9.jpg,{'1' * 5000}\n", "t.csv:10: a label of 5,000 letters; 200 are allowed"),
    "label 1e6 chars": (GOOD + f"cat/9.jpg,{'x' * 10**6}\n", "t.csv:10: a label of 1,000,000 letters; 200 are allowed"),
    "path 1e6 chars": (GOOD + f"{'x' * 10**6},cat\n", "t.csv:10: a path of 1,000,000 letters; 4,096 are allowed"),
    "header only spaces": ("  ,  \n" + GOOD, "t.csv:1: the header names no column; remove this line, or write the names into it"),
    "header only commas": ("\n,,\n" + GOOD, "t.csv:2: the header names no column"),
    "100k commas line": (GOOD + "," * 100_000 + "\n",
                         "t.csv:10: 100,001 fields, more than the 1,000 that are allowed in a table of 11 lines; shorten this"),
    "1e6 commas one line": ("," * 10**6, "t.csv:1: 1,000,001 fields, more than the 1,000"),
    "2000 lines + 20k commas": (GOOD * 250 + "," * 20_000, "t.csv:2251: 20,001 fields, more than the 1,000"),
    "300k lines + 300 commas": ("a,b\n" * 300_000 + "," * 300, "t.csv:300001: 301 fields, more than the 166 that are allowed in"),
    "NUL in a cell": (GOOD + "cat/\0.jpg,cat\n", "t.csv: not a text file; save it as CSV UTF-8"),
    "surrogate in a cell": (GOOD.encode() + b"cat/\xed\xa0\x80.jpg,cat\n", "t.csv:10: not UTF-8; save it as CSV UTF-8"),
    "a path with an escape": (GOOD + "cat/\x1b[2J.jpg,cat\n",
                              r"t.csv:10: the path 'cat/\x1b[2J.jpg' has characters that are no text; correct it"),
    "a label turned around": (GOOD + "cat/9.jpg,c\u202eat\n",
                              r"t.csv:10: the label 'c\u202eat' has characters that are no text; correct it"),
    "a label of two lines": (GOOD + 'cat/9.jpg,"c\nat"\n', r"t.csv:10: the label 'c\nat' has characters that are no text"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_hard_table(name, tmp_path):
    content, message = TABLES[name]
    write(tmp_path, {"t.csv": content, **pictures("cat", "dog")})
    with pytest.raises(UserError) as refused:
        found = read_manifest(table=tmp_path / "t.csv")
        raise UserError("; ".join(found.problems))
    assert str(refused.value).startswith(f"{tmp_path}/{message}") and len(str(refused.value)) < 400
    try:
        told = ichallenge_labels.read_labels(tmp_path / "t.csv", [])[1]       # of iChallenge-PM, through the same door
    except UserError as error:
        pytest.fail(str(error))
    assert told


@pytest.mark.parametrize("make, message", [
    (os.mkfifo, "a FIFO, not a file"), (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"), (Path.mkdir, "a folder, not a file")],
    ids=["fifo", "/dev/zero", "circle", "folder"])
def test_what_is_no_table(make, message, here, refused):
    (here / "own").mkdir()
    make(here / "own/t.csv")
    refused(train, f"^train.py: error: own/t.csv: cannot be read: {message}$",
            *arguments("--table", "own/t.csv", dataset="table"))
    if make != Path.mkdir:                         # check takes folders too
        with pytest.raises(UserError, match=f"^own/t.csv: cannot be read: {message}$"):
            check_data.main(["own/t.csv"])


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    write(tmp_path, {"t.csv": GOOD})
    monkeypatch.setattr(spreadsheets, "MOST_BYTES", 100)
    assert problems(tmp_path / "t.csv") == f"{tmp_path}/t.csv: cannot be read: larger than 100 bytes"


SHEET, TEXTS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"


def workbook(file: Path, change=lambda parts: None) -> Path:
    """Write a workbook of GOOD whose parts {name: content} are changed."""
    pandas.read_csv(io.StringIO(GOOD)).to_excel(file, index=False)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[SHEET], parts[TEXTS] = shared()
    kinds = parts["[Content_Types].xml"].decode()
    if TEXTS not in kinds:                         # openpyxl writes them apart or not, by version
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
        kinds = kinds.replace("</Types>", f'<Override PartName="/{TEXTS}" ContentType="{kind}"/></Types>')
    parts["[Content_Types].xml"] = kinds.encode()
    change(parts)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file


def shared() -> tuple[bytes, bytes]:
    """Return a sheet of GOOD whose cells name their texts by number, as Excel writes it, and the texts."""
    cells = [line.split(",") for line in GOOD.splitlines()]
    texts = list(dict.fromkeys(cell for line in cells for cell in line))
    space = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    lines = "".join(f'<row r="{row}">' + "".join(f'<c r="{"AB"[column]}{row}" t="s"><v>{texts.index(cell)}</v></c>'
                                                 for column, cell in enumerate(line)) + "</row>"
                    for row, line in enumerate(cells, 1))
    return (b"<worksheet %s><sheetData>%s</sheetData></worksheet>" % (space, lines.encode()),
            b"<sst %s>%s</sst>" % (space, "".join(f"<si><t>{text}</t></si>" for text in texts).encode()))


def replaced(part: str, old: bytes, new: bytes):
    def change(parts: dict[str, bytes]) -> None:
        assert old in parts[part]
        parts[part] = parts[part].replace(old, new, 1)
    return change


END = b"</sheetData>"
BOOKS = {
    "far cell": (replaced(SHEET, END, b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>' + END),
                 ":1048576: 16,384 fields, more than the 1,000 that are allowed; shorten the line"),
    "far row": (replaced(SHEET, END, b'<row r="1048576"><c r="A1048576"><v>1</v></c></row>' + END), ":1048576: no label"),
    "huge row number": (replaced(SHEET, b'<row r="9">', b'<row r="99999999999">'),
                        ": broken Excel file (line 99,999,999,999 after line 8)"),
    "row of 5000 digits": (replaced(SHEET, b'<row r="9">', b'<row r="%s">' % (b"9" * 5000)), ": broken Excel file (Exceeds "),
    "rows out of order": (replaced(SHEET, b'<row r="9">', b'<row r="3">'), ": broken Excel file (line 3 after line 8)"),
    "sst index out of range": (replaced(SHEET, b"<v>3</v>", b"<v>99</v>"), ": broken Excel file (a cell names text 99 of 12)"),
    "sst index negative": (replaced(SHEET, b"<v>3</v>", b"<v>-1</v>"), ": broken Excel file (a cell names text -1 of 12)"),
    "sst index text": (replaced(SHEET, b"<v>3</v>", b"<v>x</v>"), ": broken Excel file (invalid literal for int() with "),
    "no sst": (lambda parts: parts.pop(TEXTS), ": broken Excel file ("),
    "no sheet": (lambda parts: parts.pop(SHEET), ": broken Excel file ("),
    "broken XML": (replaced(SHEET, b"</row>", b"</rox>"), ": broken Excel file (mismatched tag: line 1, column "),
    "a million cells": (replaced(SHEET, END, b'<row r="10">' + b"<c/>" * 10**6 + b"</row>" + END),
                        ":10: more cells than the 16,384 that a line has"),
    "large styles": (lambda parts: parts.update({"xl/styles.xml": b" " * (9 << 20)}),
                     ": xl/styles.xml is too large (9,437,184 bytes); save the sheet as CSV"),
    "no text": (replaced(TEXTS, b"<t>cat</t>", "<t>c\u202eat</t>".encode()),
                r":2: the label 'c\u202eat' has characters that are no text; correct it"),
}


def problems(file: Path) -> str:
    """Return all that is said against a table."""
    try:
        return "; ".join(read_manifest(table=file).problems)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("name", BOOKS)
def test_a_hard_workbook(name, tmp_path):
    change, message = BOOKS[name]
    write(tmp_path, pictures("cat", "dog"))
    assert problems(workbook(tmp_path / "good.xlsx")) == ""
    assert problems(workbook(tmp_path / "t.xlsx", change)).startswith(f"{tmp_path}/t.xlsx{message}")


def test_a_workbook_that_tells_wrong_dimensions_is_read_whole(tmp_path):
    write(tmp_path, pictures("cat", "dog"))
    file = workbook(tmp_path / "t.xlsx", replaced(SHEET, b"<sheetData>", b'<dimension ref="A1:B3"/><sheetData>'))
    assert len(read_manifest(table=file).train) == 8
    file = workbook(file, replaced(SHEET, b"<sheetData>", b'<dimension ref="A1:XFD1048576"/><sheetData>'))
    assert len(read_manifest(table=file).train) == 8 and problems(file) == ""


def poked(file: Path, local: int, central: int, value: int) -> None:
    """Set a 2-byte field of the sheet's headers in the archive, at these offsets in its local and its central one."""
    content = bytearray(file.read_bytes())
    for mark, offset, name in ((b"PK\3\4", local, 30), (b"PK\1\2", central, 46)):
        at = content.index(mark)
        while not content[at + name:].startswith(SHEET.encode()):
            at = content.index(mark, at + 1)
        content[at + offset:at + offset + 2] = struct.pack("<H", value)
    file.write_bytes(content)


@pytest.mark.parametrize("local, central, value, message", [
    (6, 8, 1, ": an Excel file with a password; save it without, or as CSV"),
    (8, 10, 99, f": broken Excel file ({SHEET}: packed by method 99, which no .xlsx uses)"),
    (8, 10, 12, f": broken Excel file ({SHEET}: packed by method 12, which no .xlsx uses)"),
    (4, 6, 99, ": broken Excel file (zip file version 9.9)")], ids=["encrypted", "unknown method", "bzip2", "version 9.9"])
def test_a_hard_archive(local, central, value, message, tmp_path):
    file = workbook(tmp_path / "t.xlsx")
    poked(file, local, central, value)
    assert problems(file) == f"{file}{message}"


@pytest.mark.parametrize("place", [0, 5, 30, 100])
def test_flips_in_what_is_deflated(place, tmp_path):
    file = workbook(tmp_path / "t.xlsx")
    content = bytearray(file.read_bytes())
    start = content.index(SHEET.encode()) + len(SHEET)
    content[start + place] ^= 0xFF
    file.write_bytes(content)
    assert problems(file).startswith(f"{file}: broken Excel file (")


def test_a_table_without_memory_for_it(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError
    monkeypatch.setattr(pandas, "read_csv", fail)
    assert problems(write(tmp_path, {"t.csv": GOOD}) / "t.csv") == (
        f"{tmp_path}/t.csv: too little memory is free to read it; free some, or make the table smaller")


def test_a_signs_of_private_use_stay(tmp_path):
    write(tmp_path, {"t.csv": 'path,label\n"\ue000a ",b\n'})
    assert read_cells(tmp_path / "t.csv")[0].tolist() == ["path", "\ue000a"]


@pytest.mark.parametrize("letters, message", [
    ("mm", "t.csv:1: 'mm' is not 2 letters, one y and the others n or m"),
    ("n" * 10**6, "t.csv:1: a label of 1,000,000 letters")], ids=["all m", "1e6 n"])
def test_a_fashionai_table_without_an_answer(letters, message, tmp_path):
    fashion(tmp_path, {"a": 2}, count=2)
    write(tmp_path, {"t.csv": f"Images/a/0000.jpg,a,{letters}\nImages/a/0001.jpg,a,{letters}\n"})
    assert problems(tmp_path / "t.csv").startswith(f"{tmp_path}/{message}")
    with pytest.raises(UserError, match=f"problems: {tmp_path}/t.csv:1: "):
        check_data.main([str(tmp_path / "t.csv"), "--sheet", str(tmp_path / "sheet.png")])
