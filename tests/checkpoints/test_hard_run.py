"""Run folders that are wrong, used by two programs at once, or read while a training writes into them."""

import multiprocessing
import os
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import paddle
import psutil
import pytest
from fakes import rgb, write_checkpoint
from PIL import Image
from test_checkpoint import save
from test_train import start, tiny  # noqa: F401 (a fixture)

from benchmarks.runs import table
from paddle_cls.checkpoints import checkpoint, storage
from paddle_cls.checkpoints.info import CheckpointInfo
from paddle_cls.checkpoints.locate import locate
from paddle_cls.checkpoints.storage import exists
from paddle_cls.checkpoints.weights import read_state
from paddle_cls.errors import UserError
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import report, train
from paddle_cls.system import files, lock
from paddle_cls.training.log import Log, read_rows

RESUME = ["--resume", "--nproc", "1", "--device", "cpu", "--data-dir", "data", "--output-dir", "run", "--epochs", "2"]
NEW = ["--depth", "8", "--nproc", "1", "--device", "cpu", "--data-dir", "data", "--output-dir", "new"]
ROWS = [
    ("epoch str", '{"step": 1, "epoch": "1"}', "epoch: '1' is not a number"),
    ("epoch half", '{"step": 1, "epoch": 1.5}', "epoch: 1.5 is not a whole number from 0 on"),
    ("epoch w/o figures", '{"step": 1, "epoch": 1}', "a row with epoch needs train/loss too"),
    ("deep", 100_000 * "[", r"not JSON \(nested too deeply\)"), ("empty line", "", r"not JSON \(Expecting value.*\)"),
    ("list", "[2]", r"\[2\] is not a dictionary"), ("no step", '{"loss": 2}', "step is missing"),
    ("step str", '{"step": "two"}', "step: 'two' is not a number"),
    ("nan", '{"step": 1, "x": NaN}', r"not JSON \(NaN is no number.*"),
    ("5000 digits", f'{{"step": {5000 * "1"}}}', r"not JSON \(a number of 5,000 digits\)"),
    ("not UTF-8", '{"step": 1, "\udce9": 1}', r"not JSON \(byte 13 is no UTF-8\)"),
]


@pytest.mark.parametrize("row, message", [case[1:] for case in ROWS], ids=[f"run metrics {case[0]}" for case in ROWS])
def test_a_row_that_is_wrong(tmp_path, row, message):
    (tmp_path / "metrics.jsonl").write_bytes(f'{{"step": 1}}\n{row}\n'.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=f"metrics.jsonl:2: {message}; delete that line$"):
        read_rows(tmp_path / "metrics.jsonl")


def test_a_wrong_row_is_told_by_train_before_it_writes_anything(here, refused):
    (here / "run/metrics.jsonl").write_text('{"step": 1, "epoch": "1"}\n')
    refused(train, "^train.py: error: run/metrics.jsonl:1: epoch: '1' is not a number; delete that line\n$", *RESUME)


def test_figures_that_are_not_finite_are_not_written(tmp_path):
    """Neither the log nor a checkpoint could be read again."""
    with pytest.raises(ArithmeticError, match=r"val/loss of step 3 is nan"):
        Log(tmp_path, active=False).scalars(3, {"val/loss": float("nan")})
    with pytest.raises(ArithmeticError, match="the figures are not finite"):
        save(tmp_path / "last", metrics={"val/loss": float("inf")})
    assert not exists(tmp_path / "last")


def test_a_split_that_is_no_utf8(refused, here):
    for label in ("cat", "dog"):
        (here / "own" / label).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rgb(i)).save(here / "own" / label / f"{i}.png")
    (here / "new/split.csv").write_bytes("é".encode("latin-1"))
    refused(train, r"error: new/split.csv: lists other pictures than there are now, ", *NEW[:-4], "--dataset", "folder",
            "--data-dir", "own", "--image-size", "32", "--output-dir", "new")


