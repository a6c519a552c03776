"""Many pictures: how folders are walked, lists in files, parts for several machines, and answers that come while others wait."""

import csv
import io
import json
import os
import threading
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from fake_answers import draw

from paddle_cls.data.images.files import walk
from paddle_cls.errors import UserError
from paddle_cls.inference import decoding
from paddle_cls.inference.answer import STREAMED
from paddle_cls.programs import infer
from paddle_cls.programs.shared.pictures import Found, Shard
from paddle_cls.system import console


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The working folder, with nine pictures in p/."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "p", 9)
    return tmp_path


def paths(found) -> list[str]:
    return [str(picture.path) for picture in found]


def test_a_folder_is_walked_in_the_order_of_its_paths(place):
    for name in ("a/x.png", "a.png", "a-b.png", "a/b/c.png", "a/b.png", "B/z.JPG", ".hidden/a.png", "a/.b.png", "a/notes.txt",
                 "__MACOSX/a.png", "empty/deep/x.txt", "ä.png"):
        (place / "q" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "q" / name).write_bytes(b"")
    (place / "q/link").symlink_to("a")
    (place / "q/file.png").symlink_to("a.png")
    names = ["B/z.JPG", "a/b/c.png", "a/b.png", "a/x.png", "a-b.png", "a.png", "file.png", "ä.png"]
    assert paths(Found(["q"])) == [f"q/{name}" for name in names] == list(map(str, sorted(Path("q") / name for name in names)))
    assert paths(Found(["q/"])) == paths(Found(["./q"])) == paths(Found(["q"]))
    assert list(walk(place / "q", [])) == [place / "q" / name for name in names]


