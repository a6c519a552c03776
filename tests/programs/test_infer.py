"""infer.py as its users call it: what it finds, what it answers in three formats, and what it does about bad files."""

import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fakes import rgb, write_checkpoint
from PIL import Image

from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError
from paddle_cls.inference import answer
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import infer
from paddle_cls.programs.shared.pictures import Found


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with three pictures, one of them deeper, and a text file."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("b.png", "a.JPG", "sub/c d.png")):
        Image.fromarray(rgb(i, 40, 50)).save(folder / name, quality=90)
    (folder / "notes.txt").write_text("no picture")
    return folder


def names(*places: object) -> list[str]:
    return [picture.path.name for picture in Found(tuple(map(str, places)))]


def test_files_folders_and_globs(pictures):
    assert names(pictures) == ["a.JPG", "b.png", "c d.png"]
    assert names(pictures / "b.png", pictures / "a.JPG") == ["b.png", "a.JPG"]
    assert names(pictures / "b.png", pictures) == ["b.png", "a.JPG", "c d.png"]      # each once, where it came first
    assert names(pictures / "*.png") == ["b.png"]
    assert names(pictures / "**" / "*.png") == ["b.png", "c d.png"]
    assert names(pictures / "*") == ["a.JPG", "b.png", "notes.txt"]                   # no folder; the file was asked for
    (pictures / "[1].png").write_bytes(b"")
    assert names(pictures / "[1].png") == ["[1].png"]                                # a file of that name before a pattern
    with pytest.raises(UserError, match=r"--image .*/none\.png: no such file or folder"):
        names(pictures / "none.png")
    with pytest.raises(UserError, match=r"--image .*/\*\.gif: no file matches"):
        names(pictures / "*.gif")
    (pictures / "empty").mkdir()
    with pytest.raises(UserError, match=r"--image .*/empty: no pictures in this folder \(\.jpg, \.jpeg, \.png"):
        names(pictures / "empty")


def rows(text: str) -> list[tuple[str, str, float]]:
    """Return (file, class, probability) of the text format, which gives a tenth of a percent."""
    found, file = [], ""
    for line in text.splitlines():
        if line.startswith("  "):
            percent, _, name = line.strip().partition("%  ")
            found.append((file, name, float(percent) / 100))
        else:
            file = line
    return found


def test_the_three_formats_agree_with_the_predictor(call, run_folder, pictures):
    arguments = ("--image", pictures, "--checkpoint", run_folder, "--device", "cpu", "--topk", 3)
    answers = {kind: call(infer, *arguments, "--format", kind) for kind in ("text", "json", "csv")}
    line = f"answers by {run_folder}/best: validation accuracy 0.100, epoch 1\n"
    assert all((answer.status, answer.err) == (0, line) for answer in answers.values())
    paths = [picture.path for picture in Found((str(pictures),))]
    probabilities = Predictor.from_checkpoint(run_folder, device="cpu")(paths)
    expected = [(str(path), cifar10.CLASSES[i], p[i]) for path, p in zip(paths, probabilities, strict=True)
                for i in np.argsort(-p)[:3]]
    parsed = [(entry["image"], best["class"], best["probability"]) for entry in json.loads(answers["json"].out)
              for best in entry["top"]]
    table = list(csv.reader(io.StringIO(answers["csv"].out)))
    assert table[0] == ["image", "rank", "class", "probability"] and [row[1] for row in table[1:]] == ["1", "2", "3"] * 3
    lines = [(path, name, float(p)) for path, _, name, p in table[1:]]
    for found, tolerance in [(parsed, 1e-6), (lines, 2e-6), (rows(answers["text"].out), 6e-4)]:
        assert [row[:2] for row in found] == [row[:2] for row in expected]
        np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], atol=tolerance)


@pytest.mark.parametrize("topk, lines", [(None, 5), (1, 1), (10, 10), (99, 10)])
def test_topk(call, run_folder, pictures, topk, lines):
    done = call(infer, "--image", pictures / "b.png", "--checkpoint", run_folder, "--format", "json",
                *(["--topk", topk] if topk else []))
    best = json.loads(done.out)[0]["top"]
    probabilities = [entry["probability"] for entry in best]
    assert len(best) == lines and probabilities == sorted(probabilities, reverse=True)
    assert lines < 10 or sum(probabilities) == pytest.approx(1)


