"""The run folder of a program: whether it may be used, and what is written into it before a training."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ... import models
from ...errors import UserError, printable
from ...system import lock
from ...system.files import write_text, writing
from ..settings.command_line import read_yaml, to_yaml
from ..settings.fields import Config, ExportConfig, ReportConfig
from ..settings.own_code import check_named
from . import console_lines

if TYPE_CHECKING:
    from ...checkpoints.pretrained import LoadReport
    from ...data.dataset import ReadyData
    from ...training.run import Run


def check(config: Config) -> None:
    """Raise UserError if the run folder holds another run or lies among the pictures, or where there are no pictures."""
    from ...data.loading import check_root
    check_root(config.data_dir)                    # here: several processes would find that after seconds only
    folder = config.folder
    if config.dataset == "folder" and config.data_dir:
        own, data = (Path(os.path.realpath(path)) for path in (folder, config.data_dir))
        if own.is_relative_to(data):
            raise UserError(f"--output-dir {folder}: lies in the folder of the pictures, --data-dir {config.data_dir}; choose "
                            f"another --output-dir")
    run = lock.run_in(folder)
    if run and not config.resume:
        raise UserError(f"{folder} holds a run ({run}); add --resume to continue it, or choose another --output-dir")
    if config.resume and not run:
        print(f"{folder}: nothing to resume yet; starting from the beginning", flush=True)


def introduce(config: Config, run: "Run", data: "ReadyData", resumed: bool, speed: str,
              report: "LoadReport | None" = None) -> None:
    """Write the settings into the run folder and show what is about to be trained. report: of the pretrained weights."""
    from ...data.manifest import split_csv
    folder = config.folder
    split = split_csv(data) if data.drawn else None
    settings = folder / "config.yaml"
    before = read_yaml(settings) if resumed and settings.exists() else None
    with writing(folder):
        new = not settings.exists()
        try:
            if split is not None:
                write_text(folder / "split.csv", split)
            write_text(settings, to_yaml(config))
            if report:
                write_text(folder / "pretrained.txt", report.text())
        except OSError:
            for name in ("split.csv", "config.yaml", "pretrained.txt") if new else ():
                (folder / name).unlink(missing_ok=True)
            raise
    print(console_lines.changed(config))
    print(f"{models.count_parameters(run.model):,} parameters train; {len(data.train):,} training and {len(data.val):,} "
          f"validation images of {len(data.classes)} classes; run folder {folder}")
    if report:
        print(f"pretrained: {report.short()}", *map(printable, report.notes), f"all of it: {folder / 'pretrained.txt'}",
              sep="\n  ")
    for note in (*data.notes, *console_lines.few(len(data.val)), speed, *console_lines.cuts(config, len(data.train))):
        print(printable(note))
    if resumed:
        print(f"resumed {folder}/last: {console_lines.counted(run.epoch, 'epoch')} and "
              f"{console_lines.counted(run.step, 'step')} are done")
    for line in console_lines.changes(before, config) if before is not None else ():
        print(line)
    sys.stdout.flush()


def run_settings(options: ReportConfig | ExportConfig, folder: Path) -> Config:
    """Return the settings of the run in `folder`, with the data that `options` name instead. Raises UserError."""
    file = folder / "config.yaml"
    if file.exists():
        config = Config(**read_yaml(file))
    elif options.dataset:
        config = Config(dataset=options.dataset)
    else:
        raise UserError(f"{file}: missing, and it says what the network was trained on; name that with --dataset")
    if options.dataset not in (None, config.dataset):
        config = Config(dataset=options.dataset)   # nothing that was set for another data set goes with it
    check_named(config, {"dataset"} if options.dataset else set(), file, ("dataset",))
    return dataclasses.replace(config, output_dir=folder, data_dir=options.data_dir or config.data_dir)
