"""The bag of tricks, each alone: python -m benchmarks.tricks OUTPUT_DIR --data-dir DIR

Trains ResNet-20 on CIFAR-10 for 3 epochs, once as it is and once with each trick, all else and the seed the same, into a run
folder each below OUTPUT_DIR; then prints a Markdown table of the accuracy after the last epoch. What follows OUTPUT_DIR goes
to every run, such as --seed 1, --epochs 12 or --max-steps 2. Started again after a break it goes on where it was.
Another seed alone moves such an accuracy by some tenths of a point: believe a smaller difference only after several seeds.
"""

import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from paddle_cls.errors import UserError
from paddle_cls.formats import markdown
from paddle_cls.programs.grid import finished
from paddle_cls.system.entry import reported

from .runs import last_epoch

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
BASE = ("--model resnet --depth 20 --dataset cifar10 --epochs 3 --optimizer nesterov --lr 0.4 --schedule onecycle "
        "--warmup-epochs 0.75 --weight-decay 5e-4 --augment crop_flip")
TRICKS = {
    "base": "",
    "label smoothing": "--label-smoothing 0.1",
    "mixup": "--mixup 0.2",
    "cutmix": "--cutmix 1",
    "cosine with warm-up": "--schedule cosine",
    "no decay on bias and BN": "--no-decay-norm-bias",
    "EMA": "--ema-decay 0.99",
    "zero last gamma": "--model-args zero_init_last=true",
}


def folder(output: Path, trick: str) -> Path:
    """Return the run folder of a trick."""
    return output / trick.replace(" ", "_")


def table(output: Path) -> str:
    """Return the Markdown table of all tricks' runs below `output`; the differences are to the base, in points (percent)."""
    rows = {trick: last_epoch(folder(output, trick)) for trick in TRICKS}
    lines = [["trick", "flags", "seed", "epochs", "accuracy", "difference", "minutes"]]
    for trick, row in rows.items():
        difference = f"{100 * (row['val/acc1'] - rows['base']['val/acc1']):+.2f}" if trick != "base" else ""
        lines.append([trick, f"`{TRICKS[trick] or BASE}`", row["seed"], row["epochs"], f"{row['val/acc1']:.4f}", difference,
                      f"{row['minutes']:.1f}"])
    return markdown.table(lines)


def done(run: Path) -> bool:
    """Return whether a run's training is over."""
    if not (run / "config.yaml").exists():
        return False
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return finished(run, config.get("epochs", sys.maxsize), config.get("max_steps"))


def run(output: Path, more: list[str]) -> int:
    """Train every run that is not done yet, print the table; return the exit status."""
    for trick, flags in TRICKS.items():
        if done(folder(output, trick)):
            continue
        command = [sys.executable, str(TRAIN), *shlex.split(f"{BASE} {flags}"), *more,
                   "--output-dir", str(folder(output, trick)), "--resume"]
        print(f"== {trick}: {shlex.join(command[1:])}", file=sys.stderr, flush=True)
        status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        if status:
            return status
    print(table(output))
    return 0


if __name__ == "__main__":
    with reported("tricks.py"):
        if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
            raise UserError("where to? For example: python -m benchmarks.tricks output/tricks --data-dir DIR")
        sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