def test_an_unreadable_picture_is_named_and_the_rest_is_done(call, run_folder, pictures):
    (pictures / "broken.png").write_bytes(b"")
    done = call(infer, "--image", pictures, "--checkpoint", run_folder, "--format", "json", "--batch-size", 2)
    assert done.status == 1
    assert done.err.splitlines()[-1] == f"infer.py: not read: {pictures}/broken.png: the file is empty"
    assert [Path(entry["image"]).name for entry in json.loads(done.out)] == ["a.JPG", "b.png", "c d.png"]


def test_nothing_readable_is_a_mistake(call, run_folder, pictures):
    done = call(infer, "--image", pictures / "notes.txt", "--checkpoint", run_folder)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"infer.py: error: {pictures}/notes.txt: not a picture, or a kind that Pillow cannot read\n"
    (pictures / "empty.png").write_bytes(b"")
    done = call(infer, "--image", pictures / "notes.txt", pictures / "empty.png", "--checkpoint", run_folder)
    assert done.status == 2 and done.err.endswith("(and 1 more files)\n")


def test_the_output_file_is_written_whole_or_not_at_all(call, run_folder, pictures, tmp_path):
    target = tmp_path / "answers.csv"
    target.write_text("the old answer")
    arguments = ("--image", pictures, "--checkpoint", run_folder, "--format", "csv", "--output", target)
    done = call(infer, *arguments)
    assert (done.status, done.out) == (0, "")
    assert len(target.read_text().splitlines()) == 16 and sorted(os.listdir(tmp_path)) == ["answers.csv", "photos"]


def test_a_disk_that_gets_full_leaves_the_old_answer(call_in_memory, run_folder, pictures, tmp_path):
    target = tmp_path / "answers.csv"
    target.write_text("the old answer")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        done = call_in_memory(infer, "--image", pictures, "--checkpoint", run_folder, "--output", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.status == 2 and done.err.count("\n") == 1
    assert done.err.startswith(f"infer.py: error: {target}: cannot be written: File too large; free some space")
    assert target.read_text() == "the old answer" and sorted(os.listdir(tmp_path)) == ["answers.csv", "photos"]


def test_the_newest_run_under_output_is_the_default(call, tmp_path, monkeypatch, pictures):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("new", "old", "older")):
        folder = write_checkpoint(tmp_path / "output" / name, seed=i)
        for file in folder.iterdir():
            os.utime(file, (1e9 - i * 1000, 1e9 - i * 1000))
    newest = call(infer, "--image", pictures / "b.png")
    assert newest.status == 0 and newest.out == call(infer, "--image", pictures / "b.png", "--checkpoint", "output/new").out
    assert newest.out != call(infer, "--image", pictures / "b.png", "--checkpoint", "output/old").out
    shutil.rmtree(tmp_path / "output")
    without = call(infer, "--image", pictures / "b.png")
    assert without.status == 2 and without.out == ""
    assert without.err == ("infer.py: error: no checkpoint under output/; train one first: python train.py --model resnet "
                           "--depth 20, or name one with --checkpoint\n")


def test_names_in_any_script_and_in_none(call, run_folder, pictures, tmp_path):
    strange = Path(os.fsdecode(os.fsencode(tmp_path / "ä 狗") + b"\xff.png"))     # no UTF-8: an old disk has such names
    (pictures / "b.png").rename(strange)
    for kind in infer.FORMATS:
        done = call(infer, "--image", strange, "--checkpoint", run_folder, "--format", kind, "--output", tmp_path / "out")
        assert done.status == 0 and "ä 狗\ufffd.png" in (tmp_path / "out").read_text(encoding="utf-8")


def test_as_a_process(run_folder, pictures):
    """What only a process shows: its exit status, and a stderr without a word from Paddle."""
    (pictures / "broken.png").write_bytes(b"")
    command = [sys.executable, ROOT / "infer.py", "--checkpoint", run_folder, "--image", pictures]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 18
    assert done.stderr == (f"answers by {run_folder}/best: validation accuracy 0.100, epoch 1\n"
                           f"infer.py: not read: {pictures}/broken.png: the file is empty\n")


def test_the_first_class_of_a_yes_or_no_network_is_its_verdict():
    shares = np.array([0.504, 0.496])              # at the threshold 0.441 a yes
    assert answer.top(shares, ["no", "yes"], 2, "yes") == [("yes", 0.496), ("no", 0.504)]
    assert answer.top(shares, ["no", "yes"], 1, "yes") == [("yes", 0.496)]
    assert answer.top(shares, ["no", "yes"], 2) == [("no", 0.504), ("yes", 0.496)]
