"""What users get wrong with train.py: one line that says it, exit status 2, and every file as it was before."""

import json
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from fakes import Harmful, forge, write_checkpoint, write_cifar

from paddle_cls.data.sets import cifar10
from paddle_cls.programs import train
from paddle_cls.programs.settings.command_line import read_yaml

NO_GPU = not (paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count())


NEW = ["--depth", "8", "--epochs", "1", "--batch-size", "8", "--nproc", "1", "--device", "cpu", "--data-dir", "data",
       "--output-dir", "new", "--onednn", "off"]
RESUME = ["--resume", "--nproc", "1", "--device", "cpu", "--data-dir", "data", "--output-dir", "run"]


def test_without_the_mistakes_it_works(call, here):
    """Otherwise the refusals below might have another reason than the one they name."""
    assert call(train, *NEW).status == 0
    assert call(train, *RESUME, "--epochs", 2).status == 0


@pytest.mark.parametrize("flags, message", [
    ("--epoch 3", r"unknown flag '--epoch'; did you mean '--epochs'\?"),
    ("--qqqq 3", "unknown flag '--qqqq'; known: --accumulate, "),
    ("3", "unexpected '3'; every value follows its flag, such as --epochs 10"),
    ("--lr", "--lr: expected one argument; train.py --help lists the flags"),
    ("--model resnett", r"unknown model 'resnett'; did you mean 'resnet'\?"),
    ("--model lstm", "unknown model 'lstm'; paddle-cls models lists the known"),
    ("--model googlenet", "model 'googlenet' takes images from 61x61 on, not 32x32; use --image-size 61"),
    ("--model googlenet --image-size 60 --nproc 2", "model 'googlenet' takes images from 61x61 on, not 60x60"),
    ("--model mobilenet_v1 --model-args scal=1", r"--model-args of .*: unknown argument 'scal'; did you mean 'scale'\?"),
    ("--model mobilenet_v1 --model-args scale=x", "--model-args of mobilenet_v1: scale: 'x' is not a number"),
    ("--model mobilenet_v1 --model-args scale", "--model-args: scale: needs a value"),
    ("--model vgg11 --model-args batch_norm=1", "--model-args of vgg11: batch_norm: '1' is not true or false"),
    ("--model resnet --model-args depth=20", "--model-args of resnet: unknown argument 'depth'; known: zero_init_last"),
    ("--dataset cifar", r"unknown data set 'cifar'; did you mean 'cifar10'\?"),
    ("--dataset imagenet", "unknown data set 'imagenet'; known: cifar10, folder, ichallenge_pm, shapes, table"),
    ("--optimizer adm", r"--optimizer: unknown value 'adm'; did you mean 'adamw?'\?"),
    ("--schedule linear", "--schedule: unknown value 'linear'; known: constant, cosine, onecycle, step"),
    ("--augment crop_flop", r"--augment: unknown piece 'crop_flop'; did you mean 'crop_flip'\?"),
    ("--augment rotate=200", r"--augment: rotate=200: 200 must be from 0 to 180"),
    ("--mixup -1", "--mixup: -1.0 must be at least 0"),
    ("--sampling even", "--sampling: unknown value 'even'; (did you mean|known:)"),
    ("--class-weights cta=2", r"--class-weights: unknown class 'cta'; did you mean 'cat'\?"),
    ("--class-weights balanced --sampling balanced", "the classes are drawn equally often already; leave out one of the two"),
    ("--epochs three", "--epochs: 'three' is not a whole number"),
    ("--epochs 1.5", r"--epochs: '1\.5' is not a whole number"),
    ("--epochs 0", "--epochs: 0 must be at least 1"),
    ("--batch-size -8", "--batch-size: -8 must be at least 1"),
    ("--eval-batch-size 0", "--eval-batch-size: 0 must be at least 1"),
    ("--image-size 0", "--image-size: 0 must be from 1 to 4096"),
    ("--max-steps 0", "--max-steps: 0 must be at least 1"),
    ("--nproc 0", "--nproc: 0 must be at least 1"),
    ("--nproc 9", r"--nproc 9: more processes than the 8 images of a batch \(--batch-size\)"),
    ("--nproc 1000 --batch-size 1000", r"--nproc 1000: this machine has \d+ processors; --nproc auto takes one process a core"),
    ("--lr fast", "--lr: 'fast' is not a number"),
    ("--lr nan", "--lr: nan is not a finite number"),
    ("--weight-decay -1", "--weight-decay: -1.0 must be at least 0"),
    ("--momentum 2", "--momentum: 2.0 must be from 0 to 1"),
    ("--label-smoothing 1", "--label-smoothing: 1.0 must be from 0 to 0.99"),
    ("--clip-norm 0", "--clip-norm: 0.0 must be at least 1e-12"),
    ("--seed -1", "--seed: -1 must be from 0 to 2147483647"),
    ("--depth 33", r"resnet_cifar10: depth=33 is not 6n\+2 .*; try 32 or 38"),
    ("--depth 0", "--depth: 0 must be at least 1"),
    ("--model vgg", r"model 'vgg' takes no depth; it takes: image_size"),
    ("--device tpu", "--device: unknown value 'tpu'"),
    pytest.param("--device gpu", "--device gpu: (this Paddle is built for the CPU only|no GPU is visible); install",
                 marks=pytest.mark.skipif(not NO_GPU, reason="there is a GPU")),
    ("--amp bfloat16", "--amp bfloat16: Paddle computes in float32 on a CPU whatever --amp says; leave out --amp"),
    ("--amp fp8", "--amp: unknown value 'fp8'; known: bfloat16, float16"),
    ("--config none.yaml", r"cannot read --config none\.yaml: No such file or directory"),
    ("--config file", "file: must hold 'key: value' lines, not a str"),
    ("--data-dir nowhere", "--data-dir nowhere: no such folder"),
    ("--data-dir nowhere --nproc 2", "--data-dir nowhere: no such folder"),        # by the first process, before it starts others
    ("--data-dir file", "--data-dir file: no such folder"),
    ("--data-dir new", r"new: no cifar-10-batches-py/ and no cifar-10-python\.tar\.gz in this folder"),
    ("--data-dir auto", r"http://127\.0\.0\.1:9/cifar\.tar\.gz: cannot be downloaded: .*refused.*--data-dir"),
    ("--dataset shapes", "--data-dir data: not for data set 'shapes'; leave it out, or choose another --dataset"),
    ("--output-dir run", r"run holds a run \(config\.yaml\); add --resume to continue it, or choose another --output-dir"),
    ("--output-dir file", "file: cannot be written: File exists"),
    ("--output-dir file/new", "file/new: cannot be written: Not a directory"),
    ("--output-dir /proc/new", "/proc/new: cannot be written: No such file or directory"),
    pytest.param(f"--output-dir {300 * 'x'}", "x+.*: File name too long", id="a long output-dir"),
    ("--eval-only", r"new: no checkpoint \(best\.json or last\.json\) in this folder"),
    ("--eval-only --checkpoint none.pdparams", r"none\.pdparams: no such checkpoint; --checkpoint takes a \.pdparams"),
    ("--eval-only --checkpoint run --dataset shapes", "--data-dir data: not for data set 'shapes'"),
])
def test_flags(refused, flags, message):
    refused(train, message, *NEW, *flags.split())


