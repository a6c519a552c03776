"""The campaign of faults: a few of each kind for real, its judgement of answers, and that it goes on where it was stopped."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

if sys.platform != "linux":
    pytest.skip("the campaign is for Linux", allow_module_level=True)

from benchmarks import fault_works, faults
from benchmarks.fault_children import AtOperation, Ended, Harm, InWrite, Signals
from benchmarks.fault_kinds import KINDS
from paddle_cls.system.entry import reported

KILLS = "kill,kill-operation,kill-write,kill-photos,interrupt"


def campaign(folder: Path, *more: str) -> subprocess.CompletedProcess:
    """Run a small campaign as its users do: it forks, which a process that has computed cannot."""
    command = [sys.executable, ROOT / "benchmarks" / "faults.py", "--results", folder / "results", "--folder", folder / "runs"]
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=300)


def test_a_campaign_finds_nothing_and_goes_on_where_it_was(tmp_path):
    disks = ",disk,disk-photos" if os.geteuid() == 0 and may_mount(tmp_path) else ""
    done = campaign(tmp_path, "--kinds", KILLS + disks, "--each", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert {row["outcome"] for row in rows} == {"ok"}
    for name in (KILLS + disks).split(","):
        own = [row for row in rows if row["kind"] == name]
        assert [row["number"] for row in own] == list(range(len(own)))
        assert sum(row["hit"] for row in own) == 1
        assert not list((tmp_path / "runs" / name).iterdir())          # at last it has reached its end
    with open(tmp_path / "results", "a") as file:
        file.write('{"kind": "kill", "num')        # what a killed campaign leaves
    shown = campaign(tmp_path, "--summary")
    assert shown.returncode == 0 and shown.stdout.splitlines()[-1].startswith(f"all | {len(rows)} | ")
    assert len((tmp_path / "results").read_text().splitlines()) == len(rows)


@pytest.mark.parametrize("flags, message", [
    ([], "the following arguments are required: --results, --folder; "),
    (["--results", "r", "--folder", "/proc/none"], "/proc/none: No such file or directory\n$"),
    (["--results", "r", "--folder", "runs", "--kinds", "kill,flood"], "--kinds: unknown flood; known: kill, "),
], ids=["none", "folder missing", "kind"])
def test_a_wrong_flag_is_told_on_one_line(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["faults.py", *flags])
    with pytest.raises(SystemExit) as ended, reported("faults.py"):
        faults.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and re.match(f"faults.py: error: {message}", told) and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def may_mount(folder: Path) -> bool:
    """Return whether this process may mount a tmpfs."""
    made = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode == 0
    if made:
        subprocess.run(["umount", str(folder)], check=True)
    return made


@pytest.mark.parametrize("kind, ended, standing, outcome", [
    ("kill", Ended(-9, "", "", 1, 0), (3, 5), "ok"),
    ("kill", Ended(0, "", "", 1, 0), (3, 10), "ok"),
    ("kill", Ended(-9, "", "", 1, 0), (5, 3), "lost"),
    ("kill", Ended(-9, "", "", 1, 2), (3, 5), "orphan"),
    ("kill", Ended(None, "", "", 90, 0), (3, 3), "hang"),
    ("kill", Ended(1, "", "Traceback (most recent call last)\nKeyError", 1, 0), (3, 3), "traceback"),
    ("kill", Ended(-11, "", "", 1, 0), (3, 3), "wrong status"),
    ("disk", Ended(2, "", "train.py: error: x: cannot be written\n", 1, 0), (3, 3), "ok"),
    ("disk", Ended(2, "", "", 1, 0), (3, 3), "wrong message"),
    ("disk", Ended(2, "", "a: error: b\na: error: c\n", 1, 0), (3, 3), "wrong message"),
    ("interrupt", Ended(130, "stopped by a signal after step 4; x", "", 1, 0), (3, 4), "ok"),
    ("interrupt", Ended(130, "stopped by a signal after step 5; x", "", 1, 0), (3, 4), "lost"),
    ("worker-two", Ended(1, "", "process 1 of 2 was ended by SIGKILL; the others are stopped.", 1, 0), (3, 4), "ok")])
def test_an_answer_is_judged(kind, ended, standing, outcome):
    assert KINDS[kind].judge(ended, *standing)[0] == outcome


def test_faults_are_counted_that_came_in_time():
    killed, done, full = Ended(-9, "", "", 1, 0), Ended(0, "", "", 1, 0), Ended(0, "", "x: cannot be written", 1, 0)
    assert KINDS["kill"].hit(killed, AtOperation(3)) and not KINDS["kill"].hit(done, AtOperation(3))
    assert not KINDS["kill"].hit(killed, Harm())
    assert KINDS["disk-export"].hit(full, Harm()) and not KINDS["disk-export"].hit(done, Harm())
    assert KINDS["stop-two"].hit(done, Signals([(0, signal.SIGSTOP)])) and InWrite(3).length == 3
    assert sum(kind.count for name, kind in KINDS.items() if name.startswith("kill")) == 1000
    assert sum(kind.count for name, kind in KINDS.items() if not name.startswith("kill")) >= 400


def test_a_wrong_result_is_told():
    work = fault_works.Work(lambda folder: 0, lambda folder: {"rows": [1, 1], "step": 2}, right={"rows": [1], "step": 2})
    assert work.wrong(Path()) == "another result in ['rows']: {'rows': [1, 1]}"
    work.right = {"rows": [1, 1], "step": 2}
    assert work.wrong(Path()) == ""
    missing = fault_works.Work(lambda folder: 0, lambda folder: (folder / "answer").read_text(), right="a")
    assert missing.wrong(Path("nowhere")).startswith("no result: FileNotFoundError")


def test_the_summary_counts_by_kind_and_names_what_went_wrong():
    row = {"kind": "kill", "number": 0, "outcome": "ok", "detail": "", "hit": True, "harm": "h", "where": ""}
    shown = faults.summary([row, {**row, "number": 1, "outcome": "lost", "detail": "rows", "hit": False}])
    assert shown.splitlines() == ["kind | attempts | faults | ok | lost", "kill | 2 | 1 | 1 | 1", "all | 2 | 1 | 1 | 1",
                                  "kill 1: lost: rows (h )"]
