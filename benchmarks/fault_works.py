"""What the campaign of faults disturbs: a training, and the fillings of caches and reports, each with its right result."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from paddle_cls.data.images.resized_cache import load_resized
from paddle_cls.data.sets import shapes
from paddle_cls.ops import build
from paddle_cls.programs import infer, report, train
from paddle_cls.system.entry import reported
from paddle_cls.training.log import read_rows

TIMING = ("images_per_second", "reader_share", "seconds")
TRAINING = ["--dataset", "folder", "--model", "resnet", "--depth", "8", "--device", "cpu", "--onednn", "off", "--epochs", "2",
            "--batch-size", "8", "--optimizer", "momentum", "--lr", "0.01", "--save-minutes", "0", "--log-every", "1"]
COMPILER = """#!/bin/sh
# Stands for g++: what it links is there already; compiling takes a moment.
while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; shift; done
case "$out" in *ops.so) cp "{library}" "$out";; *) sleep 0.1; echo > "$out";; esac
"""


def draw(folder: Path, count: int = 40, size: int = 32) -> Path:
    """Write drawn pictures of two classes, and return their folder."""
    for i in range(count):
        place = folder / ("circle", "triangle")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(shapes.draw(3 * (i % 2), np.random.default_rng(i)))
        picture.resize((size, size)).save(place / f"{i:02d}.png")
    return folder


def run_main(script, *arguments: object) -> int:
    """Run a script's main as a shell does; it ends in SystemExit."""
    with reported(script.PROGRAM):
        sys.exit(script.main([str(argument) for argument in arguments]))


@dataclass
class Work:
    """Something that is done in a child and can be done again.

    call: what is done with a folder; returns the exit status. result: what it left there, of equal content whenever it is
    right. standing: how far it is, which never falls. right: the result of an undisturbed run.
    """

    call: Callable[[Path], int]
    result: Callable[[Path], object]
    standing: Callable[[Path], int] = lambda folder: 0
    reruns: bool = False                           # whether it is tried again over what it has left, even after its end
    command: Callable[[Path], list[str]] | None = None         # where it is no call: what is started
    right: object = None

    def wrong(self, folder: Path) -> str:
        """Return "" or how the result differs from the right one."""
        try:
            result = self.result(folder)
        except (OSError, ValueError, KeyError) as error:
            return f"no result: {error!r}"
        if result == self.right:
            return ""
        if isinstance(result, dict):
            names = [name for name in self.right if result.get(name) != self.right[name]]
            return f"another result in {names}: {str({name: result.get(name) for name in names})[:300]}"
        return f"another result: {str(result)[:300]}"


def step_of(folder: Path) -> int:
    """Return the step of the last checkpoint, -1 without one."""
    with contextlib.suppress(FileNotFoundError):
        return json.loads((folder / "run" / "last.json").read_text())["step"]
    return -1


def of_training(folder: Path) -> dict:
    """Return what a finished run must have: every row once, the figures, the weights, and no file that is half-written."""
    run = folder / "run"
    last, best = (json.loads((run / f"{name}.json").read_text()) for name in ("last", "best"))
    rows = [{key: value for key, value in row.items() if key not in TIMING} for row in read_rows(run / "metrics.jsonl")]
    whole = rows and len(rows) == len((run / "metrics.jsonl").read_text().splitlines())
    hidden = sorted(file.name for file in run.iterdir() if file.name.startswith(".") and not file.name.endswith(".lock"))
    return {"rows": rows if whole else "broken", "step": last["step"], "figures": last["figures"], "best": last["best"],
            "last": _digest(run / "last.pdparams"), "best weights": _digest(run / "best.pdparams"),
            "checksums": [info["sha256"][".pdparams"] for info in (last, best)], "left": hidden,
            "files": sorted(file.name for name in ("last", "best") for file in run.glob(f"{name}.*"))}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def works(place: Path) -> dict[str, Work]:
    """Return the works by name; `place` gets the pictures and a trained run that they need, where they are not there yet."""
    pictures, photos, trained = place / "pictures", place / "photos", place / "trained"
    if not pictures.exists():
        draw(photos, 12, 300)
        draw(place / "drawing")
        os.replace(place / "drawing", pictures)

    def in_cache(folder: Path) -> None:
        """Have the caches of this process in the work's folder, and our compiler, but where it gets the library that it links."""
        os.environ["PADDLE_CLS_CACHE"] = os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        if (place / "g++").exists():
            os.environ["CXX"] = str(place / "g++")

    def arguments(folder: Path, processes: int) -> list[str]:
        return [*TRAINING, "--data-dir", str(pictures), "--nproc", str(processes), "--output-dir", str(folder / "run"),
                "--resume"]

    def training(folder: Path) -> int:
        return run_main(train, *arguments(folder, 1))

    def export(folder: Path) -> int:
        in_cache(folder)
        return run_main(infer, "--image", pictures, "--checkpoint", trained / "run", "--format", "json", "--output",
                        folder / "answer.json", "--device", "cpu")

    def shrink(folder: Path) -> int:
        in_cache(folder)
        with reported("photos"):
            images, problems = load_resized(sorted(photos.rglob("*.png")), 64)
            (folder / "answer").write_text(f"{hashlib.sha256(images.tobytes()).hexdigest()} {problems}")
        return 0

    def compile_operators(folder: Path) -> int:
        in_cache(folder)
        try:
            library = build.load()
        except build.Unavailable as error:         # as train.py does, which goes on without
            print(f"oneDNN operators are not available: {error}", file=sys.stderr)
            return 3
        (folder / "answer").write_text(_digest(library))
        (folder / "library").write_text(str(library))
        return 0

    def judge(folder: Path) -> int:
        in_cache(folder)
        return run_main(report, trained / "run", "--output", folder / "report", "--device", "cpu")

    def answer(folder: Path) -> str:
        return (folder / "answer").read_text()

    return {"training": Work(training, of_training, step_of),
            "two": Work(training, of_training, step_of,
                        command=lambda folder: [sys.executable, train.__file__, *arguments(folder, 2)]),
            "export": Work(export, lambda folder: (folder / "answer.json").read_text(), reruns=True),
            "photos": Work(shrink, answer, reruns=True), "operators": Work(compile_operators, answer, reruns=True),
            "report": Work(judge, lambda folder: {file.name: _digest(file) for file in (folder / "report").iterdir()},
                           reruns=True)}


def settle(place: Path, name: str, work: Work, attempt: Callable) -> None:
    """Have the right result of a work, from an undisturbed run in `place`; attempt: does it in a child."""
    folder = place / ("trained" if name == "training" else f"right-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ended = attempt(work, folder)
    if ended.status:
        raise RuntimeError(f"an undisturbed run of {name} ends with status {ended.status}: {ended.err[-500:]}")
    work.right = work.result(folder)
    if name == "operators" and not (place / "g++").exists():
        shutil.copy((folder / "library").read_text(), place / "ops.so")
        (place / "g++").write_text(COMPILER.format(library=place / "ops.so"))
        (place / "g++").chmod(0o755)
