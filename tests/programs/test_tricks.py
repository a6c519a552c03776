"""The table of tricks, and that each trick is one setting that train.py has."""

import dataclasses
import json
import os
import shlex
import subprocess

import pytest
from test_runs import write_run

from benchmarks import tricks
from paddle_cls.checkpoints.info import hash_of
from paddle_cls.programs.settings.command_line import parse
from paddle_cls.programs.settings.fields import Config


def settings(flags: str) -> Config:
    return parse(Config, shlex.split(flags), program="train.py", description="")[0]


@pytest.mark.parametrize("trick", [trick for trick in tricks.TRICKS if trick != "base"])
def test_a_trick_changes_one_setting_of_the_base(trick):
    base, other = settings(tricks.BASE), settings(f"{tricks.BASE} {tricks.TRICKS[trick]}")
    assert len([f for f in dataclasses.fields(Config) if getattr(base, f.name) != getattr(other, f.name)]) == 1


def test_the_runs_and_the_table(run_folder, tmp_path, monkeypatch, capsys):
    """Two tricks; of the first there is a finished run, which is not trained again."""
    monkeypatch.setattr(tricks, "TRICKS", {"base": "", "some trick": "--mixup 0.2"})
    write_run(tmp_path / "base", 4, [0.5, 0.8])
    info = {**json.loads((run_folder / "last.json").read_text()), "epoch": 2, "step": 8, "figures": {"step": 8}}
    info["sha256"][".json"] = hash_of(info)
    for name, content, seconds in (("config.yaml", "seed: 4\nepochs: 2\nmax_steps: null\n", 1000),
                                   ("last.json", json.dumps(info), 1180)):
        (tmp_path / "base" / name).write_text(content)
        os.utime(tmp_path / "base" / name, (seconds, seconds))
    commands = []

    def train(command, **_) -> subprocess.CompletedProcess:
        commands.append(command)
        write_run(tmp_path / "some_trick", 4, [0.6, 0.7875])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", train)
    assert tricks.run(tmp_path, ["--seed", "4"]) == 0
    (command,) = commands
    assert command[2:] == [*shlex.split(tricks.BASE), "--mixup", "0.2", "--seed", "4", "--output-dir",
                           str(tmp_path / "some_trick"), "--resume"]
    assert capsys.readouterr().out.splitlines()[2:] == [
        f"| base | `{tricks.BASE}` | 4 | 2 | 0.8000 |  | 3.0 |",
        "| some trick | `--mixup 0.2` | 4 | 2 | 0.7875 | -1.25 | 1.5 |"]


def test_a_run_that_fails_ends_it_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 130))
    assert tricks.run(tmp_path, []) == 130 and capsys.readouterr().out == ""
