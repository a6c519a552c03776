"""Frozen layers keep their weights and statistics to the last bit, thaw when they should, and survive --resume."""
# ruff: noqa: F811 -- `tiny` is the fixture of another file

import re

import numpy as np
import paddle
import pytest
from test_ops import assert_close, needs_ops
from test_train import outcome, run, start, tiny  # noqa: F401 (tiny is a fixture)
from test_wrong_inputs import NEW

from paddle_cls import models, ops
from paddle_cls.checkpoints import checkpoint
from paddle_cls.data.reader import Batch
from paddle_cls.errors import UserError
from paddle_cls.programs import train
from paddle_cls.training import loop, optimizers
from paddle_cls.training.freezing import Freezer, body, choose
from paddle_cls.training.objective import Objective
from paddle_cls.training.updater import Updater

HEAD = ["fc.weight", "fc.bias"]
PARTS = ["conv1", "res1", "res2", "res3"]
IDLE = {f"{part}.0.conv2.conv.bias" for part in PARTS}         # whose gradient is 0: the batch norm after it takes them out


def resnet():
    paddle.seed(0)
    return models.build_model("resnet", 10, depth=8)


def state(model) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same(model, before: dict[str, np.ndarray]) -> set[str]:
    """Return the names of the weights and statistics that are what they were, to the last bit."""
    return {name for name, array in state(model).items() if np.array_equal(array, before[name])}


def learn(model, optimizer, steps: int, first: int = 0, **more) -> None:
    rng = np.random.default_rng(first)
    def batches():
        for _ in range(steps):
            yield Batch(rng.normal(size=(4, 3, 8, 8)).astype("float32"), rng.integers(0, 10, 4), np.arange(4), 4)
    makes = Updater(model, optimizer, lambda step: 0.01, **more)
    assert list(loop.train_one_epoch(batches(), Objective(), makes, loop.Totals(), step=first))


def test_the_head_is_found_whatever_its_name_and_the_body_is_what_is_below():
    for name, arguments in (("resnet", {"depth": 14}), ("resnet_small", {})):
        model = models.build_model(name, 5, **arguments)
        named = [weight for weight, _ in model.named_parameters()]
        assert models.head(model, name, 5, **arguments) == named[-2:], name
    model = resnet()
    assert body(model, models.head(model, "resnet", 10, depth=8)) == PARTS
    vgg = paddle.nn.Sequential(("features", paddle.nn.Conv2D(3, 4, 1)),
                               ("classifier", paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.Linear(4, 2))))
    assert body(vgg, ["classifier.1.weight", "classifier.1.bias"]) == ["features", "classifier.0"]


@pytest.mark.parametrize("what, layers", [
    ("body", PARTS), ("1", PARTS[:1]), ("4", PARTS), ("res3,conv1", ["conv1", "res3"]),
    ("res2.0.conv1, res1", ["res1", "res2.0.conv1"]), ("res1.0,res1", ["res1"]), ("res1,res1", ["res1"]), ("fc", ["fc"])])
def test_what_freeze_means(what, layers):
    assert choose(what, resnet(), HEAD) == layers


@pytest.mark.parametrize("what, message", [
    ("0", "--freeze 0: below its head this network has 4 parts: conv1, res1, res2, res3"),
    ("5", "--freeze 5: below its head this network has 4 parts"),
    ("res4", r"--freeze: unknown layer 'res4'; did you mean 'res[123]'\?; or body, or how many of its parts"),
    ("conv1,", "--freeze: unknown layer ''; known: conv1, res1, res2, res3; or body"),
    ("conv1.conv.weight", "--freeze: unknown layer 'conv1.conv.weight'")])
def test_what_freeze_cannot_mean(what, message):
    with pytest.raises(UserError, match=message):
        choose(what, resnet(), HEAD)


