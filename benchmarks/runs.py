"""The table of some runs, such as several seeds of one config: python -m benchmarks.runs RUN_FOLDER ...

Figures of the last epoch on the validation split, minutes from the start to the last checkpoint (of the last
start, where a run was resumed), and below them mean, smallest and largest. Markdown.
"""

import statistics
import sys
from pathlib import Path

from paddle_cls.system import runtime

if __name__ == "__main__":
    runtime.prepare()                              # before Paddle is loaded

from paddle_cls.errors import UserError
from paddle_cls.formats import markdown
from paddle_cls.programs.settings.command_line import read_yaml
from paddle_cls.system.entry import reported
from paddle_cls.training.log import read_rows

COLUMNS = {"accuracy": "val/acc1", "AUC": "val/auc", "AUC from": "val/auc_low", "to": "val/auc_high",
           "sensitivity": "val/sensitivity", "specificity": "val/specificity", "threshold": "val/threshold",
           "accuracy there": "val/threshold_acc1", "sensitivity there": "val/threshold_sensitivity",
           "specificity there": "val/threshold_specificity"}


def last_epoch(folder: Path) -> dict:
    """Return the figures of a run's last epoch, with "epochs", "minutes" and "seed"."""
    rows = [row for row in read_rows(folder / "metrics.jsonl") if "val/acc1" in row]
    if not rows:
        raise UserError(f"{folder}: no finished epoch in metrics.jsonl")
    settings = read_yaml(folder / "config.yaml")
    if "seed" not in settings:
        raise UserError(f"{folder / 'config.yaml'}: seed is missing; name run folders of train.py")
    seconds = (folder / "last.json").stat().st_mtime - (folder / "config.yaml").stat().st_mtime
    return {**rows[-1], "epochs": len(rows), "minutes": seconds / 60, "seed": settings["seed"]}


def table(folders: list[Path]) -> str:
    """Return the table of some run folders. Raises UserError where one has no figures."""
    runs = [last_epoch(folder) for folder in folders]
    columns = {title: name for title, name in COLUMNS.items() if all(name in run for run in runs)}
    lines = [["run", "seed", "epochs", *columns, "minutes"]]
    lines += [[folder.name, run["seed"], run["epochs"], *(f"{run[name]:.4f}" for name in columns.values()),
               f"{run['minutes']:.1f}"] for folder, run in zip(folders, runs, strict=True)]
    for title, function in (("mean", statistics.mean), ("smallest", min), ("largest", max)):
        lines.append([f"{title} of {len(runs)}", "", "", *(f"{function(run[name] for run in runs):.4f}"
                                                            for name in columns.values()),
                      f"{function(run['minutes'] for run in runs):.1f}"])
    return markdown.table(lines)


if __name__ == "__main__":
    with reported("runs.py"):
        if len(sys.argv) < 2:
            raise UserError("which runs? For example: python -m benchmarks.runs output/seed0 output/seed1")
        print(table([Path(name) for name in sys.argv[1:]]))
