"""paddle-cls features: what it writes, bit for bit what the network gives, and what it refuses."""

import csv
import os
import resource

import numpy as np
import pytest
from fake_answers import draw

from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import features


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with three pictures in p/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "PROGRAM", "paddle-cls features")
    draw(tmp_path / "p", 3)
    return tmp_path


def test_both_kinds_hold_the_networks_features(place, run_folder, call):
    (place / "p/01.png").rename(place / 'p/!ä\n"1".png')
    for name in ("out.npz", "out.csv"):
        done = call(features, "p", "--checkpoint", run_folder, "--device", "cpu", "--output", name)
        assert (done.status, done.out, done.err) == (0, f"{name}: features of 3 pictures by {run_folder}/best\n", "")
    files = ['p/!ä\n"1".png', "p/00.png", "p/02.png"]
    expected = Predictor.from_checkpoint(run_folder, device="cpu").features(files)
    with np.load("out.npz") as arrays:                         # which takes no pickle
        assert sorted(arrays) == ["features", "files"] and arrays["files"].tolist() == files
        assert arrays["features"].dtype == np.float32
        np.testing.assert_array_equal(arrays["features"], expected)
    with open("out.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["image", *(f"f{place}" for place in range(64))]
    assert [row[0] for row in rows] == ['p/!ä\\n"1".png', "p/00.png", "p/02.png"]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], np.float32), expected)


@pytest.mark.parametrize("name", ["out.npz", "out.csv"])
def test_an_unreadable_picture_is_named_and_the_rest_is_done(place, colours, call_in_memory, closed, name):
    (place / "p/01.png").write_bytes(b"")
    done = call_in_memory(features, "p/0*", "p", "--output", name, "--batch-size", 1)
    assert (done.status, done.err.splitlines()) == (1, [
        "paddle-cls features: not read: p/closed: cannot be looked into: Permission denied",
        "paddle-cls features: not read: p/01.png: the file is empty"])
    assert done.out == f"{name}: features of 2 pictures by run/best\n" and sorted(os.listdir()) == [name, "p"]


@pytest.mark.parametrize("flags, message", [
    (["p"], "--output: into which file? For example --output features.npz"),
    (["p", "--output", "out.txt"], "--output out.txt: unknown kind of file '.txt'; known: .csv, .npz"),
    (["p", "--output", "out"], "--output out: unknown kind of file ''; known: .csv, .npz"),
    (["none", "--output", "out.npz"], "none: no such file or folder"),
    (["", "--output", "out.npz"], "'': is empty; name a picture, a folder or a pattern"),
    (["p", "--output", "none/out.npz"], "--output none/out.npz: there is no folder none; make it first"),
    (["empty.png", "empty.jpg", "--output", "out.npz"], "empty.png: the file is empty (and 1 more files)"),
    (["--output", "out.npz"], "the following arguments are required: PICTURES; paddle-cls features --help lists the flags"),
])
def test_what_is_refused(place, colours, call_in_memory, flags, message):
    for name in ("empty.png", "empty.jpg"):
        (place / name).write_bytes(b"")
    before = sorted(os.listdir())
    done = call_in_memory(features, *flags)
    assert (done.status, done.out, done.err) == (2, "", f"paddle-cls features: error: {message}\n")
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", ["out.npz", "out.csv"])
def test_a_disk_that_gets_full_leaves_the_old_file(place, colours, call_in_memory, name):
    (place / name).write_text("old")
    draw(place / "p", 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        done = call_in_memory(features, "p", "--output", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.status == 2 and done.err.count("\n") == 1
    assert done.err.startswith(f"paddle-cls features: error: {name}: cannot be written: File too large; free some space")
    assert (place / name).read_text() == "old" and sorted(os.listdir()) == [name, "p"]
