"""Inference engines side by side: python benchmarks/engines.py [--before WORKTREE] [--networks NAME:PIXELS ...]

A network of each family, at the smallest size that it takes (32 pixels from there on) and at its paper's own: milliseconds from
uint8 pixels to logits, for one image and for 32, on all cores. Compared: this package's engine; ONNX Runtime with the same
file; the way before (its own runner or Paddle Inference) as an older commit has it, checked out in the folder that --before
names. PyTorch, channels_last, has two of the networks: --sides ours torch --networks resnet:32 vgg:32. Each side is a process of
its own; they compute one after another, in every round, and a figure is the median of the rounds. About 40 minutes; on a machine
that others use only the ratios mean something.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.rounds import ROOT, machine
from paddle_cls import models
from paddle_cls.errors import UserError
from paddle_cls.formats import markdown
from paddle_cls.system.entry import reported

FAMILIES = ("alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "lenet", "mobilenet_v1", "mobilenet_v2",
            "mobilenet_v3_small", "nasnet_mobile", "preact_resnet_cifar", "resnet", "resnet50", "resnet_paper_cifar",
            "resnet_small", "resnext50_32x4d", "se_resnet", "shufflenet_v2_x1_0", "squeezenet1_1", "vgg", "vgg16", "xception",
            "zf5_spp")
ARGUMENTS = {"resnet": {"depth": 32}}              # of networks that the tutorials train otherwise than by default
# Of two sides' logits, relative to the largest; networks that are not trained enlarge what is rounded.
TOLERANCE = {"float32": 0.01, "bfloat16": 0.2}
PAUSE, SECONDS = 0.05, 0.15                        # before a measurement: threads of the last side may still spin; of it


class Process:
    """A side at work on one network."""

    def __init__(self, kind: str, python: str, root: Path, asked: dict):
        """Start it and wait until the network is loaded. Raises UserError where that fails."""
        self.kind, self.log = kind, tempfile.TemporaryFile("w+")       # noqa: SIM115 - `end` closes it
        environment = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen([python, ROOT / "benchmarks/engine_side.py", kind, root], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment, cwd=root)
        self.version = self.ask(asked)["version"]

    def ask(self, question: dict) -> dict:
        """Return the answer to a line. Raises UserError where the process has ended."""
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            status = self.process.wait()
            self.log.seek(0)
            reason = (self.log.read().strip().splitlines() or [f"exit status {status}"])[-1]
            raise UserError(f"{self.kind}: {reason}") from None

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()
        self.log.close()


def sizes(name: str) -> list[int]:
    """Return the smallest size of a network, from 32 pixels on, and its own."""
    about = models.facts(name)
    return sorted({max(about.smallest, 32), about.image_size or 224})


def alike(processes: Sequence[Process], images: int, tolerance: float) -> list[Process]:
    """Return the sides that compute what the first does; stderr names the others."""
    found = []
    for side in processes:
        logits = np.array(side.ask({"images": images, "calls": 1})["logits"])
        if not found:
            expected = logits
        difference = np.abs(logits - expected).max() / np.abs(expected).max()
        if difference <= tolerance:
            found.append(side)
        else:
            print(f"{side.kind}: its logits differ by {difference:.2g} of the largest; not measured", file=sys.stderr, flush=True)
    return found


def measure(processes: Sequence[Process], images: int, rounds: int) -> dict[str, float]:
    """Return milliseconds a call of each side, the median of the rounds."""
    quickest = min(side.ask({"images": images, "calls": 1})["seconds"] for side in processes)
    calls = max(1, min(100, int(SECONDS / quickest)))
    found: dict[str, list[float]] = {side.kind: [] for side in processes}
    for _ in range(rounds):
        for side in processes:
            time.sleep(PAUSE)
            found[side.kind].append(side.ask({"images": images, "calls": calls})["seconds"])
    return {kind: 1000 * statistics.median(values) for kind, values in found.items()}


def network(name: str, size: int, kinds: Sequence[str], chosen: argparse.Namespace) -> tuple[dict, dict]:
    """Return ({images: {side: milliseconds}}, {side: version}) of a network; stderr says which side fails, and why."""
    asked = {"model": name, "arguments": ARGUMENTS.get(name, {}), "image_size": size, "folder": str(chosen.exports),
             "precision": chosen.precision}
    processes: list[Process] = []
    try:
        for kind in kinds:                         # ours first: it writes what others read
            python = chosen.peer_python if kind in ("onnxruntime", "torch") else sys.executable
            try:
                processes.append(Process(kind, python, chosen.before if kind == "before" else ROOT, asked))
            except UserError as error:
                print(f"{name}, {size} pixels, {error}", file=sys.stderr, flush=True)
        same = alike(processes, 3, TOLERANCE[chosen.precision])
        times = {images: measure(same, images, chosen.rounds) if same else {} for images in chosen.images}
        return times, {side.kind: side.version for side in processes}
    finally:
        for side in processes:
            side.end()


def row(title: str, times: dict[int, dict[str, float]], kinds: Sequence[str]) -> list[str]:
    """Return a line of the table: of each number of images the milliseconds of all sides, and how much faster ours is."""
    cells = [title]
    for of in times.values():
        cells += [f"{of[kind]:.3g}" if kind in of else "-" for kind in kinds]
        cells += [f"{of[kind] / of[kinds[0]]:.2f}" if kind in of else "-" for kind in kinds[1:]]
    return cells


def summary(rows: Sequence[dict[int, dict[str, float]]], kinds: Sequence[str], images: Sequence[int]) -> list[str]:
    """Return the last line: the geometric mean of each column of ratios, and the smallest."""
    cells = ["geometric mean (smallest)"]
    for number in images:
        cells += [""] * len(kinds)
        for kind in kinds[1:]:
            ratios = [times[number][kind] / times[number][kinds[0]] for times in rows if kind in times[number]]
            cells.append(f"**{statistics.geometric_mean(ratios):.2f}** ({min(ratios):.2f})" if ratios else "-")
    return cells


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[f"{name}:{size}" for name in FAMILIES for size in sizes(name)],
                        metavar="NAME:PIXELS", help="what is measured (default: one of each family, at both sizes)")
    parser.add_argument("--sides", nargs="+", choices=("ours", "onnxruntime", "before", "torch"), help="who is measured")
    parser.add_argument("--before", type=Path, metavar="WORKTREE", help="a checkout of a commit that has its own runner")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with onnxruntime or torch (default: this one)")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 32], help="numbers of images (default: 1 32)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is measured (default: 5)")
    parser.add_argument("--precision", choices=tuple(TOLERANCE), default="float32", help="of ours and of PyTorch")
    parser.add_argument("--exports", type=Path, help="a folder that keeps the exported networks (default: a temporary one)")
    chosen = parser.parse_args(argv)
    chosen.sides = chosen.sides or ["ours", "onnxruntime", *(["before"] if chosen.before else [])]
    if chosen.rounds < 1 or chosen.sides[0] != "ours" or ("before" in chosen.sides and not chosen.before):
        raise UserError("--rounds is from 1 on, --sides begins with ours, and the side before needs --before")
    return chosen


def main() -> None:
    """Measure network after network, and print the table."""
    chosen = options()
    rows, lines, versions = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        chosen.exports = (chosen.exports or Path(folder)).absolute()
        for text in chosen.networks:
            name, _, size = text.partition(":")
            times, known = network(name, int(size or sizes(name)[-1]), chosen.sides, chosen)
            versions |= known
            rows.append(times)
            lines.append(row(f"{name}, {size}", times, chosen.sides))
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    heads = [f"{kind}, {images}" for images in chosen.images for kind in (*chosen.sides, *(f"/ {k}" for k in chosen.sides[1:]))]
    load = f"load {os.getloadavg()[0]:.1f} at the end; " if hasattr(os, "getloadavg") else ""
    print(f"{machine()}; {load}{', '.join(f'{kind}: {known}' for kind, known in versions.items())}; ms, the median of "
          f"{chosen.rounds} rounds; {chosen.precision}\n")
    print(markdown.table([["network, pixels", *heads], *lines, summary(rows, chosen.sides, chosen.images)]))


if __name__ == "__main__":
    with reported("engines.py"):
        main()