def test_walking_holds_the_names_of_one_folder(place):
    looked = []
    real = os.scandir
    with pytest.MonkeyPatch.context() as patch:
        for name in "xyz":
            draw(place / "q" / name, 2)
        patch.setattr(os, "scandir", lambda folder: looked.append(folder) or real(folder))
        pictures = iter(Found(["q"]))
        looked.clear()
        for number in range(5):
            next(pictures)
            assert looked == ["q", "q/x", "q/y", "q/z"][:2 + number // 2]


def test_a_folder_that_cannot_be_looked_into_is_told_once_a_walk(place, closed):
    found = Found(["p"])
    for _ in range(2):
        assert len(list(found)) == 9 and found.unread == ["p/closed: cannot be looked into: Permission denied"]


def test_who_leaves_early_need_not_wait_for_what_is_to_be_decoded(place, monkeypatch):
    looked = []

    def slow(path, size):
        looked.append(path)
        time.sleep(0.02)
        return np.zeros((2, 2, 3), np.uint8)
    monkeypatch.setattr(decoding, "decode", slow)
    pictures = decoding.decoded(map(Path, "x" * 100), 50, 2)
    next(pictures)
    pictures.close()
    count = len(looked)
    time.sleep(0.1)
    assert len(looked) == count < 25


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 9])
def test_shards_are_the_whole_and_share_nothing(place, parts):
    for found in (Found(["p"]), Found(["p/0*", "p"])):
        whole = paths(found)
        shards = [paths(Shard(found, f"{part}/{parts}")) for part in range(1, parts + 1)]
        assert len(whole) == 9 and sorted(chain(*shards)) == whole
        assert {len(shard) for shard in shards} <= {9 // parts, 9 // parts + 1}
        assert shards[-1][0] == whole[parts - 1] and Shard(found, f"{parts}/{parts}").count() == len(shards[-1])


@pytest.mark.parametrize("part", ["0/8", "9/8", "8", "1/0", "-1/8", "1/8/2", "a/b", "1 /8"])
def test_what_is_no_shard(place, part):
    form = "is not of the form PART/PARTS, such as 2/8, with PART from 1 to PARTS"
    with pytest.raises(UserError, match=f"^--shard {part}: {form}$"):
        Shard(Found(["p"]), part)


def answered(done) -> list[str]:
    return [json.loads(line)["image"] for line in done.out.splitlines()]


def test_a_list_names_pictures(place, call_in_memory, colours, monkeypatch):
    (place / "p/03.png").rename(place / "p/ ä=.png")
    text = "\ufeffp/02.png\n\np/01.png\r\np/none.png\np/ ä=.png\np/01.png\np\n" + str(place / "p/00.png")
    (place / "list.txt").write_text(text, newline="")
    names = ["p/02.png", "p/01.png", "p/ ä=.png", "p/01.png", str(place / "p/00.png")]
    told = ["answers by run/best (not evaluated)",
            "infer.py: not read: list.txt:4: p/none.png: cannot be read: No such file or directory",
            "infer.py: not read: list.txt:7: p: cannot be read: a folder, not a file"]
    done = call_in_memory(infer, "--list", "list.txt", "--format", "jsonl", "--batch-size", 2)
    assert (done.status, answered(done), done.err.splitlines()) == (1, names, told)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    done = call_in_memory(infer, "--list", "-", "--format", "jsonl", "--shard", "2/3")
    assert (done.status, answered(done)) == (0, ["p/01.png", "p/01.png"])


GROW = "--resume: goes with --output FILE and --format csv or jsonl: those grow in a file"


@pytest.mark.parametrize("content, flags, message", [
    (None, (), "--list list.txt: cannot be read: No such file or directory"),
    (b"\n\n", (), "--list list.txt: names no picture"),
    (b"none\n", (), "list.txt:1: none: cannot be read: No such file or directory"),
    (b"p/01.png\0p/02.png\0", (), "--list list.txt: line 1 holds a zero byte; give one path a line"),
    (b"p/01.png", ("--image", "p"), "--list list.txt: names the pictures, and --image does too; leave out one of the two"),
    (b"p/01.png", ("--shard", "2/2"), "--shard 2/2: there are too few pictures for this part; use fewer parts"),
    (b"p/01.png", ("--output", "list.txt"), "--output list.txt: is what is to be read; name another file"),
    (b"p/01.png", ("--resume",), GROW),
    (b"p/01.png", ("--resume", "--format", "csv"), GROW),
    (b"p/01.png", ("--resume", "--format", "json", "--output", "out"), GROW),
])
def test_what_is_wrong_with_a_list(place, call_in_memory, colours, content, flags, message):
    if content is not None:
        (place / "list.txt").write_bytes(content)
    before = sorted(os.listdir())
    done = call_in_memory(infer, "--list", "list.txt", *flags)
    assert (done.status, done.out, done.err) == (2, "", f"infer.py: error: {message}\n")
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("kind", STREAMED)
def test_answers_come_while_others_are_computed(place, call_in_memory, colours, monkeypatch, kind):
    """And few paths are taken ahead of them."""
    came, waited = threading.Event(), []
    names = draw(Path("p"), 40)

    def before(images):
        if len(waited) < 20:
            waited.append(not waited or came.wait(5))

    real = console.flush
    monkeypatch.setattr(console, "flush", lambda: (real(), came.set(), taken.append(colours.asked)))
    colours.before, taken = before, []
    done = call_in_memory(infer, "--image", "p", "--format", kind, "--batch-size", 2, "--topk", 1)
    assert done.status == 0 and all(waited) and len(waited) == 20
    assert [number - place for place, number in enumerate(taken) if number - place > 12] == []
    lines = done.out.splitlines()
    found = {"csv": [row[0] for row in csv.reader(lines[1:])], "text": lines[::2]}
    assert names == (answered(done) if kind == "jsonl" else found[kind])


def test_a_text_in_a_file_is_there_at_the_end(place, call_in_memory, colours):
    (place / "out").write_text("old")
    seen: list[str] = []
    colours.before = lambda images: seen.append((place / "out").read_text())
    done = call_in_memory(infer, "--image", "p", "--output", "out")
    assert done.status == 0 and set(seen) == {"old"} and (place / "out").read_text().startswith("p/00.png\n  ")
    assert sorted(os.listdir()) == ["out", "p"]


def test_a_bar_on_a_terminal_knows_how_many_there_are(place, call_in_memory, colours, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown(*flags: str) -> str:
        monkeypatch.setattr("sys.stderr", Terminal())
        infer.main(["--batch-size", "2", "--format", "csv", "--output", "out", *flags])
        return infer.sys.stderr.getvalue()
    assert "/9 [" in shown("--image", "p") and "/3 [" in shown("--image", "p", "--shard", "1/3")
    assert "img/s" not in shown("--image", "p/00.png") and "0/1" not in shown("--image", "p/00.png")


def test_the_worker_of_the_example_for_ray(place, colours):
    """Ray is not there: it calls this class."""
    from examples.ray_batches import Classify
    (place / "p/01.png").write_bytes(b"")
    worker = Classify("run")
    assert worker({"path": ["p/00.png", "p/01.png"]}) == {
        "image": ["p/00.png", "p/01.png"], "class": ["green", ""], "probability": [pytest.approx(101 / 153), 0.0],
        "error": ["", "p/01.png: the file is empty"]}
