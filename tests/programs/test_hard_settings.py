"""Hostile settings: what YAML, flags and numbers can be made to mean, each refused at once with one line."""

import os
import time

import numpy as np
import pytest

from paddle_cls.data.reader import Split
from paddle_cls.data.splits import hold_out
from paddle_cls.errors import UserError
from paddle_cls.formats import plain_yaml
from paddle_cls.programs import grid, infer, lr_find, train
from paddle_cls.programs.settings.command_line import check_together, coerce, parse, read_yaml
from paddle_cls.programs.settings.fields import Config, GridConfig, InferConfig, LrFindConfig

SMALL = ["--dataset", "shapes", "--model", "resnet", "--depth", "8", "--nproc", "1", "--device", "cpu", "--onednn", "off",
         "--output-dir", "new"]
BOMB = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(20))
NUMBER = "'[^']*' is not a( whole)? number"

YAMLS = {
    "deep nesting": ("[" * 5000, r"c\.yaml:1: nested over 4 levels deep; no setting is"),
    "deep flow maps": ("{a: " * 5000, r"c\.yaml:1: nested over 4 levels deep"),
    "deep block": ("\n".join(" " * i + "a:" for i in range(400)), r"c\.yaml:5: nested over 4 levels deep"),
    "duplicate keys": ("lr: 0.1\nepochs: 3\nlr: 0.2", r"c\.yaml:3: 'lr' is there twice, first in line 1; leave one out"),
    "duplicate keys inside": ("lr_scale:\n  fc: 1\n  fc: 2", r"c\.yaml:3: 'fc' is there twice, first in line 2"),
    "NUL in table": (r'table: "a\0b"', r"c\.yaml: table: 'a\\x00b' holds '\\x00'; a setting is UTF-8 text without control"),
    "surrogate in table": (r'table: "\ud800"', r"c\.yaml: table: '\\ud800' holds '\\ud800'"),
    "surrogate in model": (r'model: "\ud800"', r"c\.yaml: model: '\\ud800' holds"),
    "surrogate in a key": (r'model_args: {"\ud800": 1}', r"c\.yaml: model_args: '\\ud800' holds"),
    "hex": ("epochs: 0x10", rf"c\.yaml: epochs: {NUMBER}"), "octal": ("seed: 010", rf"seed: {NUMBER}"),
    "new octal": ("seed: 0o10", rf"seed: {NUMBER}"), "binary": ("seed: 0b10", rf"seed: {NUMBER}"),
    "sexagesimal lr": ("lr: 1:30", rf"lr: {NUMBER}"), "sexagesimal batch": ("batch_size: 1:00", rf"batch_size: {NUMBER}"),
    "sexagesimal float": ("lr: 1:30.5", rf"lr: {NUMBER}"), "underscore": ("batch_size: 1_28", rf"batch_size: {NUMBER}"),
    "unicode digits": ("seed: \u0661\u0660", rf"seed: {NUMBER}"),
    "tagged hex": ("seed: !!int 0x10", r"c\.yaml:1: '0x10' is not a decimal"),
    "tag": ("seed: !!binary aGk=", r"c\.yaml:1: not YAML: could not determine a constructor for the tag"),
    "5000 digits": ("seed: " + 5000 * "9", r"seed: '9+\.\.\. \(5,002 characters\) is not a whole number"),
    "5000 digits, a float": ("lr: " + 5000 * "9", r"lr: '9+\.\.\. \(5,002 characters\) is not a number"),
    "1e400": ("lr: 1e400", "lr: inf is not a finite number"), "huge epochs": ("epochs: 99999999999", "must be at most 1,000,000"),
    "bomb": (BOMB, r"c\.yaml:1: aliases and anchors \(\* and &\) are not allowed; write the value itself"),
    "bomb in model_args": ("model_args:\n  a: &a {b: 1}\n  c: *a", r"c\.yaml:2: aliases and anchors"),
    "merge": ("<<: {lr: 1}", r"c\.yaml: unknown key '<<'"),
    "two documents": ("lr: 1\n---\nlr: 2", r"c\.yaml:2: not YAML: .*another"),
    "tab": ("lr: 1\n\tseed: 2", r"c\.yaml:2: not YAML: .*'\\\\?t'"),
    "not UTF-8": (b"model: b\xe4r", "'utf-8' codec can't decode"),
    "a mapping as key": ("? {a: 1}\n: 2", r"c\.yaml:1: not YAML: .*unhashable key"), "null key": ("~: 1", "unknown key 'None'"),
    "date": ("lr: 2024-01-31", r"lr: datetime\.date\(2024, 1, 31\) is not a number"),
    "list for pairs": ("model_args: [1]", r"model_args: \[1\] is not NAME=VALUE"),
    "large": ("#" * 100_001, "larger than 100,000 bytes"),
    "long value": ("lr: " + "x" * 9000, r"lr: 'x{399}\.\.\. \(9,002 characters\) is not a number"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_yaml(tmp_path, name):
    text, message = YAMLS[name]
    (tmp_path / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    started = time.monotonic()
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(tmp_path / "c.yaml")
    assert time.monotonic() - started < 2 and len(str(caught.value)) < 3000


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, message in ((tmp_path / "fifo", "a FIFO, not a file"), ("/dev/zero", "a device, not a file")):
        with pytest.raises(UserError, match=f"^cannot read --config {path}: {message}$"):
            read_yaml(path)


def test_what_plain_yaml_still_means(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 5.0e-4\nmomentum: .5\nepochs: +3\ndecay_norm_bias: off\nval_split: 0.2\n"
                                     "model_args: {scale: 1e-3}\ndata_dir: 007\nclass_weights: 'a: b'\nepoch2: [1, {a: ~}]")
    assert plain_yaml.load(tmp_path / "c.yaml") == {
        "lr": 5e-4, "momentum": 0.5, "epochs": 3, "decay_norm_bias": False, "val_split": 0.2, "model_args": {"scale": "1e-3"},
        "data_dir": "007", "class_weights": "a: b", "epoch2": [1, {"a": None}]}


@pytest.mark.parametrize("cls, flags, message", [
    (Config, "--warmup-epochs 1e308", r"--warmup-epochs: 1e\+308 must be at most 1,000,000"),
    (Config, "--accumulate 1000000000000", "--accumulate: 1000000000000 must be at most 1,000,000"),
    (Config, "--accumulate 1" + 30 * "0", "must be at most 1,000,000"),
    (Config, "--depth 60002", "--depth: 60002 must be at most 1,202"), (Config, "--depth 6" + 29 * "0" + "2", "at most 1,202"),
    (Config, "--seed 1_0", "--seed: '1_0' is not a whole number"),
    (Config, "--seed \u0661\u0660", "'\u0661\u0660' is not a whole number"),
    (Config, "--seed 00", "'00' is not a whole number"), (Config, "--lr 1_0", "--lr: '1_0' is not a number"),
    (Config, "--lr 1e39", r"--lr: 1e\+39 must be at most 1e\+38"),
    (Config, "--mixup 1e308", r"--mixup: 1e\+308 must be at most 1,000"),
    (Config, "--lr-scale fc=1,fc=2", "--lr-scale: fc is there twice; leave one out"),
    (Config, "--model-args zero_init_last=true,zero_init_last=false", "--model-args: zero_init_last is there twice"),
    (Config, "--seed " + 5000 * "9", "is not a whole number"), (Config, "--output-dir a\x1bb", r"--output-dir: 'a\\x1bb' holds"),
    (Config, "--output-dir a\udcff", r"--output-dir: 'a\\udcff' holds"),
    (InferConfig, "--batch-size 100000000000000000000", "--batch-size: 100000000000000000000 must be at most 1,000,000"),
    (InferConfig, "--topk 1" + 30 * "0", "must be at most 1,000,000"),
    (LrFindConfig, "--steps 1000000000000", "--steps: 1000000000000 must be at most 100,000"),
    (LrFindConfig, "--steps 1" + 30 * "0", "must be at most 100,000"),
], ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_flags(cls, flags, message):
    with pytest.raises(UserError, match=message):
        parse(cls, flags.split(" "), program="train.py", description="Train.")


def test_a_name_of_other_bytes_is_only_refused_where_it_would_be_saved():
    assert coerce(InferConfig, "checkpoint", "a\udcff", "--checkpoint").name == "a\udcff"


@pytest.mark.parametrize("flags, message", [
    ("--checkpoint run", "--checkpoint run: goes with --eval-only; a training starts from --pretrained, or goes on"),
    ("--resume --checkpoint run", "--checkpoint run: goes with --eval-only"),
    ("--resume --eval-only", "--resume trains on and --eval-only does not train; leave out one of the two"),
    ("--val-table t.csv --val-split 0.2", "--val-table names the validation images and --val-split draws others"),
    ("--accumulate 129", r"--accumulate 129: more parts than the 128 images of a batch \(--batch-size\)"),
    ("--pretrained run --freeze " + 5000 * "9", r"--freeze 9+ \.\.\. .*conv1"),
], ids=lambda value: value[:40])
def test_train(refused, flags, message):
    refused(train, message, *SMALL, *flags.split())


@pytest.mark.parametrize("what", ["1_0/2_0", "\u0661/\u0662", "1/" + 5000 * "9", "0_1", "0x1p-3", " 0.5", "1e400", "nan", "0.5/2",
                                  "1/2/3"])
def test_a_share_is_plain(what):
    with pytest.raises(UserError, match="must be a share such as 0.2, or one of k parts such as 2/5"):
        hold_out(Split(np.zeros((40, 1, 1, 3), np.uint8), np.arange(40) % 2), what, "--val-split", "ab")


def test_settings_that_go_together_are_taken():
    check_together(Config(eval_only=True, checkpoint="run"))
    check_together(Config(accumulate=128))


def test_images_that_memory_cannot_hold(refused, monkeypatch):
    monkeypatch.setattr("paddle_cls.system.memory.free", lambda: 7 * 10**9)
    flags = ["--data-dir", "data", *SMALL[2:], "--image-size", "4096"]
    refused(train, r"20 images of 4096x4096 pixels \(--batch-size\) take 9\.06 GB of memory, and 7 GB are free; lower "
                   "--batch-size or --image-size", *flags)
    monkeypatch.setattr("paddle_cls.system.memory.free", lambda: 1 * 10**9)
    refused(train, r"4 images of 4096x4096 pixels \(--eval-batch-size\) take 1\.81 GB", *flags, "--batch-size", "1")


@pytest.mark.parametrize("text", ["5", "[1, 2]", "[null]", "[[1]]", "true", "1.5", "2024-01-31", "lr=1,2", "!!binary aGk="])
def test_a_grid_in_yaml(refused, here, text):
    (here / "g.yaml").write_text(f"grid: {text}\n")
    message = "could not determine a constructor" if text[0] == "!" else "grid goes on the command line: --grid NAME=VALUE,..."
    refused(grid, rf"^grid: error: g\.yaml(:1)?: .*{message}", *SMALL, "--config", "g.yaml")
    with pytest.raises(UserError):
        read_yaml(here / "g.yaml", GridConfig)


@pytest.mark.parametrize("words, message", [
    (["seed=0,00"], "--grid seed: '00' is not a whole number"), (["lr=0.1,0.10"], "lr=0.1,0.10: a value is there twice, spelled"),
    (["data_dir=" + 300 * "x"], "'data_dir=x+'?: too long for the name of a folder; choose shorter values"),
    (["data_dir=a/b,a_b"], "data_dir=a_b: two combinations would share this folder"),
    ([f"{name}={','.join(map(str, range(1, 40)))}" for name in ("seed", "epochs", "lr")],
     "59,319 combinations, at most 1,000"),
], ids=["twice", "spelled", "long", "shared", "many"])
def test_a_grid(refused, words, message):
    refused(grid, message, *SMALL, "--grid", *words)


@pytest.mark.parametrize("losses", [[], [2.0], [2.0, 3.0, 2.5, 2.0]], ids=len)
def test_a_search_that_diverges_at_once_is_told(call_in_memory, here, monkeypatch, losses):
    monkeypatch.setattr(lr_find, "search", lambda config, rates: iter([*losses, np.nan]))
    done = call_in_memory(lr_find, *SMALL, "--steps", "60", "--lr-from", "1e37", "--lr-to", "1e38")
    assert done.status == 2 and done.err == (f"lr_find: error: the loss diverged after {len(losses)} steps, at 1e+37; lower "
                                             f"--lr-from\n")
    assert len((here / "new" / "lr_find.csv").read_text().splitlines()) == 1 + len(losses)
    assert (here / "new" / "lr_find.png").exists()


@pytest.mark.parametrize("losses", [[3.0], [3.0, 1.0], [3.0, 1.0, 2.0, 2.0, 7.0]], ids=len)
def test_few_losses_are_smoothed_as_many_are(losses):
    smoothed = lr_find.smooth(np.array(losses), 5)
    assert smoothed.tolist() == pytest.approx([np.mean(losses[max(0, i - 2):i + 3]) for i in range(len(losses))])


def test_infer(refused):
    refused(infer, "--batch-size: 1000000000000 must be at most", "--image", "x.png", "--batch-size", "1000000000000")
