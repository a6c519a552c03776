"""The close look at hard data, the drawn shapes where they cannot go, and numbers of --augment: one line each."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fake_own import pictures, rows, table, write
from PIL import Image

from paddle_cls.data.augment import recipes
from paddle_cls.data.sets import shapes
from paddle_cls.errors import UserError
from paddle_cls.programs import check_data, draw_shapes

GOOD = table(*rows("cat", "dog"))


@pytest.mark.parametrize("files, place, message", [
    ({"train/.x": ""}, "own", "2 problems: own/train: no class folders|own/train: no class folders; a folder for each of two"),
    ({"t.csv": table("cat/0.jpg,cat,val", "dog/0.jpg,dog,val", header="path,label,split")}, "own/t.csv",
     "own/t.csv: no picture to train on; two classes or more are needed"),
    ({"t.csv": table(",cat", ",dog")}, "own/t.csv", "3 problems: own/t.csv:2: no path; own/t.csv:3: no path; own/t.csv: no pict"),
    ({"t.csv": "\0" * 100}, "own/t.csv", "own/t.csv: not a text file"),
], ids=["train without classes", "table only val", "table no paths", "zeros"])
def test_checking_what_is_nothing(files, place, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own", {**(pictures("cat", "dog") if "t.csv" in files else {}), **files})
    with pytest.raises(UserError, match=f"^({message})"):
        check_data.main([place])
    assert not Path("contact_sheet.png").exists()


@pytest.mark.parametrize("arguments, message", [
    (["--val-split", "5"], "--val-split: '5' must be a share such as 0.2, or one of k parts such as 2/5"),
    (["--val-split", "abc"], "--val-split: 'abc' must be a share"),
    (["--val-split", "0/5"], "--val-split: '0/5' must be a share"),
    (["--valsplit", "5"], "unrecognized arguments: --valsplit 5; python -m paddle_cls.data.check --help lists the flags"),
    (["--sheet", "own/t.csv"], "--sheet own/t.csv: is a PNG; name it so, such as contact_sheet.png"),
    (["--sheet", "own/cat/x.png"], "--sheet own/cat/x.png: is one of the files to check; name another file"),
    (["--sheet", "own/cat/y.png"], "--sheet own/cat/y.png: is there and no plain file; name another file"),
    (["--sheet", "pipe.png"], "--sheet pipe.png: is there and no plain file"),
])
def test_a_wrong_call_of_check(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own", {**pictures("cat", "dog"), "t.csv": GOOD})
    Image.new("RGB", (8, 8)).save("own/cat/x.png")
    Path("own/cat/y.png").symlink_to("x.png")
    os.mkfifo("pipe.png")
    before = {path: path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=f"^{message}"):
        check_data.main(["own", *arguments])
    assert {path: path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place, message", [
    ("file", "file: cannot be written: File exists"), ("file/x", "file/x: cannot be written: Not a directory"),
    ("/proc/x", "/proc/x: cannot be written: No such file or directory"), ("", "name a folder to write ten of the"),
    ("z" * 300, "z+: cannot be written: File name too long"), ("--help", "name a folder")])
def test_shapes_where_they_cannot_go(place, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"file": "?"})
    with pytest.raises(UserError, match=f"^{message}"):
        draw_shapes.main([place])
    assert os.listdir() == ["file"]


def test_shapes_on_a_full_disk_are_whole(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError, match=f"^{tmp_path}/00_circle.png: cannot be written: File too large; free some"):
            draw_shapes.main([str(tmp_path)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_shapes_and_check_as_processes(tmp_path):
    """What only a process shows: its exit status, and one line on stderr."""
    for program, *more in (("shapes", ""), ("check", str(tmp_path), "--val-split", "abc")):
        command = [sys.executable, "-m", f"paddle_cls.data.{program}", *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == "" and "error: " in done.stderr


@pytest.mark.parametrize("piece", recipes.PIECES)
def test_no_number_of_a_piece_breaks_it(piece):
    """-0.0 was let through, and NumPy draws nothing between 0.0 and -0.0."""
    image = shapes.draw(3, np.random.default_rng(0))
    for text in ("-0.0", "-0", "1e-320", "1", "0.5", "0.01", "1x-0.0"):
        try:
            change = recipes.build(f"{piece}={text}", 16)
        except UserError:
            continue
        assert change(image, np.random.default_rng(0)).shape == (16, 16, 3)
    for text in ("1_0", "\u0661", "nan", "inf", "1e400", "9" * 5000):
        with pytest.raises(UserError, match=f"--augment: {piece}="):
            recipes.parse(f"{piece}={text}")
