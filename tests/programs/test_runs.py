"""The table of several runs."""

import json
import os

import pytest

from benchmarks.runs import last_epoch, table
from paddle_cls.errors import UserError


def write_run(folder, seed: int, accuracies: list[float]) -> None:
    """Write what benchmarks.runs reads of a run that took 90 s."""
    folder.mkdir()
    rows = [{"step": 1, "train/loss": 0.5}] + [{"step": i, "val/acc1": a, "val/auc": a / 2} for i, a in enumerate(accuracies, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content, time in (("config.yaml", f"seed: {seed}\n", 1000), ("last.json", "{}", 1090)):
        (folder / name).write_text(content)
        os.utime(folder / name, (time, time))


def test_the_table_shows_the_last_epoch_and_the_spread(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    write_run(folders[0], 7, [0.99, 0.9])
    write_run(folders[1], 8, [0.5, 0.6, 0.7])
    assert table(folders).splitlines() == [
        "| run | seed | epochs | accuracy | AUC | minutes |", "| --- | --- | --- | --- | --- | --- |",
        "| a | 7 | 2 | 0.9000 | 0.4500 | 1.5 |", "| b | 8 | 3 | 0.7000 | 0.3500 | 1.5 |",
        "| mean of 2 |  |  | 0.8000 | 0.4000 | 1.5 |", "| smallest of 2 |  |  | 0.7000 | 0.3500 | 1.5 |",
        "| largest of 2 |  |  | 0.9000 | 0.4500 | 1.5 |"]


def test_a_folder_without_an_epoch_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x: no finished epoch in metrics\.jsonl"):
        last_epoch(tmp_path / "x")