@pytest.mark.parametrize("content", [b'{"files": ' + 100_000 * b"[", b'{"files": [["a"]]}', b'{"files": 5}', b"[]", b"\xff"])
def test_another_figures_json_is_no_report(refused, here, content):
    (here / "run/report").mkdir()
    (here / "run/report/figures.json").write_bytes(content)
    refused(report, "report: holds figures.json, which is no part of a report; choose another folder\n$", "run",
            "--device", "cpu", "--data-dir", "data")


@pytest.mark.parametrize("name, content, message", [
    ("config.yaml", "lr: 0.1\n", r"br/config\.yaml: seed is missing; name run folders of train\.py"),
    ("config.yaml", "lr: [", r"br/config\.yaml:[12]: not YAML"),
    ("config.yaml", "5", r"br/config\.yaml: must hold 'key: value' lines, not a int"),
    ("metrics.jsonl", '{"step": 1, "val/acc1": "x"}\n', r"br/metrics\.jsonl:1: val/acc1: 'x' is not a number; delete that line"),
], ids=["runs config without seed", "runs config broken", "runs config int", "runs metrics str"])
def test_the_table_of_runs(tmp_path, name, content, message):
    texts = {"config.yaml": "seed: 1\n", "last.json": "{}", "metrics.jsonl": '{"step": 1, "val/acc1": 0.5}\n', name: content}
    (tmp_path / "br").mkdir()
    for file, text in texts.items():
        (tmp_path / "br" / file).write_text(text)
    with pytest.raises(UserError, match=message):
        table([tmp_path / "br"])


@pytest.mark.parametrize("flags", [NEW, RESUME, [*NEW[:-1], "run"]], ids=["new", "resume", "another's"])
def test_the_second_training_in_a_folder_is_refused(here, call, flags):
    folder = flags[flags.index("--output-dir") + 1]
    with lock.training_in(Path(folder)):
        before = sorted((here / folder).iterdir())
        done = call(train, *flags)
        assert done.status == 2
        assert done.err == (f"train.py: error: {folder}: process {os.getpid()} trains in it; wait for it, or choose another "
                            f"--output-dir\n")
        assert sorted((here / folder).iterdir()) == before
    assert not (here / folder / lock.NAME).exists()


def test_a_lock_that_a_killed_training_left_is_none(tmp_path):
    """Even where its number is that of our parent, which in a container may well be."""
    (tmp_path / lock.NAME).write_text(f"{os.getppid()}\n")
    with lock.training_in(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} trains"), lock.training_in(tmp_path):
        pass
    with lock.training_in(tmp_path / "a/b"):
        assert (tmp_path / "a/b" / lock.NAME).exists()
    assert not list(tmp_path.iterdir())            # of what was made for nothing, nothing stays


def test_the_launcher_holds_the_folder_for_its_processes(tiny, tmp_path):  # noqa: F811
    """And the system gives it back when it is killed; a second one is refused by the first one's number."""
    first = start(tiny, tmp_path / "run", "--epochs", 500, "--nproc", 2)
    while len(psutil.Process(first.pid).children()) < 2:
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = start(tiny, tmp_path / "run", "--epochs", 500, "--nproc", 2, "--resume")
    _, err = second.communicate(timeout=60)
    first.kill()
    first.communicate(timeout=60)
    assert second.returncode == 2 and f"process {first.pid} trains in it; wait for it" in err and err.count("\n") == 1
    with lock.training_in(tmp_path / "run"):
        pass


def saver(folder: Path, ready, stop) -> None:
    """Save checkpoints without a pause, each with its number as its weights."""
    model, number = paddle.nn.Linear(50, 40), 0
    about = checkpoint.read_info(folder / "pattern").about
    while not stop.is_set():
        number += 1
        for value in model.state_dict().values():
            value.set_value(np.full(value.shape, number, np.float32))
        checkpoint.save(folder / "last", model, {"x": paddle.full([900], number)}, CheckpointInfo.new(about, step=number))
        ready.set()
    (folder / "count").write_text(str(number))


