"""The close look at one's own pictures: figures by hand, copies wherever they are, a sheet, and the exit status."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fake_own import fashion, jpeg, pictures, table, write
from PIL import Image

from paddle_cls.errors import UserError
from paddle_cls.programs import check_data


@pytest.fixture
def look(tmp_path, monkeypatch, capsys):
    """Return a function (files, arguments) -> (status, lines printed) that checks own/ in the working folder."""
    monkeypatch.chdir(tmp_path)

    def run(files: dict, *arguments: str, place: str = "own") -> tuple[int, list[str]]:
        write(tmp_path / "own", files)
        status = check_data.main([place, *arguments])
        return status, capsys.readouterr().out.splitlines()
    return run


def test_what_is_well(look):
    files = {**pictures("cat", count=10), **pictures("albatross", start=500), "cat/3.jpg": jpeg(7, 30, 50)}
    status, lines = look(files)
    assert status == 0 and lines == [
        "own: 14 pictures of 2 classes, 0.1 of them drawn to validate on",
        "class         train       val",
        "albatross         3         1",
        "cat               9         1",
        "balance: the largest class has 9 training pictures, the smallest 3; see --class-weights and --sampling of train.py",
        "width: 12 to 50 pixels, median 12", "height: 12 to 30 pixels, median 12", "contact sheet: contact_sheet.png"]


def test_copies_are_told_by_what_they_mean(look):
    files = {f"{part}/{name}": content for start, part in enumerate(("train", "val"))
             for name, content in pictures("cat", "dog", start=100 * start).items()}
    files |= {"train/cat/x.jpg": files["train/cat/0.jpg"], "train/dog/x.jpg": files["val/dog/2.jpg"],
              "val/dog/z.jpg": files["val/cat/3.jpg"], "train/dog/u.jpg": files["train/dog/3.jpg"]}
    status, lines = look(files)
    assert status == 1 and lines[-8:] == [
        "contact sheet: contact_sheet.png", "in train and val: 1", "  train/dog/x.jpg = val/dog/2.jpg",
        "under two labels: 1", "  val/cat/3.jpg = val/dog/z.jpg", "copies: 2", "  train/cat/0.jpg = train/cat/x.jpg",
        "  train/dog/3.jpg = train/dog/u.jpg"]


def test_every_file_is_decoded(look):
    broken = jpeg(3, 40, 40)
    files = {**pictures("cat", "dog"), "cat/a.jpg": broken[:-100], "dog/b.jpg": b"", "dog/c.txt": b""}
    status, lines = look(files)
    assert status == 1 and "width: 12 to 12 pixels, median 12" in lines
    assert lines[-5:-2] == ["mistakes: 1", "  own/dog/c.txt: not a picture (.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff, "
                            ".ppm, .pgm); move it elsewhere", "not readable: 2"]
    assert lines[-2].startswith("  own/cat/a.jpg: cannot be read: ") and lines[-1] == "  own/dog/b.jpg: the file is empty"


def test_long_lists_are_cut(look):
    _, lines = look({**pictures("cat", "dog"), **{f"cat/x{i:02d}.jpg": b"" for i in range(25)}})
    assert lines[-22] == "not readable: 25" and lines[-1] == "  ..."
    assert all(line.endswith(".jpg: the file is empty") for line in lines[-21:-1])


def test_a_class_that_cannot_be_split_is_a_mistake_and_the_rest_is_told(look):
    status, lines = look({**pictures("cat", "dog"), "owl/a.jpg": jpeg(900)}, "--val-split", "1/3")
    assert status == 1 and lines[0] == "own: 9 pictures of 3 classes" and "owl           1" in lines
    assert lines[-1] == ("  --val-split 1/3: each class must have at least 3 images, some for either part; owl has 1; add "
                         "images, or leave out the class")


def test_a_table_with_lines(look):
    files = {**pictures("cat", "dog"), "t.csv": table("cat/0.jpg,cat", "dog/0.jpg,dog", "cat/1.jpg,cat", "dog/x.jpg,dog")}
    status, lines = look(files, "--val-split", "0.5", place="own/t.csv")
    assert status == 1 and lines[0] == "own/t.csv: 4 pictures of 2 classes, 0.5 of them drawn to validate on"
    assert lines[-2:] == ["not readable: 1", "  own/t.csv:5: own/dog/x.jpg: cannot be read: No such file or directory"]


def test_one_task_of_the_fashionai_form(look, tmp_path):
    fashion(tmp_path / "own", {"coat": 3, "neck": 4}, count=24)
    _, lines = look({}, "--task", "neck", "--data-dir", "own", place="own/Annotations/label.csv")
    assert lines[0] == "own/Annotations/label.csv: 24 pictures of 4 classes, 0.1 of them drawn to validate on"
    assert lines[1].endswith("6 of 24 pictures are perhaps (m) of another class too, which counts as no")


def test_the_sheet_shows_each_class_in_a_row(look, tmp_path):
    def plain(colour: tuple) -> bytes:
        Image.new("RGB", (40, 20), colour).save(tmp_path / "x.png")
        return (tmp_path / "x.png").read_bytes()

    files = {f"red/{i:02d}.png": plain((200 + i, 0, 0)) for i in range(20)}
    files |= {f"狗/{i}.png": plain((0, 0, 200 + i)) for i in range(3)}
    assert look({**files, "狗/1.png": b""}, "--sheet", "sheet.png")[0] == 1
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 96, 10 * 96, 3) and (sheet[:, :192] < 255).any(axis=2).sum() > 30, "the names"
    reds, blues = sheet[48, 192 + 48::96], sheet[144, 192 + 48::96]
    assert reds.shape == (8, 3) and (reds[:, 0] >= 200).all() and (np.diff(reds[:, 0].astype(int)) > 0).all()
    assert blues[0, 0] == 0 and (blues[3:] == 255).all(), "three of them, one of them broken or held out"


@pytest.mark.parametrize("place, arguments, message", [
    ("none.csv", [], "none.csv: cannot be read: No such file"), ("own", ["--task", "x"], "--task: goes with a table, and own is"),
    ("own", ["--sheet", "none/sheet.png"], "sheet.png: cannot be written: No such file or directory"),
    ("own", ["--val-split", "2"], "^--val-split: '2' must be a share")])
def test_mistakes_in_the_call(look, place, arguments, message):
    with pytest.raises(UserError, match=message):
        look(pictures("cat", "dog"), *arguments, place=place)


def test_as_a_program_it_loads_no_paddle(tmp_path):
    write(tmp_path, pictures("cat", "dog"))
    code = ("import runpy, sys; sys.argv[1:] = [sys.argv[1], '--sheet', sys.argv[2]]\n"
            "try: runpy.run_module('paddle_cls.data.check', run_name='__main__')\n"
            "except SystemExit as end: print(end.code, 'paddle' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(tmp_path / "sheet.png")], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.stdout.splitlines()[-1] == "0 False" and done.stderr == ""
    assert Path(tmp_path / "sheet.png").exists()
