"""train.py in several processes, and what signals and killed workers do to it."""
# ruff: noqa: F811 -- `tiny` is the fixture of another file

import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from test_train import ROOT, command, outcome, run, start, tiny  # noqa: F401 (tiny is a fixture)

from paddle_cls.checkpoints import checkpoint
from paddle_cls.parallel import launch, machines
from paddle_cls.programs import train
from paddle_cls.system import entry
from paddle_cls.training.log import read_rows


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_saves_and_leaves(tiny, tmp_path, number, status, processes):
    process = start(tiny, tmp_path / "run", "--epochs", 500, "--nproc", processes)
    while not read_rows(tmp_path / "run" / "metrics.jsonl"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    step = int(re.search(r"stopped by a signal after step (\d+);", out)[1])
    assert checkpoint.read_info(tmp_path / "run" / "last").step == step


def test_several_processes_do_what_one_does(tiny, tmp_path):
    """Without BN's influence (all images of one batch are alike) the sums over processes must be those of one."""
    more = ["--epochs", 1, "--optimizer", "momentum", "--augment", "none", "--lr", 0, "--max-steps", 6]
    run(tiny, tmp_path / "one", *more)
    process = start(tiny, tmp_path / "three", *more, "--nproc", 3, program=("-m", "paddle_cls", "train"))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    one, three = outcome(tmp_path / "one")[-1], outcome(tmp_path / "three")[-1]
    assert (three["step"], three["lr"]) == (one["step"], one["lr"])
    assert three["val/acc1"] == pytest.approx(one["val/acc1"], abs=0.2)
    assert three["val/loss"] == pytest.approx(one["val/loss"], rel=0.2)
    assert len(re.findall("epoch 1/1 ", out)) == 1                     # only the first process speaks


@pytest.mark.parametrize(("called", "command"), [
    ("/bin/paddle-cls", ["-m", "paddle_cls"]), ("C:/Scripts/paddle-cls.exe", ["-m", "paddle_cls"]),
    ("paddle_cls/__main__.py", ["-m", "paddle_cls"]), ("train.py", ["train.py"])])
def test_a_program_starts_itself_again_as_it_was_called(monkeypatch, called, command):
    """The first argument after paddle-cls names the program: without it, no second process would start."""
    monkeypatch.setattr(sys, "argv", [called, "train", "--nproc", "2"])
    assert entry.again() == [sys.executable, *command, "train", "--nproc", "2"]


def test_two_processes_that_mix_and_balance_go_on_in_the_middle_of_an_epoch(tiny, tmp_path):
    more = ["--epochs", 1, "--nproc", 2, "--mixup", 1, "--cutmix", 1, "--sampling", "balanced", "--class-weights", "cat=3"]
    for folder, last in (("whole", ()), ("parts", ("--max-steps", 3)), ("parts", ("--resume", "--max-steps", 6))):
        process = start(tiny, tmp_path / folder, *more, *last)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    whole, parts = (outcome(tmp_path / folder)[-1] for folder in ("whole", "parts"))
    assert parts == pytest.approx(whole, rel=1e-6) and whole["step"] == 6


def test_paddles_own_launcher_trains_data_parallel(tiny, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE_TRAINER")}
    done = subprocess.run([sys.executable, "-m", "paddle.distributed.launch", "--backend", "gloo", "--nproc_per_node", "2",
                           "--log_dir", tmp_path / "log", ROOT / "train.py", *command(tiny, tmp_path / "run", "--epochs", 1)],
                          env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in outcome(tmp_path / "run") if "epoch" in row] == [6]
    assert "90 training and 26 validation images" in done.stdout


def test_a_mistake_in_the_data_is_told_once_by_several_processes(tmp_path):
    (tmp_path / "empty").mkdir()
    process = start(tmp_path / "empty", tmp_path / "run", "--nproc", 2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.fullmatch(r"train\.py: error: .*empty: no cifar-10-batches-py/ and no cifar-10-python\.tar\.gz.*\n", err), err
    assert not (tmp_path / "run").exists()


def test_a_process_that_lost_another_waits_to_be_ended_and_then_says_so(call_in_memory, tmp_path, monkeypatch):
    """Its line would stand before the one that says who was killed; under Paddle's launcher it is the only one."""
    slept, bound, message = [], [], "[/paddle/gloo/pair.cc:576] Read error [10.0.0.2]:24780: Connection reset by peer"

    def lost(config, world):
        raise RuntimeError(message)

    monkeypatch.setattr(train, "train", lost)
    monkeypatch.setattr(machines, "_reported", threading.Lock())
    monkeypatch.setattr(launch, "end_with_launcher", lambda: bound.append("to its launcher"))
    monkeypatch.setattr(machines, "time", types.SimpleNamespace(sleep=slept.append))       # other threads may sleep, too
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    done = call_in_memory(train, "--nproc", 2, "--output-dir", tmp_path / "run")
    assert done.status == 1 and slept == [machines.WAIT] and bound == ["to its launcher"]
    assert done.err == (
        "train.py: error: another process of this training has ended or cannot be reached (Read error [10.0.0.2]:24780: "
        f"Connection reset by peer); go on with --resume --output-dir {tmp_path}/run on every machine\n")
    for size, message in (("2", "another mistake of ours"), ("1", "gloo: connection closed by peer")):
        monkeypatch.setenv("PADDLE_TRAINERS_NUM", size)
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(int(size) - 1))
        with pytest.raises(RuntimeError, match=message):
            train.main(["--nproc", size, "--output-dir", str(tmp_path / "run")])


def test_a_killed_worker_ends_all_with_one_message(tiny, tmp_path):
    process = start(tiny, tmp_path / "run", "--epochs", 500, "--nproc", 2)
    while not read_rows(tmp_path / "run" / "metrics.jsonl"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    children = [int(pid) for pid in
                Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(children[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("process 1 of 2 was ended by SIGKILL; the others are stopped. Continue with --resume")
    assert "Traceback" not in err
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


@pytest.mark.parametrize("first, status, told", [
    ("time.sleep(1); sys.exit(2)", 2, ""), ("time.sleep(60)", 1, "process 1 of 2 was ended by SIGABRT; the others are stopped.")])
def test_a_process_that_aborts_for_want_of_another_is_not_the_cause(first, status, told, capfd, monkeypatch):
    monkeypatch.setattr(launch, "ABORTED", 2.0)
    code = f"import os, sys, time\nif os.environ['PADDLE_TRAINER_ID'] == '1': os.abort()\n{first}"
    assert launch.run([sys.executable, "-c", code], 2, remedy="") == status
    assert capfd.readouterr().err.strip() == told