def test_a_reader_beside_a_process_that_saves_gets_a_whole_checkpoint(tmp_path):
    """Old or new, never a mixture, a mistake, or a change of what the other process does."""
    save(tmp_path / "pattern")
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=saver, args=(tmp_path, ready, stop))
    process.start()
    assert ready.wait(30)
    seen, deadline = [], time.monotonic() + 60
    while len(seen) < 300 or (len(set(seen)) < 10 and time.monotonic() < deadline):
        info, held = storage.read(tmp_path / "last", storage.SUFFIXES)
        weights = checkpoint.read_weights(held[".pdparams"].path, held[".pdparams"].read())
        state = read_state(held[".pdopt"].path, held[".pdopt"].read())
        assert {float(value.flat[0]) for value in (*weights.values(), state["x"])} == {info.step}
        seen.append(info.step)
    stop.set()
    process.join(30)
    assert process.exitcode == 0 and seen == sorted(seen) and len(set(seen)) >= 10
    assert checkpoint.read_info(tmp_path / "last").step == int((tmp_path / "count").read_text())


def test_a_predictor_keeps_the_weights_that_it_has_looked_at(tmp_path):
    """They are loaded at need, when a training has long put others in their place."""
    write_checkpoint(tmp_path / "run")
    predictor = Predictor.from_checkpoint(tmp_path / "run", device="cpu")
    expected = predictor(images := [rgb(0)])
    again = Predictor.from_checkpoint(tmp_path / "run", device="cpu")
    assert again._model is None                    # the export is found
    write_checkpoint(tmp_path / "run", seed=1)
    np.testing.assert_allclose(again.features(images), predictor.features(images))
    np.testing.assert_allclose(again(images), expected)


def test_a_place_that_cannot_be_looked_at_is_passed_over(tmp_path):
    save(tmp_path / "one/last")
    (tmp_path / "one/away").symlink_to(tmp_path / "nothing")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/last.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "three").mkdir()
    os.mkfifo(tmp_path / "three/last.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(tmp_path / "one/socket"))
    assert locate(None, tmp_path) == tmp_path / "one/last"


def writer(number: int, folder: Path) -> None:
    """Write what infer.py --output and the report write, again and again."""
    for _ in range(20):
        files.write_text(folder / "same.txt", 1000 * str(number))
        with files.replacing(folder / "page") as part:
            for name in "abc":
                (part / name).write_text(str(number))


def test_programs_that_write_the_same_at_once(tmp_path):
    """3 infer.py with one --output, 3 reports of one run: all succeed, and what stays is whole."""
    writers = [multiprocessing.get_context("fork").Process(target=writer, args=(i, tmp_path)) for i in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    assert [process.exitcode for process in writers] == [0, 0, 0]
    text = (tmp_path / "same.txt").read_text()
    assert text in [1000 * str(i) for i in range(3)]
    assert len({(tmp_path / "page" / name).read_text() for name in "abc"}) == 1
    assert sorted(os.listdir(tmp_path)) == ["page", "same.txt"]


def test_find(tmp_path):
    save(tmp_path / "one" / "last")
    save(tmp_path / "two" / "last")
    for name in ("last.json", "last.pdopt", "last.pdparams"):
        os.utime(tmp_path / "one" / name, (2**31, 2**31))              # newer than the other
    assert locate(None, tmp_path) == tmp_path / "one" / "last"
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    for name in ("best.json", "best.pdparams"):
        shutil.copy(tmp_path / "three" / name.replace("best", "last"), tmp_path / "three" / name)
    assert locate(tmp_path / "three") == tmp_path / "three" / "best"
    for place in ("last", "last.json", "last.pdparams"):
        assert locate(tmp_path / "three" / place) == tmp_path / "three" / "last"
    with pytest.raises(UserError, match="no checkpoint under .*; train one first: python train.py"):
        locate(None, tmp_path / "nothing")
    with pytest.raises(UserError, match="no such checkpoint"):
        locate(tmp_path / "one" / "first.pdparams")
    (tmp_path / "one" / "alone.pdparams").write_bytes(b"")
    with pytest.raises(UserError, match=r"has no alone\.json beside it"):
        locate(tmp_path / "one" / "alone.pdparams")
