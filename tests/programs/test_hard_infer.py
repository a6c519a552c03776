"""infer.py among files that somebody made to hurt: what it reads, what it never replaces, and names that are commands."""

import csv
import json
import os
from pathlib import Path

import pytest
from fakes import rgb
from PIL import Image

from paddle_cls.inference.answer import Answer, as_csv, as_json, as_text
from paddle_cls.programs import infer

GOOD = ["--image", "good.png", "--checkpoint", "run", "--device", "cpu"]


@pytest.fixture
def places(here) -> Path:
    """Beside what `here` has: good.png, a folder deep/ with a picture, a link and a FIFO, weights.pdparams."""
    for name in ("good.png", "deep/er/a.png", "old.png"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb(0)).save(here / name)
    (here / "link").symlink_to("file")
    (here / "stdout").symlink_to("/dev/stdout")
    (here / "weights.pdparams").write_bytes(b"")
    os.link(here / "good.png", here / "same")
    os.mkfifo(here / "pipe")
    return here


@pytest.mark.parametrize("flags, message", [
    (["--image", ""], "--image '': is empty; name a picture, a folder or a pattern"),
    (["--image", "good.png/"], "--image good.png/: is a file, not a folder"),
    (["--output", "good.png"], "--output good.png: is a picture; name another file"),
    (["--output", "same"], "--output same: is a picture; name another file"),
    (["--output", "old.png"], "--output old.png: is a picture; name another file"),
    (["--output", "link"], "--output link: is no plain file; name another, or leave out --output to write to standard output"),
    (["--output", "stdout"], "--output stdout: is no plain file"),
    (["--output", "pipe"], "--output pipe: is no plain file"),
    (["--image", "pipe"], "pipe: cannot be read: a FIFO, not a file"),
    (["--output", "/dev/null"], "--output /dev/null: is no plain file"),
    (["--output", "run/best.json"], "--output run/best.json: belongs to a checkpoint or a run; name another file"),
    (["--output", "run/best.pdparams"], "--output run/best.pdparams: belongs to a checkpoint"),
    (["--output", "run/last.pdopt"], "--output run/last.pdopt: belongs to a checkpoint"),
    (["--output", "run/config.yaml"], "--output run/config.yaml: belongs to a checkpoint or a run"),
    (["--output", "weights.json"], "--output weights.json: belongs to a checkpoint"),
])
def test_where_no_answer_goes(flags, message, places, refused):
    refused(infer, f"^infer.py: error: {message}", *GOOD, *flags)


def test_what_cannot_be_searched_is_told(call, places, monkeypatch):
    os.mkfifo(places / "deep/b.png")
    (places / "deep/c.png").symlink_to("c.png")
    (places / "deep/\x1b[2J.png").write_bytes(b"")
    real = os.scandir

    def refuse(path):
        if str(path) == "deep/er":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)
    monkeypatch.setattr(os, "scandir", refuse)
    done = call(infer, "--image", "deep", "good.png", *GOOD[2:])
    assert done.status == 1 and done.err.splitlines()[-4:] == [
        "infer.py: not read: deep/er: cannot be looked into: Permission denied",
        "infer.py: not read: deep/\\x1b[2J.png: the file is empty",
        "infer.py: not read: deep/b.png: cannot be read: a FIFO, not a file",
        "infer.py: not read: deep/c.png: cannot be read: Too many levels of symbolic links"]
    for name in ("b.png", "c.png", "\x1b[2J.png"):
        (places / "deep" / name).unlink()
    alone = call(infer, "--image", "deep", *GOOD[2:])
    assert alone.status == 2 and alone.err == "infer.py: error: --image deep: deep/er: cannot be looked into: Permission denied\n"


NAMES = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "\rx", "a\x1b[31m", "plain = 'x'"]
CELLS = ["'=cmd|' /C calc'!A0", "'+1", "'-1", "'@x", "'\\tx", "'\\rx", "a\\x1b[31m", "plain = 'x'"]


def test_a_spreadsheet_runs_no_name_and_a_terminal_none():
    answers = [Answer(name, [(name, 0.5)], None) for name in NAMES]
    lines = as_csv(answers).splitlines()
    rows = list(csv.reader(lines))
    assert [row[0] for row in rows[1:]] == [row[2] for row in rows[1:]] == CELLS
    assert as_text(answers).count("\n") == 2 * len(NAMES) and "\x1b" not in as_text(answers)
    assert [entry["image"] for entry in json.loads(as_json(answers))] == NAMES
    verdict = {"verdict": "=1", "positive": "-2", "probability": 0.25, "threshold": 0.5}
    assert as_csv([Answer("x", [], verdict)]).splitlines()[1] == "x,'=1,'-2,0.250000,0.500000"
