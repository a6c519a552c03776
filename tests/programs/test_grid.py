"""A grid of settings: what is refused before it starts, real runs, and what is not run again."""
# ruff: noqa: F811 -- `tiny` is the fixture of another file

import csv
import json

import pytest
from test_train import tiny  # noqa: F401 (tiny is a fixture)

from paddle_cls.errors import UserError
from paddle_cls.parallel import launch
from paddle_cls.programs import grid

BASE = ["--model", "resnet", "--depth", "8", "--nproc", "1", "--device", "cpu", "--epochs", "1", "--optimizer", "nesterov"]


@pytest.mark.parametrize("words, axes", [
    (["batch_size=16,32", "image_size=64,96"], {"batch_size": ["16", "32"], "image_size": ["64", "96"]}),
    (["batch-size=16", "lr=1e-3,0.1"], {"batch_size": ["16"], "lr": ["1e-3", "0.1"]}),
    (["val_split=1/2,2/2", "decay_norm_bias=true,False"], {"val_split": ["1/2", "2/2"], "decay_norm_bias": ["true", "False"]})])
def test_what_a_grid_means(words, axes):
    assert grid.axes(words) == axes


@pytest.mark.parametrize("words, message", [
    ([], "--grid: which settings\\? For example --grid batch_size=16,32 lr=0.1,0.2"),
    (["batchsize=1"], "--grid unknown setting 'batchsize'; did you mean 'batch_size'"),
    (["resume=true"], "--grid unknown setting 'resume'"), (["output_dir=a"], "--grid unknown setting 'output_dir'"),
    (["batch_size"], "--grid batch_size: needs a value"), (["lr=0.1,,"], "lr=0.1,,: a value is there twice"),
    (["lr=0.1,0.1"], "lr=0.1,0.1: a value is there twice"), (["lr=1", "lr=2"], "--grid lr is there twice"),
    (["lr=fast,-1", "optimizer=adm"], "^3 problems: --grid lr: 'fast' is not a number; --grid lr: -1.0 must be at least 0; "
                                      "--grid optimizer: unknown value 'adm'")])
def test_what_a_grid_cannot_mean(words, message):
    with pytest.raises(UserError, match=message):
        grid.axes(words)


def test_the_other_flags_are_handed_on():
    assert grid.without_grid(["--lr", "1", "--grid", "a=1", "b=2", "--resume", "--grid=c=3", "--epochs", "2"]) == [
        "--lr", "1", "--resume", "--epochs", "2"]


@pytest.mark.parametrize("flags, message", [
    (["--grid", "depth=8,9"], r"depth=9: resnet_cifar10: depth=9 is not 6n\+2"),
    (["--grid", "depth=9,10"], "2 problems: depth=9: .*; depth=10: "),
    (["--grid", "model=resnet,vgg"], "model=vgg: model 'vgg' takes no depth"),
    (["--grid", "lr=1", "--eval-only"], "--eval-only is of no use in grid"),
    (["--grid", "lr=1", "--lr", "x"], "--lr: 'x' is not a number"),
    (["--grid", "lr=1", "--pretrained", "none.pdparams"], r"lr=1: none\.pdparams: no such file"),
    (["--grid", "pretrained=run", "freeze=1,res9"], "^grid: error: pretrained=run freeze=res9: --freeze: unknown layer 'res9'"),
    (["--grid", "lr=1", "--output-dir", "run"], "run holds a run of its own; choose another --output-dir")])
def test_mistakes_leave_everything_as_it_was(refused, flags, message):
    refused(grid, message, *BASE, "--data-dir", "data", *flags)


def test_a_grid_runs_tabulates_goes_on_and_reports_what_fails(call, tiny, tmp_path, monkeypatch):
    root = tmp_path / "grid"
    flags = [*BASE, "--data-dir", tiny, "--output-dir", root, "--grid", "lr=0.05,1e30", "seed=0,1", "--batch-size", "45"]
    done = call(grid, *flags)
    assert done.status == 1 and done.err.count("the loss of step") == 2
    assert done.err.endswith("grid: 2 of 4 runs failed: lr=1e30 seed=0; lr=1e30 seed=1\n")
    table = list(csv.reader((root / "grid.csv").read_text().splitlines()))
    assert table[0] == ["lr", "seed", "accuracy", "loss", "minutes", "state"]
    assert [row[:2] + row[-1:] for row in table[1:]] == [
        ["0.05", "0", "done"], ["0.05", "1", "done"], *(["1e30", seed, "failed (exit status 1)"] for seed in "01")]
    finals = [json.loads(line)["final"] for line in done.out.splitlines() if line.startswith('{"output_dir"')]
    assert [row[2:4] for row in table[1:3]] == [[f"{f['val/acc1']:.4f}", f"{f['val/loss']:.4f}"] for f in finals]
    assert [row[2:4] for row in table[3:]] == [["", ""]] * 2
    text = (root / "grid.md").read_text()
    low, high = sorted(f["val/acc1"] for f in finals)
    assert f"| 0.05 | 0 | {table[1][2]} | {table[1][3]} |" in text and done.out.endswith(text)
    assert text.endswith(f"| lr | seeds | mean accuracy | lowest | highest |\n| --- | --- | --- | --- | --- |\n"
                         f"| 0.05 | 2 | {(low + high) / 2:.4f} | {low:.4f} | {high:.4f} |\n")
    assert (root / "grid.png").read_bytes().startswith(b"\x89PNG")

    from visualdl.server.api import Api
    shown = json.loads(Api(str(root / "vdl"), None, 2).hparam_list()[0])["data"]
    assert [run["hparams"] for run in shown] == [{"lr": pytest.approx(0.05), "seed": seed} for seed in (0, 1)]
    assert [run["metrics"]["val/acc1"] for run in shown] == pytest.approx([f["val/acc1"] for f in finals])

    started = []
    monkeypatch.setattr(launch, "run", lambda command, count, remedy: started.append(command) or 0)
    again = call(grid, *flags)
    assert [(command[-1], command[-2]) for command in started] == [
        ("--resume", f"--output-dir={root}/lr=1e30,seed={seed}") for seed in "01"]
    assert f"[1/4] lr=0.05 seed=0: finished before, skipped ({root}/lr=0.05,seed=0)" in again.out and again.status == 0
    other = call(grid, *flags, "--epochs", 2)
    assert other.status == 2 and "lr=0.05,seed=0 holds a run with epochs = 1, not 2; choose another --output-dir" in other.err
    monkeypatch.setattr(launch, "run", lambda command, count, remedy: 130)
    stopped = call(grid, *flags)
    assert stopped.status == 130 and "grid: stopped in run 3 of 4; the same command goes on" in stopped.err
