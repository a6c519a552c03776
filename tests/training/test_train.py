"""train.py as its users start it: whole runs on a tiny CIFAR-10, resumed, interrupted, killed."""

import contextlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from paddle_cls.checkpoints import checkpoint
from paddle_cls.data.sets import cifar10
from paddle_cls.programs import train
from paddle_cls.training import log
from paddle_cls.training.log import read_rows

BASE = ["--model", "resnet", "--depth", "8", "--dataset", "cifar10", "--batch-size", "16", "--device", "cpu",
        "--optimizer", "nesterov", "--lr", "0.05", "--schedule", "onecycle", "--warmup-epochs", "0.5", "--weight-decay",
        "5e-4", "--no-decay-norm-bias", "--label-smoothing", "0.1", "--augment", "crop_flip", "--log-every", "2"]
EXACT = ("epoch", "lr", "train/loss", "train/acc1", "val/loss", "val/acc1")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A folder with a CIFAR-10 of 5 x 18 training and 26 test images, each class of one colour."""
    root = tmp_path_factory.mktemp("tiny")
    (root / cifar10.FOLDER).mkdir()
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (10, 3, 1))
    for name in (*cifar10.FILES["train"], *cifar10.FILES["test"]):
        labels = [i % 10 for i in range(26 if name == "test_batch" else 18)]
        images = np.clip(colours[labels] + rng.integers(-20, 20, (len(labels), 3, 1024)), 0, 255)
        batch = {b"data": images.reshape(len(labels), 3072).astype(np.uint8), b"labels": labels}
        (root / cifar10.FOLDER / name).write_bytes(pickle.dumps(batch, protocol=2))
    return root


def command(data: Path, folder: Path, *more: object) -> list[str]:
    return [*BASE, "--data-dir", str(data), "--output-dir", str(folder), *map(str, more)]


def run(data: Path, folder: Path, *more: object) -> None:
    """Train in this process. A resumed run here meets other parameter names than a new process does, so: --nproc 1."""
    import paddle
    with paddle.utils.unique_name.guard():
        assert train.main(command(data, folder, "--nproc", 1, *more)) == 0


def start(data: Path, folder: Path, *more: object, program: tuple = (ROOT / "train.py",), **kwargs) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE_TRAINER")}
    return subprocess.Popen([sys.executable, *program, *command(data, folder, *more)], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **kwargs)


def outcome(folder: Path) -> list[dict]:
    """Return the rows of a run without what depends on time."""
    return [{key: row[key] for key in ("step", *EXACT) if key in row} for row in read_rows(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def unbroken(tiny, tmp_path_factory) -> Path:
    """The folder of a run of three epochs; beside it, in `out`, what it printed."""
    folder = tmp_path_factory.mktemp("unbroken")
    with open(folder / "out", "w") as out, contextlib.redirect_stdout(out):
        run(tiny, folder / "run", "--epochs", 3)
    return folder / "run"


def test_a_run_leaves_what_the_readme_promises(unbroken):
    names = {path.name for path in unbroken.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "vdl", "curves.png", "confusion.png", "samples.png",
                     *(f"{n}{s}" for n in ("last", "best") for s in (".pdparams", ".json")), "last.pdopt"}
    rows = outcome(unbroken)
    assert [row["step"] for row in rows if "epoch" in row] == [6, 12, 18]          # 90 images in batches of 16
    assert [row["step"] for row in rows if "epoch" not in row] == list(range(2, 19, 2))
    info = checkpoint.read_info(unbroken / "last")
    assert (info.epoch, info.step) == (3, 18)
    assert info.best["val/acc1"] == max(row["val/acc1"] for row in rows if "epoch" in row)
    assert info.metrics == {key: rows[-1][key] for key in info.metrics if key in rows[-1]} | {
        k: info.metrics[k] for k in ("train/error_rate", "val/error_rate", "val/map")}


def test_visualdl_reads_the_log(unbroken):
    from visualdl import LogReader
    (file,) = (unbroken / "vdl").glob("*/*.log")
    reader = LogReader(file_path=str(file))
    values = {point.id: point.value for point in reader.get_data("scalar", "loss_and_accuracy/val/acc1")}
    assert values == pytest.approx({row["step"]: row["val/acc1"] for row in outcome(unbroken) if "epoch" in row})
    tags = {tag.partition(".log/")[2].replace("%", "/"): kind for tag, kind in reader.tags().items()}
    shown = {tag for tag, kind in tags.items() if kind == "scalar"}
    assert sorted(tag for tag in shown if tag < "loss_and_accuracy0") == [            # the first group, which is open
        f"loss_and_accuracy/{s}/{n}" for s in ("train", "val") for n in ("acc1", "loss")] == sorted(shown)[:4]
    assert shown >= {"more/train/error_rate", "more/val/error_rate", "more/lr", "speed/images_per_second", "speed/reader_share"}
    assert {tags[name] for name in ("curves", "confusion", "samples")} == {"image"}
    assert {tags[name] for name in ("weights/first", "weights/last")} == {"histogram"}
    graph = json.loads(next((unbroken / "vdl").glob("*/vdlgraph.json")).read_text())
    assert "conv2d" in {node["type"] for node in graph["nodes"]}             # of Paddle's own layers, before ours replace them


def test_the_same_seed_gives_the_same_run_and_another_another(tiny, unbroken, tmp_path):
    run(tiny, tmp_path / "same", "--epochs", 3)
    run(tiny, tmp_path / "other", "--epochs", 3, "--seed", 1, "--max-steps", 2)
    assert outcome(tmp_path / "same") == outcome(unbroken)
    assert outcome(tmp_path / "other")[0] != outcome(unbroken)[0]


def test_the_last_line_is_json_and_eval_only_agrees(tiny, unbroken, capsys):
    last = json.loads(unbroken.with_name("out").read_text().splitlines()[-1])
    assert last["final"]["val/acc1"] == outcome(unbroken)[-1]["val/acc1"]
    train.main(["--eval-only", "--checkpoint", str(unbroken / "last"), "--dataset", "cifar10", "--data-dir",
                str(tiny)])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["acc1"] == last["final"]["val/acc1"]
    assert figures["loss"] == pytest.approx(last["final"]["val/loss"], rel=1e-5)


@pytest.mark.parametrize("extra", [
    (), ("--ema-decay", 0.9, "--optimizer", "adam", "--accumulate", 2, "--clip-norm", 1),
    ("--augment", "resized_crop=0.4,flip,jitter,rotate,randaugment,erase", "--mixup", 0.4, "--cutmix", 1, "--sampling",
     "balanced", "--class-weights", "cat=3", "--accumulate", 2)])
def test_a_run_stopped_by_max_steps_resumes_to_the_same_figures(tiny, tmp_path, extra):
    run(tiny, tmp_path / "whole", "--epochs", 2, *extra)
    run(tiny, tmp_path / "parts", "--epochs", 2, "--max-steps", 4, *extra)        # in the middle of epoch 1
    run(tiny, tmp_path / "parts", "--epochs", 2, "--resume", "--max-steps", 12, *extra)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_vgg_with_dropout_resumes_to_the_same_figures(tiny, tmp_path):
    more = ["--model", "vgg", "--epochs", 1, "--optimizer", "adam", "--batch-size", 9]
    def go(folder, *last):
        arguments = [a for a in command(tiny, folder, *more, *last, "--nproc", 1) if a not in ("--depth", "8")]
        import paddle
        with paddle.utils.unique_name.guard():
            train.main(arguments)
    go(tmp_path / "whole", "--max-steps", 2)
    go(tmp_path / "parts", "--max-steps", 1)
    go(tmp_path / "parts", "--resume", "--max-steps", 2)
    assert outcome(tmp_path / "parts")[-1] == outcome(tmp_path / "whole")[-1]


def kill_until_done(data: Path, folder: Path, moments: list[float], *more: object) -> int:
    """Start and kill -9 after each of `moments` seconds of training, then let it finish; return the number of kills."""
    kills = 0
    for moment in moments:
        starts = set(folder.glob("vdl/*"))
        process = start(data, folder, *more, *(("--resume",) if folder.exists() else ()))
        while process.poll() is None and not set(folder.glob("vdl/*")) - starts:
            time.sleep(0.01)
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    process = start(data, folder, *more, *(("--resume",) if folder.exists() else ()))
    _, err = process.communicate()
    assert process.returncode == 0, err
    return kills


def test_kill_9_and_resume_give_the_figures_of_an_unbroken_run(tiny, unbroken, tmp_path):
    rng = random.Random(0)
    moments = [0.0, *(rng.uniform(0.2, 2.5) for _ in range(2))]
    kills = kill_until_done(tiny, tmp_path / "run", moments, "--epochs", 3, "--nproc", 1, "--save-minutes", 0)
    assert kills >= 1
    assert outcome(tmp_path / "run") == outcome(unbroken)


@pytest.fixture(scope="module")
def eleven(tiny, tmp_path_factory) -> Path:
    """The folder of a run that was stopped a step before the end of epoch 2; to be copied."""
    folder = tmp_path_factory.mktemp("eleven")
    run(tiny, folder / "run", "--epochs", 3, "--save-minutes", 0, "--max-steps", 11)
    return folder / "run"


@pytest.mark.parametrize(("where", "moment"), [("log", 1), ("log", 2), ("save", 1), ("restate", 1)])
def test_a_crash_between_log_and_checkpoint_neither_loses_nor_doubles_a_row(tiny, unbroken, eleven, tmp_path, monkeypatch,
                                                                            where, moment):
    """At the end of epoch 2 a crash before the `moment`-th row or checkpoint, then a resumed run."""
    owner, name = (log.Log, "scalars") if where == "log" else (checkpoint, where)
    original, calls = getattr(owner, name), []

    class Crash(BaseException):
        """As kill -9."""

    def crashing(*args):
        calls.append(args)
        if len(calls) == moment:
            raise Crash
        return original(*args)

    more = ["--epochs", 3, "--save-minutes", 0]
    shutil.copytree(eleven, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crashing)
        with pytest.raises(Crash):
            run(tiny, tmp_path / "run", *more, "--resume", "--max-steps", 12)
    run(tiny, tmp_path / "run", *more, "--resume", "--max-steps", 12)
    assert outcome(tmp_path / "run") == [row for row in outcome(unbroken) if row["step"] <= 12]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tiny, tmp_path):
    process = start(tiny, tmp_path / "run", "--epochs", 3, "--nproc", 1, "--lr", 1e30, "--schedule", "constant",
                    "--warmup-epochs", 0)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(r"train\.py: error: the loss of step \d+ is (nan|inf); no good checkpoint yet; .*\n", err), err
