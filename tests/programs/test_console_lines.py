"""What programs say to people, word by word."""

import contextlib
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest

from paddle_cls.programs.settings.command_line import parse
from paddle_cls.programs.settings.fields import GROUPS, Config, InferConfig, ReportConfig
from paddle_cls.programs.shared import console_lines

RUN = Path("out")


def test_only_settings_that_differ_are_shown():
    config = Config(output_dir=RUN, model="vgg", lr=0.05, lr_scale={"fc1": 0.003}, decay_norm_bias=False, resume=True)
    assert console_lines.changed(config) == (
        "settings: model vgg, lr 0.05, lr_scale fc1=0.003, decay_norm_bias off (others: the defaults; all:\n"
        "  out/config.yaml)")
    assert console_lines.changed(Config(output_dir=RUN)) == "settings: the defaults (all: out/config.yaml)"


@pytest.mark.parametrize("settings, lines", [
    ({}, []),
    ({"epochs": 4, "warmup_epochs": 4, "schedule": "onecycle"}, []),
    ({"epochs": 4, "warmup_epochs": 15, "schedule": "onecycle"}, [
        "warning: --warmup-epochs 15 is longer than the run, --epochs 4: the learning rate never reaches --lr 0.001"]),
    ({"epochs": 4, "warmup_epochs": 1, "max_steps": 10}, []),
    ({"epochs": 4, "warmup_epochs": 1, "max_steps": 5}, [
        "warning: --warmup-epochs 1 is longer than the run, --max-steps 5 (0.5 epochs): the learning rate never reaches "
        "--lr 0.001"]),
    ({"epochs": 3, "max_steps": 30, "schedule": "cosine"}, []),
    ({"epochs": 3, "max_steps": 29, "schedule": "cosine"}, [
        "warning: --max-steps 29 cuts the cosine schedule, which is made for the 30 steps of --epochs 3"]),
    ({"epochs": 100, "schedule": "step"}, [
        "warning: --step-epochs 100 is never reached in the run, --epochs 100: the learning rate never drops"]),
    ({"epochs": 101, "schedule": "step"}, []),
    ({"epochs": 3, "unfreeze_epochs": 2}, []),
    ({"epochs": 3, "unfreeze_epochs": 3}, [
        "warning: --unfreeze-epochs 3 is never reached in the run, --epochs 3: nothing thaws"]),
])
def test_a_recipe_that_is_cut_gets_a_line(settings, lines):
    assert console_lines.cuts(Config(**{"batch_size": 10, **settings}), images=95) == lines


@pytest.mark.parametrize("epochs, seconds, program, begin, command", [
    (3, 80.2, "train.py", "Trained 3 epochs in 1 min 20 s", "python infer.py"),
    (2, 3700, "paddle-cls train", "Trained 1,200 steps in 1 h 1 min", "paddle-cls infer"),
    (3, None, "train.py", "This run had finished before: 3 epochs", "python infer.py"),
])
def test_a_training_ends_in_a_sentence(epochs, seconds, program, begin, command):
    figures = {"epoch": 3, "step": 1200, "val/acc1": 0.991}
    best = {"epoch": 2, "val/acc1": 0.992}
    assert console_lines.finished(epochs, figures, best, seconds, Path("my run"), program) == (
        f"{begin}: validation accuracy 0.991 (best 0.992, epoch 2). Classify a picture: {command} --image PICTURE "
        "--checkpoint 'my run'")
    told = console_lines.finished(epochs, figures, best, seconds, RUN, program, "mine:Net")
    assert told.endswith(" --checkpoint out --model mine:Net")


def test_the_checkpoint_that_answers_is_named():
    assert console_lines.answering("out/best", {"val/acc1": 0.5, "epoch": 2}) == (
        "answers by out/best: validation accuracy 0.500, epoch 2")
    assert console_lines.answering("net.pdparams", {}) == "answers by net.pdparams (not evaluated)"


def test_a_resumed_run_tells_what_changes():
    before = {"epochs": 12, "lr": 0.001, "data_dir": "data", "output_dir": "elsewhere", "nproc": None, "model": "vgg"}
    now = Config(epochs=20, lr=0.0005, data_dir=Path("data"), output_dir=RUN, max_steps=7, resume=True, model="vgg")
    assert console_lines.changes(before, now) == ["epochs: 12 before, 20 now", "max_steps: none before, 7 now",
                                                  "lr: 0.001 before, 0.0005 now"]
    assert console_lines.changes(before, Config(epochs=12, data_dir=Path("data"))) == []


def test_few_validation_images_get_a_line():
    assert console_lines.few(8) == ["only 8 validation images: one more right or wrong moves the accuracy by 12.5 points"]
    assert console_lines.few(49) and console_lines.few(50) == []


def test_a_report_names_a_threshold_of_its_own():
    figures = {"loss": 0.5, "acc1": 0.25}
    assert console_lines.judged(figures, 0.3721) == "loss 0.5000, acc1 0.2500 (at threshold 0.372)"
    assert console_lines.judged(figures, 0.5) == console_lines.judged(figures, None) == "loss 0.5000, acc1 0.2500"


def test_paddles_word_on_ccache_is_not_shown():
    done = subprocess.run([sys.executable, "-c", "import paddle_cls, warnings; warnings.warn('No ccache found. Please'); "
                           "warnings.warn('another')"], capture_output=True, text=True, check=True)
    assert "ccache" not in done.stderr and "another" in done.stderr


def test_help_comes_in_groups():
    """Every setting is in one group; a typing mistake in GROUPS would be a name that no program has."""
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        parse(Config, ["--help"], program="train.py", description="")
    titles = [line[:-1] for line in out.getvalue().splitlines() if line.endswith(":") and line[0] != " "]
    assert titles[-6:] == ["model", "data", "augmentation", "optimization", "computing", "run"]
    known = {field.name for cls in (Config, InferConfig, ReportConfig) for field in dataclasses.fields(cls)}
    named = " ".join(GROUPS.values()).split()
    assert len(named) == len(set(named)) and set(named) <= known


def test_the_batch_size_of_infer_is_about_computing():
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        parse(InferConfig, ["--help"], program="infer.py", description="")
    assert "optimization:" not in out.getvalue()
    assert out.getvalue().partition("\ncomputing:\n")[2].partition("\nrun:\n")[0].split()[0] == "--batch-size"
