"""Label tables and folders: the ways in which they are written, and 30 ways in which they are broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from conftest import ROOT
from fake_palm import HEADER, LABELS, NAMES, ROWS, picture, text, train_in_process, write_palm

from paddle_cls.data.sets.ichallenge_labels import read_labels
from paddle_cls.errors import UserError, report_all
from paddle_cls.system.entry import reported


def frame(rows=ROWS) -> pandas.DataFrame:
    """Return a table as the organisers' workbook holds it."""
    return pandas.DataFrame(rows, columns=list(HEADER))


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Return the root of a tiny iChallenge-PM without a mistake, in a folder with an empty cache."""
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    return write_palm(tmp_path / "data")


GOOD = {
    "the tutorial's": text().encode(),
    "BOM and CRLF": text(end="\r\n").encode("utf-8-sig"),
    "BOM before the name": text([(n, v) for _, n, v, *_ in ROWS], header=("imgName", "Label")).encode("utf-8-sig"),
    "semicolons and decimal commas": text([(i, n, v, "10,5", "99,25") for i, n, v, *_ in ROWS], separator=";").encode(),
    "tabs": text(separator="\t").encode(),
    "spaces": text([(i, f" {n} ", f" {v} ", x, y) for i, n, v, x, y in ROWS], header=[f" {h} " for h in HEADER]).encode(),
    "names in other case": text([(i, n.upper(), v, x, y) for i, n, v, x, y in ROWS]).encode(),
    "header in other case": text(header=("id", "IMGNAME", "label", "x", "y")).encode(),
    "only the two columns, turned round": text([(v, n) for _, n, v, *_ in ROWS], header=("Label", "imgName")).encode(),
    "a named index column": text([(i, *row) for i, row in enumerate(ROWS)], header=("Unnamed: 0", *HEADER)).encode(),
    "an empty name of the index column": frame().to_csv().encode(),
    "no name of the index column": text([(i, *row) for i, row in enumerate(ROWS)]).encode(),
    "separators at the ends of lines": text([(*row, "", "") for row in ROWS]).encode(),
    "labels as 1.0": text([(i, n, float(v), x, y) for i, n, v, x, y in ROWS]).encode(),
    "quotes": text([(i, f'"{n}"', f'"{v}"', x, y) for i, n, v, x, y in ROWS]).encode(),
    "empty lines": text().replace("\n", "\n\n").encode(),
    "no line end at the end": text().strip().encode(),
    "old Mac line ends": text(end="\r").encode(),
    "other order": text(ROWS[::-1]).encode(),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_table_is_read(name, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_bytes(GOOD[name])
    assert read_labels(table, NAMES) == (LABELS, [])


@pytest.mark.parametrize("name", ["PM_Label_and_Fovea_Location.xlsx", "labels.csv"])
def test_the_organisers_workbook_is_read_whatever_its_name(name, tmp_path):
    frame().to_excel(tmp_path / "x.xlsx", index=False)
    shutil.move(tmp_path / "x.xlsx", tmp_path / name)
    assert read_labels(tmp_path / name, NAMES) == (LABELS, [])


def _table(content: str | bytes):
    def change(root: Path) -> None:
        (root / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return change


def _rows(change):
    rows = [list(row) for row in ROWS]
    change(rows)
    return _table(text(rows))


def _workbook(rows):
    def change(root: Path) -> None:
        (root / "labels.csv").unlink()
        frame(rows).to_excel(root / "PM_Label_and_Fovea_Location.xlsx", index=False)
    return change


def _do(*actions):
    return lambda root: [action(root) for action in actions]


def _delete(name: str):
    return lambda root: (root / name).unlink() if (root / name).is_file() else shutil.rmtree(root / name)


def _write(name: str, content: bytes):
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return change


TABLE, TRAIN, VAL = "{root}/labels.csv", "{root}/PALM-Training400", "{root}/PALM-Validation400"
KINDS = "(.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm)"
NO_PICTURE = "not a picture, or a kind that Pillow cannot read"
# name: (what is done to the good data, every problem that must be listed)
BROKEN = {
    "no table": (_delete("labels.csv"), [f"{TABLE}: cannot be read: No such file or directory"]),
    "an empty file": (_table(""), [f"{TABLE}: the table is empty"]),
    "only empty lines": (_table("\n \n,,\n"), [f"{TABLE}: the table is empty"]),
    "a header and no rows": (_table(text([])), [f"{TABLE}: the table is empty: it has a header and no rows"]),
    "no header": (_table(text(ROWS[1:], header=ROWS[0])), [
        f"{TABLE}:1: no column 'imgName'; found: 1, V0001.jpg, 0, 10.5, 99.25",
        f"{TABLE}:1: no column 'Label'; found: 1, V0001.jpg, 0, 10.5, 99.25"]),
    "no label column": (_table(text([(n,) for n in NAMES], header=("imgName",))), [
        f"{TABLE}:1: no column 'Label'; found: imgName"]),
    "two name columns": (_table(text([(n, n, 0) for n in NAMES], header=("imgName", "ImgName", "Label"))), [
        f"{TABLE}:1: 2 columns 'imgName'; found: imgName, ImgName, Label"]),
    "a duplicate": (_rows(lambda r: r.append(r[1])), [f"{TABLE}:6: V0002.jpg again, first in line 3"]),
    "a duplicate in other case": (_rows(lambda r: r.append([5, "v0002.JPG", 0, 1, 1])), [
        f"{TABLE}:6: v0002.JPG again, first in line 3"]),
    "an image too few": (_delete("PALM-Validation400/V0003.jpg"), [f"{TABLE}:4: there is no image V0003.jpg"]),
    "an image too many": (lambda root: picture(root / "PALM-Validation400/V0009.jpg"), [
        f"image V0009.jpg is not in {TABLE}"]),
    "a label of 2": (_rows(lambda r: r[2].__setitem__(2, 2)), [f"{TABLE}:4: label '2' of V0003.jpg is not 0 or 1"]),
    "a label of 0.5": (_rows(lambda r: r[2].__setitem__(2, 0.5)), [f"{TABLE}:4: label '0.5' of V0003.jpg is not 0 or 1"]),
    "a label in words": (_rows(lambda r: r[0].__setitem__(2, "yes")), [
        f"{TABLE}:2: label 'yes' of V0001.jpg is not 0 or 1"]),
    "nan for a label": (_rows(lambda r: r[0].__setitem__(2, "nan")), [
        f"{TABLE}:2: label 'nan' of V0001.jpg is not 0 or 1"]),
    "no label": (_rows(lambda r: r[0].__setitem__(2, "")), [f"{TABLE}:2: no label of V0001.jpg"]),
    "no name": (_rows(lambda r: r.append([5, "", 1, 1, 1])), [f"{TABLE}:6: no imgName"]),
    "a short line": (_table(text().replace("3,V0003.jpg,1,31.5,99.25", "3,V0003.jpg")), [
        f"{TABLE}:4: no label of V0003.jpg"]),
    "a long line": (_table(text() + "5,V0004.jpg,0,1,1,1\n"), [f"{TABLE}:6: 6 fields, the header has 5"]),
    "an empty line before a mistake": (_table(text().replace("\n4,V0004.jpg,0", "\n\n4,V0004.jpg,7")), [
        f"{TABLE}:6: label '7' of V0004.jpg is not 0 or 1"]),
    "not UTF-8": (_table(text([*ROWS, (5, "Größe.jpg", 1, 1, 1)]).encode("latin-1")), [
        f"{TABLE}:6: not UTF-8; save it as CSV UTF-8"]),
    "UTF-16": (_table(text().encode("utf-16")), [f"{TABLE}:1: not UTF-8; save it as CSV UTF-8"]),
    "zeros": (_table(b"\0" * 100), [f"{TABLE}: not a text file; save it as CSV UTF-8"]),
    "an old Excel file": (_table(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600), [
        f"{TABLE}: an Excel file of the old kind (.xls) or with a password; save it as .xlsx or CSV"]),
    "a broken workbook": (_table(b"PK\x03\x04 and nothing more"), [
        f"{TABLE}: broken Excel file (File is not a zip file)"]),
    "a workbook with mistakes": (_workbook([*ROWS[:2], (3, "V0003.jpg", 3, 1, 1), (4, "V0005.jpg", 1, 1, 1)]), [
        "{root}/PM_Label_and_Fovea_Location.xlsx:4: label '3' of V0003.jpg is not 0 or 1",
        "{root}/PM_Label_and_Fovea_Location.xlsx:5: there is no image V0005.jpg",
        "image V0004.jpg is not in {root}/PM_Label_and_Fovea_Location.xlsx"]),
    "an open quote": (_table(text().replace(",V0003", ',"V0003')), [
        f"{TABLE}: not a table (Error tokenizing data. C error: EOF inside string starting at row 3)"]),
    "no training folder": (_delete("PALM-Training400"), [f"{TRAIN}: no such folder"]),
    "no validation folder": (_delete("PALM-Validation400"), [f"{VAL}: no such folder"]),
    "an empty training folder": (_do(_delete("PALM-Training400"), lambda root: (root / "PALM-Training400").mkdir()), [
        f"{TRAIN}: the folder is empty"]),
    "a training file of an unknown letter": (lambda root: picture(root / "PALM-Training400/X0001.jpg"), [
        f"{TRAIN}/X0001.jpg: the first letter of a training photograph's name must be P (pathologic), H or N (not)"]),
    "no picture among them": (_write("PALM-Training400/notes.txt", b"?"), [
        f"{TRAIN}/notes.txt: not a picture {KINDS}; move it elsewhere"]),
    "unreadable photographs in both": (_do(_write("PALM-Training400/P0001.jpg", b"hello"),
                                           _write("PALM-Validation400/V0002.jpg", b""),
                                           _write("PALM-Validation400/V0004.jpg", b"\xff\xd8\xff\xe0 cut")), [
        f"{TRAIN}/P0001.jpg: {NO_PICTURE}", f"{VAL}/V0002.jpg: the file is empty",
        f"{VAL}/V0004.jpg: cannot be read: Truncated File Read"]),
    "one label only": (_rows(lambda r: [row.__setitem__(2, 1) for row in r]), [
        f"{VAL}: all 4 photographs have label 1; both labels are needed"]),
    "everything at once": (_do(
        _rows(lambda r: (r[0].__setitem__(2, "x"), r.append(r[1]), r[2].__setitem__(1, "V0007.jpg"))),
        _write("PALM-Training400/P0001.jpg", b"hello"), lambda root: picture(root / "PALM-Training400/X1.jpg")), [
        f"{TRAIN}/X1.jpg: the first letter of a training photograph's name must be P (pathologic), H or N (not)",
        f"{TABLE}:2: label 'x' of V0001.jpg is not 0 or 1", f"{TABLE}:4: there is no image V0007.jpg",
        f"{TABLE}:6: V0002.jpg again, first in line 3", f"image V0003.jpg is not in {TABLE}",
        f"{TRAIN}/P0001.jpg: {NO_PICTURE}"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_problem_is_told_in_one_line(name, data, tmp_path, capsys):
    change, expected = BROKEN[name]
    change(data)
    with pytest.raises(SystemExit) as stopped, reported("train.py"):
        train_in_process(data, tmp_path / "run", "--model", "lenet")
    assert stopped.value.code == 2
    problems = "; ".join(problem.format(root=data) for problem in expected)
    count = f"{len(expected)} problems: " if len(expected) > 1 else ""
    assert capsys.readouterr().err.splitlines()[-1] == f"train.py: error: {count}{problems}"
    assert not list((tmp_path / "run").glob("*.json*")), "nothing was trained"


def test_the_process_ends_with_status_2(data):
    (data / "labels.csv").write_text("")
    run = subprocess.run([sys.executable, "train.py", "--dataset", "ichallenge_pm", "--data-dir", str(data), "--nproc", "1",
                          "--output-dir", str(data / "run")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == f"train.py: error: {data}/labels.csv: the table is empty"
    assert "Traceback" not in run.stderr


def test_a_long_list_is_cut_and_says_so():
    with pytest.raises(UserError, match=r"^25 problems: p0; p1; .*; p19; and 5 more$"):
        report_all([f"p{i}" for i in range(25)])
    report_all([])


def test_names_that_differ_in_case_only_are_ambiguous(tmp_path):
    (tmp_path / "t.csv").write_text("imgName,Label\na.jpg,1\n")
    _, problems = read_labels(tmp_path / "t.csv", ["a.jpg", "A.JPG"])
    assert problems == ["a.jpg and A.JPG differ in the case of letters only"]
