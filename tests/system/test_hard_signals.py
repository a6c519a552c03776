"""Signals, errors in mid-epoch and diverged trainings: what is kept, and the one line that is said."""
# ruff: noqa: F811 -- `tiny` is the fixture of another file

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import paddle
import psutil
import pytest
from conftest import ROOT
from test_train import command, outcome, run, start, tiny  # noqa: F401 (tiny is a fixture)

from paddle_cls.checkpoints import checkpoint
from paddle_cls.checkpoints.info import Description
from paddle_cls.checkpoints.storage import exists
from paddle_cls.data import reader
from paddle_cls.errors import UserError
from paddle_cls.evaluation import metrics
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import train
from paddle_cls.system import entry, stopping
from paddle_cls.training import log
from paddle_cls.training.run import Run

OFF = ("--onednn", "off", "--nproc", 1)


class Calls(list):
    """What a function was called with."""


@pytest.fixture
def gone(monkeypatch):
    """What `stopping.leave` was called with, which would have ended the tests."""
    calls, forced = Calls(), []
    monkeypatch.setattr(stopping, "leave", calls.append)
    monkeypatch.setattr(stopping, "PATIENCE", 0.0)

    def start(function, arguments) -> None:
        forced.append(threading.Thread(target=function, args=arguments))
        forced[-1].start()

    monkeypatch.setattr(stopping._thread, "start_new_thread", start)
    calls.wait = lambda: [thread.join() for thread in forced]
    yield calls
    calls.wait()                                   # none is left to the next test, which it would end


def test_a_signal_ends_at_once_what_has_nothing_to_put_away(gone):
    with pytest.raises(stopping.Stopped):          # `leave` does not return in truth
        stopping.on_signal(signal.SIGTERM)
    assert gone[0] == signal.SIGTERM
    stopping._now.caught.clear()


@pytest.mark.parametrize("turned", [None, ImportError("initialization failed"), OSError("a pipe broke")])
def test_a_signal_is_told_by_the_status_alone_whatever_a_library_makes_of_it(gone, capsys, turned):
    with pytest.raises(SystemExit) as ended, entry.reported("x"):
        try:
            stopping.on_signal(signal.SIGHUP)
        except stopping.Stopped:
            if turned:
                raise turned from None
            raise
    assert ended.value.code == 129 and capsys.readouterr().err == ""
    gone.wait()
    assert gone == [signal.SIGHUP]                 # who has not ended by then is ended


def test_a_second_signal_does_not_wait(gone):
    with pytest.raises(SystemExit), entry.reported("x"):
        with pytest.raises(stopping.Stopped):
            stopping.on_signal(signal.SIGINT)
        stopping.on_signal(signal.SIGTERM)
    assert signal.SIGTERM in gone


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> Path:
    """The folder of a run that nothing came in between."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(tiny, folder, "--epochs", 1, *OFF)
    return folder


@pytest.mark.parametrize(("owner", "name"), [(metrics, "classification"), (log.Log, "pictures"), (checkpoint, "save")])
def test_a_signal_in_the_evaluation_keeps_the_steps_and_the_figures(tiny, whole, tmp_path, monkeypatch, call, gone, owner, name):
    """A signal in the evaluation, in the drawing, two in the saving before it; resumed it gives an unbroken run's figures."""
    original = getattr(owner, name)

    def signalled(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        if name == "save":
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    more = ["--epochs", 1, *OFF]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled)
        done = call(train, *command(tiny, tmp_path / "run", *more))
    assert (done.status, done.err) == (143, "")
    assert done.out.splitlines()[-1] == (f"stopped by a signal after step 6; {tmp_path}/run/last is saved, continue with "
                                         f"--resume --output-dir {tmp_path}/run")
    assert checkpoint.read_info(tmp_path / "run" / "last").step == 6
    run(tiny, tmp_path / "run", *more, "--resume")
    assert outcome(tmp_path / "run") == outcome(whole)


def test_the_save_after_an_evaluation_writes_the_figures_alone(tiny, tmp_path, monkeypatch, call):
    """The weights of `last` are written before it; those of a better `best` once more, as a checkpoint of its own."""
    written = []
    save = paddle.save
    monkeypatch.setattr(paddle, "save", lambda state, path: (written.append(Path(path).name), save(state, path)))
    done = call(train, *command(tiny, tmp_path / "run", "--epochs", 1, "--ema-decay", 0.9, *OFF))
    assert (done.status, written) == (0, [".last.new.pdparams", ".last.new.pdopt", ".best.new.pdparams"])
    last, best = (checkpoint.read_info(tmp_path / "run" / name) for name in ("last", "best"))
    assert last.metrics == best.metrics and last.metrics["val/acc1"] > 0 and last.epoch == 1
    assert last.sha256[".pdparams"] == best.sha256[".pdparams"]
    run = Run(tmp_path / "again", *network(), about=Description.from_dictionary(ABOUT))
    for present in (True, False):
        if not present:
            (tmp_path / "again" / "last.pdopt").unlink()
        run.save("last")                           # whole, as a file is not there
        run.save("last")
        assert checkpoint.read_optimizer(tmp_path / "again" / "last", checkpoint.read_info(tmp_path / "again" / "last")).keys() \
            == run.initial_state.keys()


