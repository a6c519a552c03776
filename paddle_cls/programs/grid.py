"""Try settings: python -m paddle_cls.grid --config configs/x.yaml --grid batch_size=16,32 image_size=64,96

Runs train.py for each combination, one after the other, in a folder of its own below --output-dir (default:
output/grid/<dataset>_<model>), and writes grid.md, grid.csv, grid.png and vdl/ (VisualDL's view of hyper-parameters) there.
Called again it goes on: what is finished is not run again. All other flags are train.py's. With seed among the settings,
grid.md also has the mean over the seeds. Exit status 1 if a run failed.
"""

import csv
import io
import itertools
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, report_all
from ..formats import markdown
from ..formats.decimals import shown
from ..parallel import launch
from ..system import runtime, stopping
from ..system.files import write_bytes, write_text, writing
from .settings.command_line import parse, read_yaml
from .settings.fields import MAY_CHANGE, Config, GridConfig
from .settings.own_code import folder_name
from .shared import setup
from .sweep import axes

PROGRAM = "grid"
FIGURES = {"accuracy": "val/acc1", "loss": "val/loss", "AUC": "val/auc"}      # of the last epoch
SAME = [name for name in Config.__dataclass_fields__ if name not in MAY_CHANGE - {"lr", "epochs", "max_steps"}]


class Trial(NamedTuple):
    """One combination: its values, the flags that say them to train.py, the settings that follow, and its folder."""

    values: dict[str, str]
    flags: list[str]
    config: Config

    @property
    def name(self) -> str:
        """The values in one line, such as "batch_size=16 seed=0"."""
        return " ".join(f"{name}={value}" for name, value in self.values.items())


def without_grid(argv: Sequence[str]) -> list[str]:
    """Return the flags without --grid and its values."""
    kept: list[str] = []
    dropping = False
    for word in argv:
        if word.startswith("--"):
            dropping = word.partition("=")[0] == "--grid"
        if not dropping:
            kept.append(word)
    return kept


def combinations(found: Mapping[str, Sequence[str]], argv: Sequence[str], root: Path) -> list[Trial]:
    """Return all combinations. Raises one UserError for those whose settings train.py would refuse, or whose folder differs."""
    runs, problems, folders = [], [], set()
    for values in itertools.product(*found.values()):
        chosen = dict(zip(found, values, strict=True))
        folder = root / ",".join(f"{name}={value}" for name, value in chosen.items()).replace("/", "_")
        if len(os.fsencode(folder.name)) > 200:    # bytes; file systems take 255
            problems.append(f"{shown(folder.name)}: too long for the name of a folder; choose shorter values")
            continue
        if folder in folders:
            problems.append(f"{folder}: two combinations would share this folder; name one of the values in another way")
            continue
        folders.add(folder)
        flags = [*argv, *itertools.starmap(_flag, chosen.items()), f"--output-dir={folder}"]
        try:
            run = Trial(chosen, flags, setup.settings(flags, PROGRAM, __doc__, Config))
            setup.check_model(run.config)
            _check_same(run.config)
        except UserError as error:
            problems.append(f"{' '.join(f'{name}={value}' for name, value in chosen.items())}: {error}")
        else:
            runs.append(run)
    report_all(problems)
    return runs


def _flag(name: str, value: str) -> str:
    flag = name.replace("_", "-")
    if Config.__annotations__[name] is bool:
        return f"--{flag}" if value.lower() == "true" else f"--no-{flag}"
    return f"--{flag}={value}"


def _check_same(config: Config) -> None:
    saved = config.folder / "config.yaml"
    before = read_yaml(saved) if saved.exists() else {}
    for name in SAME:
        if name in before and before[name] != getattr(config, name):
            raise UserError(f"{config.folder} holds a run with {name} = {before[name]}, not {getattr(config, name)}; choose "
                            f"another --output-dir")


def rows(folder: Path) -> list[dict]:
    """Return the rows of a run's finished epochs."""
    from ..training.log import read_rows
    return [row for row in read_rows(folder / "metrics.jsonl") if "val/acc1" in row]


def finished(folder: Path, epochs: int, max_steps: int | None) -> bool:
    """Return whether the run in `folder` has done all its epochs or steps, and evaluated them."""
    from ..checkpoints import storage
    try:
        info, _ = storage.read(folder / "last")
    except (OSError, UserError):                   # train.py --resume will tell what is wrong with it
        return False
    whole = info.epoch >= epochs or info.step >= (max_steps or sys.maxsize)
    return whole and info.metrics.get("step") == info.step