def test_a_refused_run_leaves_no_folder(refused):
    refused(train, "depth=33", *NEW, "--depth", "33", "--output-dir", "another")


@pytest.mark.parametrize("text, message", [
    ("epoch: 3", r"run\.yaml: unknown key 'epoch'; did you mean 'epochs'\?"),
    ("model: resnett", "unknown model 'resnett'"),
    ("optimizer: rmsprop", r"run\.yaml: optimizer: unknown value 'rmsprop'"),
    ("label_smoothing: [0.1]", r"run\.yaml: label_smoothing: \[0\.1\] is not a number"),
    ("resume: perhaps", r"run\.yaml: resume: 'perhaps' is not true or false"),
    ("lr: {", r"run\.yaml:[12]: not YAML"),
    ("- lr", r"run\.yaml: must hold 'key: value' lines, not a list"),
])
def test_yaml(refused, here, text, message):
    (here / "run.yaml").write_text(text)
    refused(train, message, *NEW, "--config", "run.yaml")


def harmful_batch(here: Path) -> bytes:
    return pickle.dumps({b"data": Harmful(here / "sentinel"), b"labels": [1]})


@pytest.mark.parametrize("make, message", [
    (lambda root: write_cifar(root, data_batch_5=b""), "data_batch_5: truncated or not a pickle"),
    (lambda root: write_cifar(root, data_batch_5=None), "data_batch_5: cannot be read: No such file"),
    (lambda root: write_cifar(root, data_batch_1=harmful_batch(root.parent)), r"data_batch_1: refused: it asks for io\.open"),
    (lambda root: write_cifar(root, archive=True, test_batch=harmful_batch(root.parent)),
     r"cifar-10-python\.tar\.gz:test_batch: refused: it asks for io\.open, which data never needs; nothing of it was run"),
    (lambda root: write_cifar(root, archive=True, test_batch=None), "it lacks cifar-10-batches-py/test_batch"),
    (lambda root: (root / cifar10.ARCHIVE).write_bytes(b""), r"tar\.gz: the file is empty; delete it and download it again"),
    (lambda root: (root / cifar10.ARCHIVE).write_bytes(b"<html>"), r"tar\.gz: truncated or corrupt"),
    (lambda root: cut(write_cifar(root, archive=True) / cifar10.ARCHIVE), r"tar\.gz: truncated or corrupt"),
])
def test_data(refused, here, make, message):
    (here / "broken").mkdir()
    make(here / "broken")
    refused(train, message, *NEW, "--data-dir", "broken")
    assert not (here / "sentinel").exists()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-len(file.read_bytes()) // 3])