@pytest.mark.parametrize("error", [UserError("cat.jpg: vanished"), BrokenPipeError(32, "Broken pipe"),
                                   FileNotFoundError(2, "No such file or directory", "cat.jpg")])
def test_an_error_in_mid_epoch_saves_first(tiny, whole, tmp_path, monkeypatch, call, error):
    original = reader.Split.fetch
    calls = []

    def vanishing(split, indices):
        calls.append(1)
        if len(calls) == 5:                        # the first is the probe
            raise error
        return original(split, indices)

    with monkeypatch.context() as patch:
        patch.setattr(reader.Split, "fetch", vanishing)
        done = call(train, *command(tiny, tmp_path / "run", "--epochs", 1, *OFF))
    assert done.status == 2
    told = {UserError: "cat.jpg: vanished", BrokenPipeError: "Broken pipe"}.get(
        type(error), "cat.jpg: No such file or directory")
    assert done.err.splitlines()[-1] == (f"train.py: error: {told}; {tmp_path}/run/last is saved, continue with --resume "
                                         f"--output-dir {tmp_path}/run")
    assert checkpoint.read_info(tmp_path / "run" / "last").step == 3
    assert not (tmp_path / "run" / ".last.lock").exists()
    run(tiny, tmp_path / "run", "--epochs", 1, *OFF, "--resume")
    assert outcome(tmp_path / "run")[-1] == outcome(whole)[-1]


@pytest.mark.parametrize("more", [("--lr", 1e38, "--optimizer", "adam"), ("--lr", 1e20, "--optimizer", "momentum"),
                                  ("--lr", 1e10, "--optimizer", "adam")], ids=["lr 1e38", "momentum lr 1e20", "lr 1e10"])
def test_a_step_too_large_is_noticed_before_it_is_saved(tiny, tmp_path, call, more):
    folder = tmp_path / "run"
    flags = ["--epochs", 1, *OFF, "--schedule", "constant", "--warmup-epochs", 0, "--max-steps", 1, *more]
    done = call(train, *command(tiny, folder, *flags))
    if paddle.__version__.startswith("2.") and done.status == 0:       # its sums may stay below 3e38: then nothing has diverged
        json.loads(done.out.splitlines()[-1], parse_constant=pytest.fail)
        return
    assert done.status == 1
    assert re.fullmatch(r"train\.py: error: the (network's answers|logits of the evaluation) after step 1 are not finite; no good"
                        r" checkpoint yet; try a lower --lr, --warmup-epochs 1 or --clip-norm 1", done.err.splitlines()[-1])
    assert "evaluation" in done.err or not (folder / "last.json").exists()


def test_only_a_loss_that_is_not_finite_advises_a_lower_rate(tmp_path, monkeypatch):
    def overflow(config, world):
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr(train, "train", overflow)
    with pytest.raises(OverflowError):
        train.main(["--nproc", "1", "--output-dir", str(tmp_path / "run")])


class Huge(paddle.nn.Layer):
    """Answers nan or a finite number, to any image."""

    def __init__(self, value: float):
        super().__init__()
        self.value = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(value))

    def forward(self, images):
        return paddle.zeros([len(images), 2]) + self.value


ABOUT = {"model": {"name": "resnet", "arguments": {}}, "dataset": "shapes", "classes": ["a", "b"], "image_size": 8,
         "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}


def test_weights_whose_answers_are_no_numbers_are_refused():
    images = np.zeros((1, 3, 8, 8), np.float32)
    given = Run(Path("x"), Huge(float("nan")), None, about=Description.from_dictionary(ABOUT), probe=images)
    with pytest.raises(UserError, match=r"^w\.pdparams: with these weights the network's answers are not finite; use others$"):
        given.check_given("w.pdparams")
    Run(Path("x"), Huge(1.0), None, about=Description.from_dictionary(ABOUT), probe=images).check_given("w.pdparams")
    predictor = Predictor(lambda: Huge(float("inf")), ["a", "b"], 8, train_normalization(), source="run/best")
    with pytest.raises(UserError, match=r"^run/best: the network's answers are not finite: its training diverged, or its"):
        predictor([np.zeros((8, 8, 3), np.uint8)])


def network():
    """Return a network and its optimizer."""
    model = Huge(1.0)
    return model, paddle.optimizer.Adam(parameters=model.parameters())


def train_normalization():
    """Return CIFAR-10's."""
    from paddle_cls.data import CIFAR10
    return CIFAR10


def test_a_closed_terminal_saves_and_its_dead_output_breaks_nothing(tiny, tmp_path):
    process = start(tiny, tmp_path / "run", "--epochs", 500, *OFF)
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run" / "metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    process.stdout.close()
    process.stderr.close()
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(30) in (129, 2)            # 2: the epoch's line broke first, and saved
    assert exists(tmp_path / "run" / "last")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends a process with its parent")
def test_the_workers_of_the_list_of_networks_die_with_it():
    process = subprocess.Popen([sys.executable, "-m", "paddle_cls.models"], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    parent, until = psutil.Process(process.pid), time.monotonic() + 60
    while not (workers := [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())
                           and child.memory_info().rss > 1e8]) and time.monotonic() < until:               # Paddle is loaded
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert workers and not psutil.wait_procs(workers, timeout=10)[1]
