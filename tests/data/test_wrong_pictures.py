"""What users get wrong with infer.py: one line that says it, exit status 2, and every file as it was before."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from conftest import ROOT
from fakes import Harmful, bomb, forge, rgb
from PIL import Image

from paddle_cls.programs import infer

NO_GPU = not (paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count())


@pytest.fixture
def pictures(here) -> Path:
    """Beside what `here` has: good.png, and the bad ones."""
    Image.fromarray(rgb(0)).save(here / "good.png")
    Image.fromarray(rgb(0)).save(here / "cut.jpg", "JPEG")
    (here / "cut.jpg").write_bytes((here / "cut.jpg").read_bytes()[:-100])
    (here / "text.png").write_text("no picture")
    (here / "zero.png").write_bytes(b"")
    (here / "bomb.png").write_bytes(bomb(30_000))
    return here


GOOD = ["--image", "good.png", "--checkpoint", "run", "--device", "cpu"]


def test_without_the_mistakes_it_works(call, pictures):
    done = call(infer, *GOOD)
    assert (done.status, done.err) == (0, "answers by run/best: validation accuracy 0.100, epoch 1\n")
    assert len(done.out.splitlines()) == 6


@pytest.mark.parametrize("flags, message", [
    ("--images good.png", r"unknown flag '--images'; did you mean '--image'\?"),
    ("--config x.yaml", "unknown flag '--config'"),
    ("--topk 0", "--topk: 0 must be at least 1"),
    ("--topk many", "--topk: 'many' is not a whole number"),
    ("--batch-size -1", "--batch-size: -1 must be at least 1"),
    ("--format xml", r"--format: unknown value 'xml'; known: csv, json, jsonl, text"),
    ("--format jsn", r"--format: unknown value 'jsn'; did you mean 'json'\?"),
    ("--image", "--image: expected at least one argument; infer.py --help lists the flags"),
    ("--image none.png", r"--image none\.png: no such file or folder"),
    ("--image none/*.png", r"--image none/\*\.png: no file matches"),
    ("--image new", r"--image new: no pictures in this folder \(\.jpg, "),
    ("--image good.png none.png", r"--image none\.png: no such file or folder"),
    pytest.param(f"--image {300 * 'x'}", "x+: File name too long", id="a long image"),
    pytest.param(f"--checkpoint {300 * 'x'}", "x+: File name too long", id="a long checkpoint"),
    pytest.param(f"--output {300 * 'x'}", "x+: File name too long", id="a long output"),
    ("--image text.png", r"text\.png: not a picture, or a kind that Pillow cannot read"),
    ("--image zero.png", r"zero\.png: the file is empty"),
    ("--image cut.jpg", r"cut\.jpg: cannot be read: image file is truncated"),
    ("--image bomb.png", r"bomb\.png: more pixels than the 178,956,970 allowed; shrink it first"),
    ("--image text.png zero.png bomb.png", r"text\.png: not a picture, .* \(and 2 more files\)"),
    pytest.param("--device gpu", "--device gpu: (this Paddle is built for the CPU only|no GPU is visible); install",
                 marks=pytest.mark.skipif(not NO_GPU, reason="there is a GPU")),
    ("--device tpu", "--device: unknown value 'tpu'"),
    ("--output none/answer.txt", "--output none/answer.txt: there is no folder none; make it first"),
    ("--output file/answer.txt", "--output file/answer.txt: there is no folder file; make it first"),
    ("--output new", "--output new: is a folder; name a file in it"),
    ("--output /", "--output /: is a folder; name a file in it"),
    ("--output /proc/answer.txt", "answer.txt.*: cannot be written: No such file or directory"),
    ("--checkpoint nowhere", r"nowhere: no such checkpoint; --checkpoint takes a \.pdparams written by train\.py, or a run"),
    ("--checkpoint new", r"new: no checkpoint \(best\.json or last\.json\) in this folder"),
    ("--checkpoint file", r"file has no file\.json beside it, which says what model it is"),
    ("--checkpoint run/config.yaml", r"config\.yaml has no config\.yaml\.json beside it"),
])
def test_flags_and_pictures(refused, pictures, flags, message):
    refused(infer, message, *GOOD, *flags.split())


def test_no_picture_is_named(refused, here):
    refused(infer, r"--image: which pictures\? For example --image dog\.png, a folder, or 'photos/\*\.jpg'")


def test_a_name_of_two_lines_stays_on_one(refused, here):
    refused(infer, r"--image two lines\.png: no such file or folder", "--image", "two\nlines.png")


def test_no_checkpoint_is_there(refused, pictures):
    refused(infer, r"no checkpoint under output/; train one first: python train\.py --model resnet --depth 20, or name one with "
                   r"--checkpoint", "--image", "good.png")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize("change, message", [
    (lambda run: cut(run / "best.pdparams"), r"best\.pdparams: truncated or changed since it was saved"),
    (lambda run: (run / "best.pdparams").unlink(), r"best\.pdparams: missing; use another checkpoint"),
    (lambda run: cut(run / "best.json"), r"best\.json: truncated or not JSON"),
    (lambda run: (run / "best.json").write_text("[]"), r"best\.json: \[\] is not a dictionary; use another"),
    (lambda run: (run / "best.json").write_bytes(b"\xff\xfe"), r"best\.json: truncated or not JSON"),
    (lambda run: shutil.copy(run / "last.pdopt", run / "best.pdparams"), r"best\.pdparams: truncated or changed"),
    (lambda run: forge(run, "best.pdparams", pickle.dumps(Harmful(run.parent / "sentinel"))),
     r"best\.pdparams: refused: it asks for io\.open, which data never needs; nothing of it was run"),
    (lambda run: forge(run, "best.pdparams", pickle.dumps({"fc.weight": (Harmful(run.parent / "sentinel"), 1)})),
     r"best\.pdparams: refused: it asks for io\.open"),
    (lambda run: forge(run, "best.pdparams", b"\x80\x04cos\nsystem\n\x8c\x0etouch sentinel\x85R."),
     r"best\.pdparams: refused: it asks for os\.system"),
    (lambda run: forge(run, "best.pdparams", pickle.dumps("text")), r"best\.pdparams: holds a str, not a dictionary"),
    (lambda run: forge(run, "best.pdparams", pickle.dumps({"fc.weight": "text"})),
     r"best\.pdparams: 'fc\.weight' is a str, not an array"),
    (lambda run: forge(run, "best.pdparams", pickle.dumps({"fc.weight": np.zeros(3)})),
     r"best\.pdparams: not the weights of this model: \d+ are missing"),
])
def test_checkpoints(refused, pictures, change, message):
    change(pictures / "run")
    refused(infer, message, *GOOD)
    assert not (pictures / "sentinel").exists()


@pytest.mark.parametrize("script, flags", [("infer.py", "--image nothing.png"), ("train.py", "--depth 33 --data-dir data")])
def test_as_a_process(here, script, flags):
    """What only a process shows: its exit status, and that nothing else writes to stderr."""
    command = [sys.executable, ROOT / script, *flags.split(), "--device", "cpu"]
    command += ["--nproc", "1"] if script == "train.py" else []
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"{script}: error: ") and done.stderr.count("\n") == 1
