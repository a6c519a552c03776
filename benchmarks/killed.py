"""Answers for many pictures, killed and resumed: python benchmarks/killed.py [--pictures 100000] [--kills 2]

A network of 8 layers is trained for 20 steps, and ten drawn pictures are copied and linked under many names. `infer --resume`
writes a CSV of a tenth of them and of all; the second is killed at equal parts of the file. Printed are the peaks of memory.
It ends with an error unless each picture stands in the CSV exactly once. Linux or macOS.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psutil

from paddle_cls.data.sets.shapes import write_examples
from paddle_cls.system.entry import reported

ROOT = Path(__file__).resolve().parent.parent
LINKS = 1000                                       # in a folder, of ten files of its own: a file system allows some 65,000 of one


def make(folder: Path, count: int) -> None:
    """Make `count` pictures in folders of LINKS."""
    drawn = [file.read_bytes() for file in write_examples(folder.with_name("drawn"))]
    for number in range(count):
        place = folder / f"{number // LINKS:06d}"
        first = place / f"{number % 10}.png"
        if number % LINKS < len(drawn):
            place.mkdir(parents=True, exist_ok=True)
            first.write_bytes(drawn[number % 10])
        else:
            os.link(first, place / f"{number % LINKS:03d}.png")


def run(*arguments: object, kill: tuple[Path, int] | None = None) -> float:
    """Run a program; return the peak of its memory in MB. kill: the file, and the size at which the program is killed."""
    process = subprocess.Popen([sys.executable, "-m", "paddle_cls", *map(str, arguments)], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        if kill and kill[0].exists() and kill[0].stat().st_size > kill[1]:
            process.kill()
        time.sleep(0.02)
    assert process.wait() == (-9 if kill else 0), f"{arguments}: exit status {process.returncode}"
    return peak / 1e6


def main() -> None:
    """Measure and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000, help="how many (default: 100,000)")
    parser.add_argument("--kills", type=int, default=2, help="how often the program is killed (default: 2)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run("train", "--dataset", "shapes", "--depth", 8, "--max-steps", 20, "--nproc", 1, "--output-dir", place / "run")
        for part, count in (("few", chosen.pictures // 10), ("all", chosen.pictures)):
            make(place / part, count)
            output, kills = place / f"{part}.csv", chosen.kills if part == "all" else 0
            infer = ("infer", "--image", place / part, "--checkpoint", place / "run", "--device", "cpu", "--topk", 1, "--resume",
                     "--format", "csv", "--output", output)
            if part == "few":
                run(*infer[:2], place / "drawn", *infer[3:-1], place / "drawn.csv")          # exports the network
            whole = count * len(f"{place / part}/000000/000.png,1,half_disc,0.123456\n")
            peaks = [run(*infer, kill=(output, whole * number // (kills + 2))) for number in range(1, kills + 1)] + [run(*infer)]
            with open(output, encoding="utf-8", newline="") as file:
                found = Counter(row[0] for row in csv.reader(file))
            del found["image"]
            assert len(found) == count and set(found.values()) == {1}, "a picture is missing, or there twice"
            print(f"{count:,} pictures, killed {kills} times: each once; peaks {', '.join(f'{peak:.0f}' for peak in peaks)} MB")


if __name__ == "__main__":
    with reported("benchmarks.killed"):
        main()
