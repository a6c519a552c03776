"""Answers that grow in a file: cut anywhere, killed or stopped, the same command gives each picture one answer."""

import csv
import json
import os
import re
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_answers import Colours, draw
from PIL import Image

from paddle_cls.data import HALF
from paddle_cls.errors import UserError
from paddle_cls.inference import exported
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import infer
from paddle_cls.programs.settings.fields import InferConfig
from paddle_cls.programs.shared import growing
from paddle_cls.system import stopping

RESUME = Path("out.resume")


@pytest.fixture
def go(tmp_path, monkeypatch, call_in_memory, colours):
    """Return a function (flags) that has infer answer for the pictures in p/ into the file out."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "p", 9)

    def run(*flags: object, kind: str = "csv", image: str = "p", batch: int = 2):
        return call_in_memory(infer, "--image", image, "--format", kind, "--output", "out", "--batch-size", batch, *flags)
    return run


def images(kind: str = "csv") -> list[str]:
    """Return the pictures that out names, in order."""
    lines = Path("out").read_text().splitlines()
    return [row[0] for row in csv.reader(lines[1:])] if kind == "csv" else [json.loads(line)["image"] for line in lines]


def stopped(content: bytes, *notes: dict) -> None:
    """Put out and out.resume into the state after a stop, which left `content`."""
    Path("out").write_bytes(content)
    RESUME.write_text("".join(json.dumps(note) + "\n" for note in notes))


@pytest.mark.parametrize("kind, verdict", [("csv", False), ("csv", True), ("jsonl", False)])
def test_a_file_that_is_cut_anywhere_goes_on(go, kind, verdict, colours):
    Colours.__init__(colours, threshold=0.4 if verdict else None)
    (Path("p") / "04.png").rename(Path("p") / '=a,"ä.png')                # quotes, a formula, two bytes for a letter
    assert go("--resume", "--topk", 2, kind=kind).status == 0
    whole, begin = Path("out").read_bytes(), json.loads(RESUME.read_text().splitlines()[0])
    assert len(images(kind)) == (9 if verdict or kind == "jsonl" else 18)
    for size in {0, len(whole) - 1, *range(1, len(whole), 23)}:
        stopped(whole[:size], begin)
        done = go("--resume", "--topk", 2, kind=kind)
        assert (done.status, Path("out").read_bytes()) == (0, whole), size
    stopped(whole[:100] + bytes(10_000), begin)                # what a disk without power may leave
    assert go("--resume", "--topk", 2, kind=kind).status == 0 and Path("out").read_bytes() == whole
    assert json.loads(RESUME.read_text().splitlines()[-1]) == {"finished": True}


def test_what_is_not_finished_is_not_replaced_and_what_is_may_be(go):
    go()
    whole = Path("out").read_bytes()
    assert sorted(os.listdir()) == ["out", "p"]
    assert go("--topk", 1).status == 0 and len(images()) == 9             # finished
    stopped(whole[:100], {"settings": {}})
    done = go()
    assert (done.status, done.err) == (2, "infer.py: error: --output out: holds the answers of a command that was stopped; add "
                                          "--resume to go on, or remove out.resume to begin again\n")
    RESUME.unlink()
    done = go("--resume")
    assert (done.status, done.err) == (2, "infer.py: error: --resume: out has no out.resume beside it, which says how its "
                                          "answers were made; leave out --resume to replace it, or name another --output\n")
    assert Path("out").read_bytes() == whole[:100]
    assert go().status == 0 and Path("out").read_bytes() == whole
    Path("out").unlink()
    assert go("--resume").status == go("--resume").status == 0 and len(images()) == 27
    assert go("--topk", 1).status == 0 and len(images()) == 9 and not RESUME.exists()


def test_what_went_on_and_failed_is_not_finished(go, colours):
    go("--resume")

    def fail(images):
        raise UserError("the answers are not finite")
    draw(Path("p"), 10)
    colours.before = fail
    assert go("--resume").err == "infer.py: error: the answers are not finite\n"
    assert "holds the answers of a command that was stopped; add --resume" in go().err


def test_what_must_be_the_same(colours):
    config = InferConfig(image=("a", "b"), list=Path("x"), shard="1/2", topk=3, tta="flip", format="csv", batch_size=7,
                         precision="bfloat16")
    assert infer.settings(config, colours) == {"checkpoint": "1234", "threshold": None, "image": ["a", "b"], "list": "x",
                                               "shard": "1/2", "topk": 3, "tta": "flip", "precision": "bfloat16",
                                               "format": "csv"}


def test_an_export_is_told_from_another_of_the_same_weights(run_folder, tmp_path, monkeypatch):
    sealed = Predictor.from_checkpoint(run_folder, device="cpu")
    assert sealed.checksum == json.loads((run_folder / "best.json").read_text())["sha256"][".pdparams"]
    info = SimpleNamespace(classes=["a"], image_size=2, normalization=HALF, threshold=None, metrics={},
                           sha256={"model.json": "12", "network.onnx": "34"})
    monkeypatch.setattr(exported, "is_export", lambda place: True)
    monkeypatch.setattr(exported, "read", lambda place: info)
    monkeypatch.setattr(exported, "engine", lambda *_: "an engine")
    assert Predictor.from_checkpoint(tmp_path).checksum == "12"


@pytest.mark.parametrize("flags, kind, image, message", [
    (["--topk", 2], "csv", "p", "topk 5, not 2"),
    (["--tta", "flip"], "csv", "p", "tta none, not flip"),
    (["--shard", "1/2"], "csv", "p", "shard None, not 1/2"),
    ([], "jsonl", "p", "format csv, not jsonl"),
    ([], "csv", "./p/0*", "image ['p'], not ['./p/0*']"),
])
def test_other_settings_are_refused(go, flags, kind, image, message):
    go("--resume")
    before = Path("out").read_bytes(), RESUME.read_bytes()
    done = go("--resume", *flags, kind=kind, image=image)
    assert done.err == f"infer.py: error: --resume: out was made with {message}; use the same, or name another --output\n"
    assert done.status == 2 and (Path("out").read_bytes(), RESUME.read_bytes()) == before


def test_another_checkpoint_or_threshold_is_refused(go, colours):
    go("--resume")
    colours.checksum = "5678"
    assert "out was made with checkpoint 1234, not 5678; use the same" in go("--resume").err
    colours.checksum, colours.threshold = "1234", 0.5
    assert "out was made with threshold None, not 0.5; use the same" in go("--resume").err


def test_other_lines_are_refused(go):
    go("--resume")
    good, notes = Path("out").read_bytes(), RESUME.read_bytes()
    again = "is no line that infer has written; mend it, or remove the file to begin again\n"
    for content, number in ((b"a,b\n" + good, 1), (good + b"x\n", 29), (good + b"\xff,1,red,0.5\n", 29)):
        Path("out").write_bytes(content)
        done = go("--resume")
        assert (done.status, done.err) == (2, f"infer.py: error: out:{number}: {again}")
    Path("out").write_bytes(good)
    for content, message in ((b"hello\n", f"out.resume:1: {again}"), (b"[]\n", f"out.resume:1: {again}"),
                             (b'{"finished": true}\n', "out.resume: begins with no settings; remove it to begin again\n")):
        RESUME.write_bytes(content)
        assert go("--resume").err == f"infer.py: error: {message}" and Path("out").read_bytes() == good
    stopped(good[:40], json.loads(notes.splitlines()[0]))
    assert go("--resume").status == 0 and Path("out").read_bytes() == good


def test_an_unreadable_picture_is_not_tried_again_but_told_again(go):
    (Path("p") / "0.png").write_bytes(b"")
    (Path("p") / "00b.png").write_bytes(b"no picture")
    told = ["infer.py: not read: p/0.png: the file is empty",
            "infer.py: not read: p/00b.png: not a picture, or a kind that Pillow cannot read"]
    for _ in range(2):
        done = go("--resume")
        assert done.status == 1 and done.err.splitlines()[-2:] == told and len(images()) == 27
        for name in ("0.png", "00b.png"):                    # mended, which nobody looks at
            Image.new("RGB", (2, 2)).save(Path("p") / name)
    RESUME.write_text("".join(line for line in RESUME.read_text().splitlines(True) if "00b" not in line))
    assert go("--resume").err.splitlines()[-1:] == told[:1] and images()[-3:] == ["p/00b.png"] * 3
    (Path("p") / "0.png").write_bytes(b"")
    done = go()
    assert done.status == 1 and not RESUME.exists() and done.err.splitlines()[-1:] == told[:1]


def test_nothing_is_written_where_nothing_can_be_read(go):
    Path("out").write_text("the old answer")
    for name in os.listdir("p"):
        (Path("p") / name).write_bytes(b"")
    done = go()
    assert (done.status, done.err) == (2, "infer.py: error: p/00.png: the file is empty (and 8 more files)\n")
    assert Path("out").read_text() == "the old answer" and sorted(os.listdir()) == ["out", "p"]


def test_pictures_that_come_and_go_between(go):
    go("--resume", "--topk", 1)
    (Path("p") / "03.png").rename("p/new.png")
    (Path("p") / "00.png").unlink()
    assert go("--resume", "--topk", 1).status == 0
    assert images() == [f"p/0{number}.png" for number in range(9)] + ["p/new.png"]


def test_names_that_are_written_alike_are_two_pictures(go):
    """A bell, and a backslash with x07."""
    for name in ("x\x07", "x\\x07"):
        os.link("p/00.png", f"p/{name}.png")
    go("--resume", "--topk", 1)
    whole, begin = Path("out").read_bytes(), json.loads(RESUME.read_text().splitlines()[0])
    assert images()[-2:] == ["p/x\\x07.png"] * 2
    stopped(whole[:whole.rindex(b"p/x")], begin)
    for _ in range(2):
        assert go("--resume", "--topk", 1).status == 0 and Path("out").read_bytes() == whole


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_signal_leaves_whole_lines_and_says_how_to_go_on(go, colours, kind):
    go(kind=kind)
    whole, batches = Path("out").read_bytes(), []
    def before(images):
        batches.append(images)
        if len(batches) == 4:
            while not stopping._now.stop:          # this thread may be ahead of the other
                time.sleep(0.001)
            stopping._now.caught.append(signal.SIGTERM)        # as `on_signal` does; a true signal may end all tests
            stopping._now.stop.tell()
            raise stopping.Stopped(signal.SIGTERM)
    colours.before = before
    done = go(kind=kind)
    left = Path("out").read_bytes()
    count = len(images(kind)) // (3 if kind == "csv" else 1)
    assert whole.startswith(left) and left.endswith(b"\n") and 2 <= count <= 7
    told = re.fullmatch(r"stopped: (\d+) pictures are answered in out; the same command with --resume goes on\n", done.err)
    assert done.status == 143 and told and 1 <= int(told[1]) <= count           # more may have been written after it
    assert go("--resume", kind=kind).status == 0 and Path("out").read_bytes() == whole


def test_a_disk_that_gets_full_leaves_whole_lines(go):
    go()
    whole = Path("out").read_bytes()
    Path("out").unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        done = go()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (done.status, done.err) == (2, "infer.py: error: out: cannot be written: File too large; free some space or choose "
                                          "another folder\n")
    left = Path("out").read_bytes()
    assert 0 < len(left) < 400 and whole.startswith(left) and left.endswith(b"\n")
    assert go("--resume").status == 0 and Path("out").read_bytes() == whole


def test_two_do_not_write_at_once(go):
    with growing.alone(Path("out")):
        done = go()
    assert (done.status, done.err) == (2, f"infer.py: error: --output out: process {os.getpid()} works there; wait for it, or "
                                          f"name another --output\n")
    assert go().status == 0 and sorted(os.listdir()) == ["out", "p"]
    with pytest.raises(UserError, match=r"^none/out: cannot be written: No such file"), growing.alone(Path("none/out")):
        pass
