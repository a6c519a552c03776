"""What several test files share: fake data, one checkpoint, and the scripts called inside the test's process."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import write_checkpoint, write_cifar

from paddle_cls import runtime
from paddle_cls.errors import reported

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))                      # train.py and infer.py are no part of the package
runtime.prepare()                                  # before any test file loads Paddle
os.environ.update(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")


@dataclass
class Outcome:
    """What a script left: its exit status and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def call(capfd):
    """Return a function (script module, arguments) -> Outcome that runs a script's `main` as its command line does."""
    def run(script, *arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended, reported(script.PROGRAM):
            sys.exit(script.main([str(argument) for argument in arguments]))
        return Outcome(ended.value.code, *capfd.readouterr())

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in before.items():         # train.py sets its own
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def cifar_root(tmp_path_factory) -> Path:
    """A folder with fake CIFAR-10 batches of 4 images each; not to be changed."""
    return write_cifar(tmp_path_factory.mktemp("cifar"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A run folder with best and last checkpoints of an untrained ResNet-8 for CIFAR-10's classes; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("runs") / "cifar10_resnet")