def main(argv: list[str]) -> int:
    """Run the grid; return the exit status."""
    config, _ = parse(GridConfig, argv, program=PROGRAM, description=__doc__)
    setup.refuse_run_flags(config, PROGRAM)
    found = axes(config.grid)
    root = config.output_dir or Path("output/grid") / folder_name(config)
    if (root / "config.yaml").exists():
        raise UserError(f"{root} holds a run of its own; choose another --output-dir")
    runtime.prepare()
    runs = combinations(found, without_grid(argv), root)
    states: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        title, folder = f"[{number}/{len(runs)}] {run.name}", run.config.folder
        if finished(run.config.folder, run.config.epochs, run.config.max_steps):
            print(f"{title}: finished before, skipped ({folder})", flush=True)
            states[run.name] = "done"
            continue
        print(f"{title}: {folder}", flush=True)
        resume = ["--resume"] if (folder / "config.yaml").exists() else []
        status = launch.run([sys.executable, "-m", "paddle_cls", "train", *run.flags, *resume], 1, remedy="The grid goes on.")
        states[run.name] = "done" if status == 0 else f"failed (exit status {status})"
        if status in stopping.STATUSES:            # Ctrl-C is meant for the grid too
            print(f"{PROGRAM}: stopped in run {number} of {len(runs)}; the same command goes on", file=sys.stderr)
            return status
    write(root, found, runs, states)
    print((root / "grid.md").read_text(encoding="utf-8"), end="")
    failed = [name for name, state in states.items() if state != "done"]
    if failed:
        print(f"{PROGRAM}: {len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def write(root: Path, found: Mapping[str, Sequence[str]], runs: Sequence[Trial], states: Mapping[str, str]) -> None:
    """Write grid.md, grid.csv, grid.png and vdl/. states: what became of each run, by its name."""
    last = {run.name: (rows(run.config.folder) or [{}])[-1] for run in runs}
    titles = {title: name for title, name in FIGURES.items() if any(name in row for row in last.values())}
    table = [[*found, *titles, "minutes", "state"]]
    for run in runs:
        minutes = sum(row["seconds"] for row in rows(run.config.folder)) / 60
        table.append([*run.values.values(), *(_digits(last[run.name].get(name)) for name in titles.values()), f"{minutes:.1f}",
                      states[run.name]])
    text = markdown.table(table) + "\n"
    if "seed" in found and len(found["seed"]) > 1:
        text += "\n" + markdown.table(_over_seeds(found, runs, last)) + "\n"
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        write_text(root / "grid.md", text)
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows(table)
        write_text(root / "grid.csv", content.getvalue())
        _draw(root, found, [(run, last[run.name]) for run in runs if last[run.name]])


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _over_seeds(found: Mapping[str, Sequence[str]], runs: Sequence[Trial], last: Mapping[str, Mapping]) -> list[list[str]]:
    others = [name for name in found if name != "seed"]
    table = [[*others, "seeds", "mean accuracy", "lowest", "highest"]]
    groups: dict[tuple, list[float]] = {}
    for run in runs:
        if last[run.name]:
            groups.setdefault(tuple(run.values[name] for name in others), []).append(last[run.name]["val/acc1"])
    return table + [[*values, str(len(group)), *map(_digits, (statistics.mean(group), min(group), max(group)))]
                    for values, group in groups.items()]


def _draw(root: Path, found: Mapping[str, Sequence[str]], runs: Sequence[tuple[Trial, Mapping]]) -> None:
    from visualdl import LogWriter

    from ..evaluation import plots
    figure = plots.grid_chart(found, [(run.values, row["val/acc1"]) for run, row in runs], "accuracy after the last epoch")
    write_bytes(root / "grid.png", plots.png(plots.pixels(figure)))
    for run, _ in runs:
        with LogWriter(logdir=str(root / "vdl" / run.config.folder.name)) as writer:
            chosen = {name: getattr(run.config, name) for name in found}
            writer.add_hparams({name: value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
                                for name, value in chosen.items()}, ["val/acc1", "val/loss"])
            for row in rows(run.config.folder):
                for name in ("val/acc1", "val/loss"):
                    writer.add_scalar(name, row[name], row["step"])
