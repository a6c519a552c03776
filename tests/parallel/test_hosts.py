"""Two machines that train together: the check of what they must have alike, and two network namespaces joined by a cable."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from paddle_cls.checkpoints import checkpoint
from paddle_cls.data.sets import shapes
from paddle_cls.errors import UserError
from paddle_cls.parallel import machines
from paddle_cls.parallel.world import World
from paddle_cls.training.log import read_rows

NOTICED = 30                                       # seconds after which the page says that the other side has ended


class Other(World):
    """A world of two, the second of which has the first's numbers but for one."""

    def __init__(self, place: int):
        self.rank, self.size, self.place = 0, 2, place

    def gather(self, values):
        other = values.copy()
        other[0, self.place] += 1
        return np.concatenate([values, other])


LABELS = {"training": np.zeros(3, int), "validation": np.zeros(2, int)}


@pytest.mark.parametrize("place, told", [
    (0, "version of the package; give"), (1, "settings; give"), (2, "classes; give"), (3, "labels; give"),
    (4, "number of training images: process 0: 3, process 1: 4; give"),
    (5, "number of validation images: process 0: 2, process 1: 3; give"),
    (6, r"number of steps done \(last.json in the run folder\): process 0: 7, process 1: 8; give")])
def test_machines_that_differ_are_told_what_in(place, told):
    with pytest.raises(UserError, match="^the machines do not have the same " + told):
        machines.check_alike(Other(place), {"epochs": 2}, ("a", "b"), LABELS, 7)
    machines.check_alike(World(), {"epochs": 2}, ("a", "b"), LABELS, 7)              # one process agrees with itself


def test_settings_that_are_each_machines_own_may_differ():
    """The numbers that are compared do not change with them, and do with every other setting."""
    seen = []
    world = SimpleNamespace(gather=lambda values: seen.append(values) or values)
    for changed in ({}, {"data_dir": Path("there")}, {"seed": 1}):
        machines.check_alike(world, {"data_dir": Path("here"), "seed": 0, **changed}, ("a", "b"), LABELS, 0)
    assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).sum() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_ends_with_paddles_launcher_and_with_no_other_parent(tmp_path):
    """The parent prints the child's number and is killed."""
    child = ("import time; from paddle_cls.parallel import launch; launch.end_with_launcher()\n"
             "print('ready', flush=True); time.sleep(60)")
    parent = ("import os, subprocess, sys\np = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE)\n"
              "p.stdout.readline()\nprint(p.pid, flush=True)\nos.kill(os.getpid(), 9)")
    for more, ends in (({"PADDLE_LOCAL_RANK": "0"}, True), ({}, False)):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
        started = subprocess.Popen([sys.executable, "-c", parent, child], env=environment, stdout=subprocess.PIPE, text=True)
        number = int(started.stdout.readline())
        assert started.wait(10) == -signal.SIGKILL
        deadline = time.monotonic() + (10 if ends else 0.3)
        while alive(number) and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            assert alive(number) is not ends
        finally:
            if alive(number):
                os.kill(number, signal.SIGKILL)