def test_what_leaves_nothing_to_train_or_to_thaw():
    with pytest.raises(UserError, match="--freeze: with conv1, res1, res2, res3, fc frozen nothing is left to train"):
        Freezer(resnet(), [*PARTS, "fc"])
    with pytest.raises(UserError, match="--unfreeze-epochs: nothing is frozen; say what with --freeze, such as --freeze body"):
        Freezer(resnet(), unfreeze_epochs=2)


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=needs_ops)])
@pytest.mark.parametrize("name", ["adam", "adamw", "nesterov"])
def test_what_is_frozen_stays_to_the_last_bit_and_all_else_moves(name, fast):
    model = resnet()
    if fast:
        ops.accelerate(model)
    freezing = Freezer(model, ["conv1", "res2"])               # res2 is between layers that train
    optimizer = optimizers.build_optimizer(name, model, weight_decay=0.1)
    ema = optimizers.EMA(model, 0.5)
    assert freezing.start_epoch(0) == "frozen: conv1, res2; 63,130 of 78,154 weights train" and freezing.start_epoch(1) == ""
    before = state(model)
    learn(model, optimizer, 3, ema=ema, clip_norm=1.0)
    stay = {weight for weight in before if weight.startswith(("conv1.", "res2."))}
    assert same(model, before) - stay <= IDLE
    assert same(model, before) >= stay
    ema.swap()
    assert same(model, before) >= stay


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=needs_ops)])
def test_freeze_bn_keeps_the_statistics_and_trains_scale_and_shift(fast):
    model = resnet()
    if fast:
        ops.accelerate(model)
    freezing = Freezer(model, ["conv1"], freeze_bn=True)
    optimizer = optimizers.build_optimizer("nesterov", model)
    assert freezing.start_epoch(0).endswith("weights train; the statistics of all batch norms stay")
    before = state(model)
    learn(model, optimizer, 3)
    assert same(model, before) == {name for name in before if name.startswith("conv1.") or name.endswith(("_mean", "_variance"))}