def test_a_download_with_another_checksum(refused, here, monkeypatch):
    monkeypatch.setenv(cifar10.URL_VARIABLE, (write_cifar(here / "served", archive=True) / cifar10.ARCHIVE).as_uri())
    monkeypatch.setenv(cifar10.SHA256_VARIABLE, "0" * 64)
    refused(train, "the download has the checksum [0-9a-f]{64}, not 0{64}; it was deleted", *NEW, "--data-dir", "auto")


def edit(file: Path, **changed: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


def other_classes(run: Path) -> None:
    shutil.rmtree(run)
    write_checkpoint(run, classes=("cat", "dog", "frog"))


def with_ema(config: Path) -> None:
    config.write_text(config.read_text().replace("ema_decay: null", "ema_decay: 0.9"))


@pytest.mark.parametrize("flags, change, message", [
    ("--model vgg", None, "--resume: the run in run has model = resnet, not vgg; leave that out, or start another run"),
    ("--depth 14", None, "--resume: the run in run has depth = 8, not 14"),
    ("--dataset shapes", None, "--resume: the run in run has dataset = cifar10, not shapes"),
    ("--seed 5", None, "--resume: the run in run has seed = 0, not 5"),
    ("--batch-size 7", None, "--resume: the run in run has batch_size = 128, not 7"),
    ("", other_classes, r"--resume: run/last\.json has classes = \['cat', 'dog', 'frog'\], but now it is \['airplane'"),
    ("", lambda run: cut(run / "last.json"), r"run/last\.json: truncated or not JSON"),
    ("", lambda run: (run / "last.json").write_text(""), r"run/last\.json: truncated or not JSON"),
    ("", lambda run: cut(run / "last.pdparams"), r"run/last\.pdparams: truncated or changed since it was saved"),
    ("", lambda run: cut(run / "last.pdopt"), r"run/last\.pdopt: truncated or changed since it was saved"),
    ("", lambda run: (run / "last.pdopt").unlink(), r"run/last\.pdopt: missing; use another checkpoint"),
    ("", lambda run: edit(run / "last.json", step=7), r"run/last\.json: changed since it was saved"),
    ("", lambda run: edit(run / "last.json", totals={"loss": "x"}), r"run/last\.json: changed since it was saved"),
    ("", lambda run: edit(run / "last.json", classes=["cat"]), r"run/last\.json: changed since it was saved"),
    ("", lambda run: edit(run / "last.json", format="x"), r"run/last\.json: written in format 'x', this version reads 1"),
    ("", lambda run: (run / "config.yaml").write_text("depth: ["), r"config\.yaml:[12]: not YAML"),
    ("", lambda run: (run / "config.yaml").write_text("dept: 8"), r"config\.yaml: unknown key 'dept'; did you mean 'depth'"),
    ("", lambda run: forge(run, "last.pdparams", pickle.dumps({"fc.weight": Harmful(run.parent / "sentinel")})),
     r"run/last\.pdparams: refused: it asks for io\.open, which data never needs; nothing of it was run"),
    ("", lambda run: forge(run, "last.pdopt", pickle.dumps(Harmful(run.parent / "sentinel"))),
     r"run/last\.pdopt: refused: it asks for io\.open"),
    ("", lambda run: forge(run, "last.pdopt", pickle.dumps([1])), r"run/last\.pdopt: holds a list, not a dictionary of arrays"),
    ("", lambda run: forge(run, "last.pdparams", pickle.dumps({"fc.weight": np.zeros(3)})), "not the weights of this model"),
    ("", lambda run: with_ema(run / "config.yaml"), r"run/last\.pdopt: saved with another --ema-decay or --amp than now"),
])
def test_resume(refused, here, flags, change, message):
    if change:
        change(here / "run")
    refused(train, message, *RESUME, *flags.split())
    assert not (here / "sentinel").exists()


@pytest.mark.parametrize("limit, where", [
    (0, "new"), (300, "new/config.yaml"), (100_000, "new/last")])
def test_a_full_disk(call_in_memory, here, limit, where):
    """A limit to the size of a file stands for the full disk: at the first byte, in the settings, in the checkpoint."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        done = call_in_memory(train, *NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.status == 2
    assert done.err == f"train.py: error: {where}: cannot be written: File too large; free some space or choose another folder\n"
    left = sorted(path.name for path in (here / "new").iterdir())
    assert left == (["config.yaml", "metrics.jsonl", "vdl"] if where == "new/last" else [])
    if left:
        assert read_yaml(here / "new" / "config.yaml")["depth"] == 8
        assert all(json.loads(line) for line in (here / "new" / "metrics.jsonl").read_text().splitlines())
