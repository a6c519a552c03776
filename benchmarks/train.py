"""Training against PyTorch eager, in alternating rounds: python benchmarks/train.py [--quick] [--data-dir DIR]

ResNet-32 and VGG of the tutorial, batches of 128, Adam, crop and flip, all cores. Ours is train.py itself with --nproc auto: the
images/s that it logs of each epoch but the first, reading included. The epochs are short, of the first images of CIFAR-10.
Then the memory of all processes of a ResNet-32 run on all 50,000 images, evaluation and pictures included.
Five rounds of about two and a half minutes.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import psutil

from benchmarks.rounds import (
    NETWORKS,
    ROOT,
    Measure,
    alternate,
    check_same,
    images,
    machine,
    options,
    sides,
    table,
    write_cifar,
)
from paddle_cls.errors import UserError
from paddle_cls.system.entry import reported

IMAGES = {"ResNet-32": 3840, "VGG": 1152}          # of an epoch
QUICK_IMAGES = {"ResNet-32": 2560, "VGG": 640}


def command(title: str, data_dir: Path, output: Path, *more: str) -> list[str]:
    """Return a call of train.py."""
    model, flags = NETWORKS[title]
    return [sys.executable, "train.py", "--model", model, *flags, "--data-dir", str(data_dir), "--output-dir", str(output),
            "--device", "cpu", "--augment", "crop_flip", *more]


def train(title: str, data_dir: Path, epochs: int) -> dict:
    """Return images/s and the share of time spent waiting for the reader, medians of all epochs but the first."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "run")
        done = subprocess.run(command(title, data_dir, output, "--epochs", str(epochs)), cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"train.py: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    epochs_of = [row for row in rows if "images_per_second" in row][1:]
    said = [line for line in done.stdout.splitlines() if "processes:" in line or line.startswith("computing")]
    return {"speed": statistics.median(row["images_per_second"] for row in epochs_of),
            "wait": 100 * statistics.median(row["reader_share"] for row in epochs_of), "said": said}


def peak_memory(start: list[str]) -> float:
    """Return the GB (1e9 bytes) that a command and all its children hold at most at one time, shared pages counted once.

    Looked at every 0.2 s, in Linux's PSS.
    """
    process, most = subprocess.Popen(start, cwd=ROOT, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        most = max(most, sum(map(_pss, [process.pid, *(child.pid for child in _children(process.pid))])))
        time.sleep(0.2)
    if process.returncode:
        raise UserError(f"train.py ended with status {process.returncode}")
    return most * 1024 / 1e9


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:                                # it has just ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> None:
    """Check that the networks are the same, take the rounds, print the table."""
    chosen = options(__doc__)
    ours, peer = sides(chosen.peer_python)
    epochs, counts = (2, QUICK_IMAGES) if chosen.quick else (3, IMAGES)
    measures = {title: {"speed": Measure(f"{title} training, images/s"),
                        "wait": Measure(f"{title} training, time spent waiting for the reader, %", 2)} for title in NETWORKS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {title: check_same(ours, peer, model, folder) for title, (model, _) in NETWORKS.items()}
        for title, count in counts.items():
            part = images(count, chosen.data_dir)
            np.savez(folder / f"{title}.images.npz", images=part[0], labels=part[1])
            write_cifar(folder / title, part, images(500, chosen.data_dir, "test"))
        for number in range(chosen.rounds):
            for title, (model, _) in NETWORKS.items():
                arguments = {"model": model, "file": str(files[title]), "images": str(folder / f"{title}.images.npz"),
                             "epochs": epochs}
                answers = alternate(measures[title], lambda t=title: train(t, folder / t, epochs),
                                    lambda a=arguments: peer.ask("train", **a), number)
        whole = write_cifar(folder / "whole", images(50_000, chosen.data_dir), images(10_000, chosen.data_dir, "test"))
        memory = Measure("ResNet-32 training, peak memory of all processes, GB", 2)
        memory.ours.append(peak_memory(command("ResNet-32", whole, folder / "memory", "--max-steps", "20")))
    print(f"{machine()}; Paddle {version('paddlepaddle')}; {answers['peer']['version']}; {chosen.rounds} rounds")
    print("; ".join(answers["ours"]["said"]) + "\n")
    print(table([*(measure for pair in measures.values() for measure in pair.values()), memory]))


if __name__ == "__main__":
    with reported("train.py"):
        main()
