"""What the benchmarks share: two sides asked alternately, the check that both have the same network, and the table.

A side is a script with tasks (ours.py, torch_peer.py) and the Python that runs it: PyTorch may live in another environment.
"""

import argparse
import json
import pickle
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError
from paddle_cls.formats import markdown
from paddle_cls.programs.settings.command_line import Parser
from paddle_cls.system import runtime
from paddle_cls.system.entry import reported

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"ResNet-32": ("resnet", ["--depth", "32"]), "VGG": ("vgg", [])}     # title: --model, more flags of train.py
TOLERANCE = 1e-4                                   # of two networks' logits, relative to the largest


class Side:
    """A script of this folder that answers `PYTHON SCRIPT TASK ARGUMENTS` (JSON) with a line of JSON."""

    def __init__(self, script: Path, python: str = sys.executable, remedy: str = ""):
        self.script, self.python, self.remedy = script, python, remedy

    def ask(self, task: str, **arguments) -> dict:
        """Return the answer of a new process. Raises UserError where it fails."""
        try:
            done = subprocess.run([self.python, self.script, task, json.dumps(arguments)], cwd=ROOT, capture_output=True,
                                  text=True)
        except OSError as error:
            raise UserError(f"{self.python}: {error.strerror}{self.remedy}") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise UserError(f"{self.script.name} {task}: {reason}{self.remedy}")
        return json.loads(done.stdout.splitlines()[-1])


def sides(peer_python: str) -> tuple[Side, Side]:
    """Return (this package, PyTorch)."""
    folder = ROOT / "benchmarks"
    return Side(folder / "ours.py"), Side(folder / "torch_peer.py", peer_python,
                                          "; the peer needs torch (pip install torch); --peer-python names a Python that has it")


@dataclass
class Measure:
    """One figure of both sides, a number a round."""

    title: str
    digits: int = 0
    less_is_better: bool = False
    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)          # empty where only ours has the figure

    def row(self) -> list[str]:
        """Return title, ours, peer and the ratio of the medians (over 1: ours is better), each with its spread."""
        def spread(values: Sequence[float], digits: int) -> str:
            if not values:
                return ""
            return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

        def ratio(ours: float, peer: float) -> float:
            return peer / ours if self.less_is_better else ours / peer

        if not self.peer:
            return [self.title, spread(self.ours, self.digits), "", ""]
        of_rounds = [ratio(*pair) for pair in zip(self.ours, self.peer, strict=True)]
        whole = ratio(statistics.median(self.ours), statistics.median(self.peer))
        return [self.title, spread(self.ours, self.digits), spread(self.peer, self.digits),
                f"**{whole:.2f}** ({min(of_rounds):.2f} to {max(of_rounds):.2f})"]


def alternate(measures: dict[str, Measure], ours: Callable[[], dict], peer: Callable[[], dict], number: int) -> dict:
    """Run both sides once, in round `number` (from 0) the one first, in the next the other; return their answers.

    ours and peer answer with {key of measures: its figure}, and more if they like; what they share is added to `measures`.
    """
    answers = {}
    for name, run in (("ours", ours), ("peer", peer))[::-1 if number % 2 else 1]:
        answers[name] = run()
        for key, measure in measures.items():
            if key in answers[name]:
                getattr(measure, name).append(answers[name][key])
        shown = ", ".join(f"{key} {answers[name][key]:.{measure.digits}f}" for key, measure in measures.items()
                          if key in answers[name])
        print(f"round {number + 1}, {name}: {shown}", file=sys.stderr, flush=True)
    return answers


def table(measures: Sequence[Measure]) -> str:
    """Return the table of some measures: medians, with the smallest and largest in brackets."""
    return markdown.table([["", "paddle_cls", "PyTorch", "ratio"], *(measure.row() for measure in measures)])


def machine() -> str:
    """Return processor, cores and system in a line."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {runtime.cores()} cores, {platform.system()}, Python {platform.python_version()}"


def check_same(ours: Side, peer: Side, model: str, folder: Path) -> Path:
    """Return a file with the weights of a network, after checking that the peer's is the same.

    Ours writes weights, images and its logits for them; the peer computes the same from them. Raises UserError if number of
    parameters or logits differ.
    """
    file = folder / f"{model}.npz"
    own = ours.ask("network", model=model, file=str(file))
    other = peer.ask("network", model=model, file=str(file))
    with np.load(file) as data:
        expected = data["logits"]
    found = np.array(other["logits"])
    if own["parameters"] != other["parameters"] or found.shape != expected.shape:
        raise UserError(f"{model}: {own['parameters']:,} parameters here, {other['parameters']:,} there; nothing was measured")
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    if not difference <= TOLERANCE:
        raise UserError(f"{model}: with equal weights the outputs differ by {difference:.2g} of the largest; nothing was "
                        f"measured")
    print(f"{model}: {own['parameters']:,} parameters on both sides, outputs equal to {difference:.1e} of the largest",
          file=sys.stderr, flush=True)
    return file


def images(count: int, data_dir: Path | None, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """Return `count` images uint8 (N, 32, 32, 3) and labels of CIFAR-10 in `data_dir`, or, without it, noise of that shape."""
    if data_dir:
        data = cifar10.load(split, data_dir)
        return data.images[:count], data.labels[:count]
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)


def write_cifar(folder: Path, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Path:
    """Write (images, labels) as a folder for --data-dir and return it."""
    target = folder / cifar10.FOLDER
    target.mkdir(parents=True)
    names = cifar10.FILES["train"] + cifar10.FILES["test"]
    parts = [*zip(*(np.array_split(array, 5) for array in train), strict=True), test]
    for name, (part, labels) in zip(names, parts, strict=True):
        rows = np.ascontiguousarray(part.transpose(0, 3, 1, 2)).reshape(len(part), -1)
        (target / name).write_bytes(pickle.dumps({b"data": rows, b"labels": labels.tolist()}))
    return folder


def options(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line: rounds, quick, data_dir, peer_python."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="how often each side is measured (default: 5; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="shorter measurements, a round under two minutes")
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10 (default: noise of the same shape)")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has torch (default: this one)")
    chosen = parser.parse_args(argv)
    if chosen.rounds is not None and not 1 <= chosen.rounds <= 1000:
        raise UserError(f"--rounds: {chosen.rounds} must be from 1 to 1000")
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 5)
    return chosen


if __name__ == "__main__":
    with reported("benchmarks.rounds"):
        raise UserError("what the benchmarks share, no program; run python -m benchmarks.train or benchmarks.infer")
