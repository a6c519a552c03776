"""Reading CIFAR-10 against a PyTorch DataLoader, in alternating rounds: python benchmarks/reader.py [--data-dir DIR]

Shuffled batches of 128 with random crop (4 pixels of reflected border) and flip, normalized to float32, each side on one core.
Five rounds of about 15 seconds.
"""

import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.rounds import Measure, alternate, images, machine, options, sides, table
from paddle_cls.system.entry import reported


def main() -> None:
    """Take the rounds and print the table."""
    chosen = options(__doc__)
    ours, peer = sides(chosen.peer_python)
    measures = {"reader": Measure("training reader, crop and flip, one core, images/s")}
    passes = 1 if chosen.quick else 4
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "images.npz")
        pictures, labels = images(50_000, chosen.data_dir)
        np.savez(file, images=pictures, labels=labels)
        for number in range(chosen.rounds):
            answers = alternate(measures, lambda: ours.ask("reader", file=str(file), passes=passes),
                                lambda: peer.ask("reader", file=str(file), passes=passes), number)
    print(f"{machine()}; {answers['ours']['version']}; {answers['peer']['version']}; {chosen.rounds} rounds\n")
    print(table(list(measures.values())))


if __name__ == "__main__":
    with reported("reader.py"):
        main()
