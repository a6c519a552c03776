"""Inference against PyTorch eager, in alternating rounds: python benchmarks/infer.py [--quick] [--peer-python PYTHON]

ResNet-32 and VGG of the tutorial with equal weights; uint8 images of 32x32 to logits, in batches of 128 and one by one, all
cores. Ours is Predictor. Five rounds of about a minute.
"""

import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.rounds import NETWORKS, Measure, alternate, check_same, machine, options, sides, table
from paddle_cls.system.entry import reported


def main() -> None:
    """Check that the networks are the same, take the rounds, print the table."""
    chosen = options(__doc__)
    ours, peer = sides(chosen.peer_python)
    seconds = 1.5 if chosen.quick else 5.0
    measures = {title: {"many": Measure(f"{title}, batch 128, images/s"), "one": Measure(f"{title}, one image, ms", 2, True)}
                for title in NETWORKS}
    with tempfile.TemporaryDirectory() as folder:
        files = {title: check_same(ours, peer, model, Path(folder)) for title, (model, _) in NETWORKS.items()}
        for number in range(chosen.rounds):
            for title, (model, _) in NETWORKS.items():
                arguments = {"model": model, "file": str(files[title]), "seconds": seconds}
                answers = alternate(measures[title], lambda a=arguments: ours.ask("infer", **a),
                                    lambda a=arguments: peer.ask("infer", **a), number)
    print(f"{machine()}; {answers['ours']['version']}; {answers['peer']['version']}; {chosen.rounds} rounds\n")
    print(table([measure for pair in measures.values() for measure in pair.values()]))


if __name__ == "__main__":
    with reported("infer.py"):
        main()