def alive(number: int) -> bool:
    """Return whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ip(*arguments: str) -> subprocess.CompletedProcess:
    """Call iproute2."""
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=10)


class Machine:
    """A network namespace with an address, and what runs in it."""

    def __init__(self, rank: int, name: str):
        self.rank, self.space, self.card, self.address = rank, f"{name}{rank}", f"{name}v{rank}", f"10.77.0.{rank + 1}"

    def numbers(self) -> list[int]:
        """Return the processes in it."""
        return [int(number) for number in ip("netns", "pids", self.space).stdout.split()]

    def start(self, log: Path, arguments: list[str]) -> subprocess.Popen:
        """Start its half of a training, with the command of docs/several_machines.md."""
        command = ["ip", "netns", "exec", self.space, sys.executable, "-m", "paddle.distributed.launch", "--nnodes", "2",
                   "--rank", str(self.rank), "--master", "10.77.0.1:29600", "--host", self.address, "--nproc_per_node", "1",
                   "--log_dir", str(log), str(ROOT / "train.py"), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_TRAINER")}
        with open(log.with_suffix(".out"), "w") as out:
            return subprocess.Popen(command, env={**environment, "GLOO_SOCKET_IFNAME": self.card}, stdout=out, stderr=out,
                                    start_new_session=True)

    def kill(self) -> None:
        """End all that runs in it, as a power failure would."""
        for number in self.numbers():
            os.kill(number, signal.SIGKILL)


@pytest.fixture
def two():
    """Two machines joined by a cable; nothing of them is left afterwards."""
    if sys.platform != "linux" or not shutil.which("ip") or os.geteuid():
        pytest.skip("network namespaces need Linux, root and the program ip (apt-get install iproute2)")
    name = f"h{secrets.token_hex(3)}"
    both = [Machine(rank, name) for rank in (0, 1)]
    try:
        for machine in both:
            if (done := ip("netns", "add", machine.space)).returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
        ends = [("netns", machine.space, "name", machine.card) for machine in both]
        made = [ip("link", "add", *ends[0][2:], *ends[0][:2], "type", "veth", "peer", *ends[1][2:], *ends[1][:2])]
        for machine in both:
            made.append(ip("-n", machine.space, "addr", "add", f"{machine.address}/24", "dev", machine.card))
            made += [ip("-n", machine.space, "link", "set", card, "up") for card in ("lo", machine.card)]
        if wrong := [done.stderr.strip() for done in made if done.returncode]:
            pytest.skip(f"no virtual network here: {wrong[0]}")
        yield both
    finally:
        for machine in both:
            machine.kill()
            ip("netns", "del", machine.space)


def test_two_machines_train_and_the_loss_of_one_ends_the_other(two, tmp_path):
    for i in range(40):
        folder = tmp_path / "pictures" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shapes.draw(i % 2, np.random.default_rng(i))).save(folder / f"{i}.png")
    run = tmp_path / "run"
    arguments = ["--dataset", "folder", "--data-dir", str(tmp_path / "pictures"), "--model", "resnet", "--depth", "8",
                 "--device", "cpu", "--onednn", "off", "--batch-size", "8", "--optimizer", "momentum", "--lr", "0.01",
                 "--save-minutes", "0", "--log-every", "1", "--epochs", "500", "--output-dir", str(run)]
    started = [machine.start(tmp_path / f"first{machine.rank}", arguments) for machine in two]
    deadline = time.monotonic() + 90
    while sum("epoch" in row for row in read_rows(run / "metrics.jsonl")) < 2:
        assert time.monotonic() < deadline and started[0].poll() is None, (tmp_path / "first0.out").read_text()
        time.sleep(0.05)
    two[1].kill()
    lost = time.monotonic()
    assert started[0].wait(NOTICED) == 1 and started[1].wait(10) == -signal.SIGKILL
    while two[0].numbers() and time.monotonic() < lost + NOTICED:
        time.sleep(0.05)
    assert not two[0].numbers()                    # no orphan
    lines = (tmp_path / "first0" / "workerlog.0").read_text().splitlines()
    assert [line for line in lines if "error" in line.lower()] == [lines[-1]] and not any("Traceback" in line for line in lines)
    assert lines[-1].startswith("train.py: error: another process of this training has ended or cannot be reached (")
    assert lines[-1].endswith(f"; go on with --resume --output-dir {run} on every machine")

    step = checkpoint.read_info(run / "last").step
    assert step >= 10
    started = [machine.start(tmp_path / f"second{machine.rank}", [*arguments, "--resume", "--max-steps", str(step + 3)])
               for machine in two]
    assert [process.wait(90) for process in started] == [0, 0], (tmp_path / "second0.out").read_text()
    final = json.loads((tmp_path / "second0" / "workerlog.0").read_text().splitlines()[-1])
    assert final["step"] == final["final"]["step"] == step + 3
    assert [row["step"] for row in read_rows(run / "metrics.jsonl") if "epoch" not in row] == list(range(1, step + 4))
    assert not two[0].numbers() and not two[1].numbers()