@needs_ops
def test_the_compiled_operators_compute_frozen_layers_and_batch_norms_as_paddle_does():
    """Gradients below, inside and above frozen layers; batch norms that use their statistics while the network trains."""
    found = []
    for fast in (False, True):
        model = resnet()
        rng = np.random.default_rng(0)
        for _, layer in model.named_sublayers():
            if isinstance(layer, paddle.nn.BatchNorm2D):
                layer._mean.set_value(rng.normal(size=layer._mean.shape).astype("float32"))
                layer._variance.set_value(rng.uniform(0.5, 2, layer._variance.shape).astype("float32"))
        if fast:
            ops.accelerate(model)
        Freezer(model, ["res1", "res3.0.conv2.conv"], freeze_bn=True)
        model.train()
        images = paddle.to_tensor(rng.normal(size=(4, 3, 16, 16)).astype("float32"))
        model(images).square().mean().backward()
        found.append({name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() == {
        name for name, _ in model.named_parameters()
        if not name.startswith(("res1.", "res3.0.conv2.conv.")) and not name.endswith(("_mean", "_variance"))}
    for name, gradient in found[0].items():
        assert_close(found[1][name], gradient, name)


def test_one_part_thaws_after_the_other_from_the_head_downwards():
    model = resnet()
    freezing = Freezer(model, PARTS, unfreeze_epochs=2)
    optimizer = optimizers.build_optimizer("adam", model)
    ema = optimizers.EMA(model, 0.5)
    lines = []
    for epoch in range(10):
        lines.append(freezing.start_epoch(epoch))
        before = state(model)
        learn(model, optimizer, 2, first=2 * epoch, ema=ema)
        frozen = PARTS[:max(0, 4 - epoch // 2)]
        moved = {name.split(".")[0] for name in before.keys() - same(model, before)}
        assert moved == {*PARTS, "fc"} - set(frozen), epoch
        ema.swap()                                 # the averages of what is frozen are its weights
        assert {name for name in before if name.split(".")[0] in frozen} <= same(model, before)
        ema.swap()
    assert [bool(line) for line in lines] == [True, False] * 5
    assert lines[4] == "frozen: conv1, res1; 73,002 of 78,154 weights train"
    assert lines[8] == "frozen: no weights; 78,154 of 78,154 weights train"


TUNE = ["--freeze", "body", "--unfreeze-epochs", 1, "--epochs", 3, "--optimizer", "adamw", "--ema-decay", 0.9]


@pytest.fixture(scope="module")
def base(tiny, tmp_path_factory):
    """A run to start from."""
    folder = tmp_path_factory.mktemp("base") / "run"
    run(tiny, folder, "--epochs", 1)
    return folder


def test_a_resumed_run_thaws_and_ends_as_an_unbroken_one_and_needs_no_file(tiny, base, tmp_path, capsys):
    moved = base.rename(tmp_path / "base")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(tiny, whole, *TUNE, "--pretrained", moved)
    out = capsys.readouterr().out
    assert f"pretrained: 50 of 50 weights from {moved}/best.pdparams; new: none" in out
    assert re.findall("frozen: (.*);", out) == ["conv1, res1, res2, res3", "conv1, res1, res2", "conv1, res1"]
    assert (whole / "pretrained.txt").read_text().startswith(f"weights from {moved}/best.pdparams\nloaded: 50\n")
    run(tiny, parts, *TUNE, "--pretrained", moved, "--max-steps", 9)     # in the middle of the second epoch
    moved.rename(base)
    run(tiny, parts, *TUNE, "--resume", "--max-steps", 18)
    assert outcome(parts) == outcome(whole)
    first, last = (checkpoint.read_weights(file) for file in (base / "best.pdparams", whole / "last.pdparams"))
    frozen = {name for name in first if name.startswith(("conv1.", "res1."))}
    assert frozen <= {name for name in first if np.array_equal(first[name], last[name])} <= frozen | IDLE


def test_several_processes_thaw_too_and_do_what_one_does(tiny, base, tmp_path):
    """With the statistics frozen there is no other difference between the processes than the order of sums."""
    more = [*TUNE, "--pretrained", base, "--freeze-bn", "--augment", "none", "--accumulate", 2, "--optimizer", "momentum",
            "--lr", 0.01, "--epochs", 2]
    run(tiny, tmp_path / "one", *more)
    process = start(tiny, tmp_path / "three", *more, "--nproc", 3)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    one, three = (checkpoint.read_weights(tmp_path / name / "last.pdparams") for name in ("one", "three"))
    start_from = checkpoint.read_weights(base / "best.pdparams")
    for name in one:
        change = np.abs(one[name] - start_from[name]).max()
        if name.startswith(("conv1.", "res1.", "res2.")) or name.endswith(("_mean", "_variance")):
            assert change == 0 and np.array_equal(three[name], one[name]), name
        else:
            assert change > 0 and np.abs(three[name] - one[name]).max() < 1e-3 * change + 1e-7, name


@pytest.mark.parametrize("flags, message", [
    ("--freeze body", "--freeze is of use with --pretrained only; name the weights, or leave it out"),
    ("--unfreeze-epochs 2", "--unfreeze-epochs is of use with --pretrained only"),
    ("--freeze-bn", "--freeze-bn is of use with --pretrained only"),
    ("--pretrained-partial", "--pretrained-partial is of use with --pretrained only"),
    ("--pretrained run --freeze res9", r"--freeze: unknown layer 'res9'; did you mean 'res"),
    ("--pretrained run --unfreeze-epochs 1", "--unfreeze-epochs: nothing is frozen"),
    ("--pretrained run --depth 14", r"run/best\.pdparams \(of resnet, depth 8\): not the weights of this network: 33 missing"),
    ("--pretrained none.pdparams", r"none\.pdparams: no such file"),
    ("--pretrained file", "file: not a kind of file that can be read"),
    ("--pretrained resnet99", "--pretrained: unknown name 'resnet99'"),
])
def test_mistakes_leave_everything_as_it_was(refused, flags, message):
    refused(train, message, *NEW, *flags.split())
