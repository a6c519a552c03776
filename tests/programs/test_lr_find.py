"""The search for a learning rate: on a parabola whose limit is known, on a small network, and as a program."""
# ruff: noqa: F811 -- `tiny` is the fixture of another file

import json

import numpy as np
import paddle
import pytest
from test_train import BASE, tiny  # noqa: F401 (tiny is a fixture)

from paddle_cls.data.reader import Batch
from paddle_cls.errors import UserError
from paddle_cls.programs import lr_find
from paddle_cls.training import optimizers
from paddle_cls.training.objective import Objective
from paddle_cls.training.updater import Updater


def parabola(rates, curvature: float):
    """Yield the loss 1 + curvature/2 w^2 before each step of gradient descent, which is stable below a rate of 2/curvature.

    A small kick keeps the weight from coming so close to 0 that it would take long to leave it again.
    """
    weight = curvature**-0.5
    for number, rate in enumerate(rates):
        yield 1 + curvature / 2 * weight**2
        weight -= rate * curvature * weight + 0.01 * curvature**-0.5 * (-1)**number


@pytest.mark.parametrize("curvature", [0.5, 4.0, 300.0])
def test_on_a_parabola_the_suggestion_is_well_below_the_limit_and_the_search_stops_above_it(curvature):
    limit = 2 / curvature
    rates = lr_find.rising(1e-5, 100, 200)
    found = lr_find.until_divergence(parabola(rates, curvature))
    assert limit < rates[len(found)] < 3 * limit
    rates = rates[:len(found)]
    answer = lr_find.suggest(rates, lr_find.smooth(found, 11), diverged=True)
    assert limit / 10 < answer.lowest < limit and answer.suggested == answer.lowest / 10 and not answer.note


def test_rates_rise_by_a_constant_factor():
    assert lr_find.rising(1e-3, 10, 5) == pytest.approx([1e-3, 1e-2, 0.1, 1, 10])


def test_smoothing_is_the_mean_of_neighbours_and_moves_nothing():
    assert lr_find.smooth(np.array([1.0, 2, 6, 1, 5]), 3) == pytest.approx([1.5, 3, 3, 4, 3])


@pytest.mark.parametrize("losses, kept", [
    ([2, 2, 2, 2, 2, 1, 8], 6), ([2, 2, 2, 2, 2, 1, 7], 7),          # 4 times the mean of 2, 2, 2, 2, 1
    ([2, 9, 2], 3), ([2, np.nan, 2], 1), ([2, 2, np.inf], 2)])
def test_when_a_loss_counts_as_diverged(losses, kept):
    assert list(lr_find.until_divergence(losses)) == losses[:kept]


def test_an_error_of_the_training_is_a_divergence():
    def failing():
        yield 3.0
        raise ArithmeticError("the loss of step 2 is nan")
    assert list(lr_find.until_divergence(failing())) == [3.0]


def test_what_gives_no_suggestion():
    rates = lr_find.rising(1e-3, 1, 7)
    with pytest.raises(UserError, match=r"the loss did not fall between 0\.001 and 1: 2 at first, 1\.99 at its lowest; try more"):
        lr_find.suggest(rates, np.array([2, 2, 2, 1.99, 2, 3, 4]), diverged=False)
    with pytest.raises(UserError, match="the loss did not fall"):
        lr_find.suggest(rates, np.arange(1.0, 8), diverged=False)
    with pytest.raises(UserError, match=r"the loss diverged after 2 steps, at 0\.001; lower --lr-from"):
        lr_find.suggest(rates, np.array([2.0, 1]), diverged=True)
    answer = lr_find.suggest(rates, np.arange(8.0, 1, -1), diverged=False)
    assert answer.note == "the loss was still falling at 1: raise --lr-to" and answer.lowest == 1


def test_each_batch_is_trained_at_its_rate_over_several_passes_and_the_weights_come_back():
    paddle.seed(0)
    model = paddle.nn.Linear(2, 2)
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    rates, passes, during = [1e-3, 0.1, 10.0], [], []

    def batches(epoch):
        passes.append(epoch)
        for i in range(2):
            during.append(model.weight.numpy())
            yield Batch(np.eye(2, dtype="float32")[[i]], np.array([1]), np.array([i]), 1)

    optimizer = optimizers.build_optimizer("momentum", model, momentum=0.0)
    found = list(lr_find.losses(Updater(model, optimizer, rates.__getitem__), Objective(), batches, len(rates)))
    assert passes == [0, 1] and len(found) == 3
    weight, bias = during[0].astype("float64"), before["bias"].astype("float64")
    for i, rate in enumerate(rates):               # softmax cross entropy by hand: image i % 2 is a row of the unit matrix
        assert during[i] == pytest.approx(weight, abs=1e-5)
        share = np.exp(weight[i % 2] + bias) / np.exp(weight[i % 2] + bias).sum()
        assert found[i] == pytest.approx(-np.log(share[1]), rel=1e-4)
        weight[i % 2] -= rate * (share - [0, 1])
        bias -= rate * (share - [0, 1])
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in model.state_dict().items())


def test_the_program_writes_a_table_and_a_picture_and_suggests(call, tiny, tmp_path):
    folder = tmp_path / "found"
    more = ["--data-dir", tiny, "--output-dir", folder, "--steps", 40, "--lr-from", 1e-5, "--lr-to", 100]
    done = call(lr_find, *BASE, *more)
    assert done.status == 0, done.err
    answer = json.loads(done.out.splitlines()[-1])
    assert answer["suggested"] == pytest.approx(answer["lowest"] / 10) and 1e-3 < answer["lowest"] < 20
    assert f"suggestion, a tenth of the rate of the lowest loss: --lr {answer['suggested']:.2g}" in done.out
    rows = [line.split(",") for line in (folder / "lr_find.csv").read_text().splitlines()]
    assert rows[0] == ["lr", "loss", "smoothed"] and 20 < len(rows) <= 41 and float(rows[1][0]) == 1e-5
    assert {file.name for file in folder.iterdir()} == {"lr_find.csv", "lr_find.png"}
    again = call(lr_find, *BASE, *more)
    assert json.loads(again.out.splitlines()[-1]) == answer


@pytest.mark.parametrize("flags, message", [
    ("--resume", "--resume is of no use in lr_find; leave it out"), ("--eval-only", "--eval-only is of no use in lr_find"),
    ("--lr-from 1 --lr-to 0.1", r"--lr-to 0\.1 must be over --lr-from 1"), ("--steps 3", "--steps: 3 must be at least 20"),
    ("--output-dir run", r"run holds a run \(config\.yaml\); "), ("--freeze body", "--freeze is of use with --pretrained only"),
    ("--lr-form 1", "unknown flag '--lr-form'; did you mean '--lr-from'"),
    ("--pretrained none.pdparams", r"none\.pdparams: no such file"),
])
def test_mistakes_leave_everything_as_it_was(refused, flags, message):
    base = ["--depth", 8, "--batch-size", 8, "--data-dir", "data", "--device", "cpu", "--onednn", "off"]
    refused(lr_find, message, *base, *flags.split())
