"""Schedules by their values; optimizers against the update rules written out in NumPy; weight averages."""

import numpy as np
import paddle
import pytest

from paddle_cls.errors import UserError
from paddle_cls.training.optimizers import EMA, build_optimizer, build_schedule, decayed, trainable


@pytest.mark.parametrize(("name", "values"), [
    ("constant", {0: 1.0, 50: 1.0, 100: 1.0}),
    ("step", {0: 1.0, 29: 1.0, 30: 0.5, 59: 0.5, 60: 0.25}),
    ("cosine", {0: 1.0, 25: (1 + 2**-0.5) / 2, 50: 0.5, 100: 0.0, 120: 0.0}),
    ("onecycle", {0: 1.0, 25: 0.75, 50: 0.5, 100: 0.0, 120: 0.0}),
])
def test_schedule_without_warm_up(name, values):
    lr = build_schedule(name, 1.0, total=100, every=30, gamma=0.5)
    assert {step: lr(step) for step in values} == pytest.approx(values)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "onecycle"])
def test_warm_up_rises_linearly_to_the_peak(name):
    lr = build_schedule(name, 2.0, total=100, warmup=9, every=1000)
    assert [lr(step) for step in (0, 4, 8, 9)] == pytest.approx([0.2, 1.0, 1.8, 2.0])


class Tiny(paddle.nn.Layer):
    """A weight (1, 1), a bias (1,) and a BN, so that decay has something to spare."""

    def __init__(self):
        super().__init__()
        self.fc = paddle.nn.Linear(1, 1)
        self.bn = paddle.nn.BatchNorm1D(1)
        for p in trainable(self):
            p.set_value(np.full(p.shape, 2.0, np.float32))

    def forward(self, x):
        return self.fc(x)


def steps(name: str, gradients: list[float], **kwargs) -> list[float]:
    """Return the weight of a Tiny model after each step of size 0.1 with the given gradient."""
    model = Tiny()
    optimizer = build_optimizer(name, model, **kwargs)
    out = []
    for gradient in gradients:
        optimizer.set_lr(0.1)
        (model.fc.weight * gradient).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        out.append(model.fc.weight.item())
    return out


def test_momentum_and_nesterov_follow_their_rules():
    velocity, weight, plain, nesterov, other = 0.0, 2.0, [], [], 2.0
    for gradient in (1.0, -0.5, 0.25):
        velocity = 0.8 * velocity + gradient
        weight -= 0.1 * velocity
        other -= 0.1 * (gradient + 0.8 * velocity)
        plain.append(weight)
        nesterov.append(other)
    assert steps("momentum", [1.0, -0.5, 0.25], momentum=0.8) == pytest.approx(plain, abs=1e-6)
    assert steps("nesterov", [1.0, -0.5, 0.25], momentum=0.8) == pytest.approx(nesterov, abs=1e-6)


def test_adam_follows_its_rule():
    first = second = 0.0
    weight, expected = 2.0, []
    for t, gradient in enumerate((1.0, -0.5, 0.25), 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weight -= 0.1 * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t))**0.5 + 1e-8)
        expected.append(weight)
    assert steps("adam", [1.0, -0.5, 0.25]) == pytest.approx(expected, abs=1e-5)


def test_weight_decay_is_l2_in_momentum_and_decoupled_in_adamw():
    assert steps("momentum", [0.0], weight_decay=0.5) == pytest.approx([2 - 0.1 * 0.5 * 2])
    assert steps("adamw", [0.0], weight_decay=0.5) == pytest.approx([2 * (1 - 0.1 * 0.5)])
    assert steps("adam", [0.0], weight_decay=0.5) == pytest.approx([2 - 0.1], abs=1e-5)   # the sign of the decay's gradient


@pytest.mark.parametrize("name", ["adam", "adamw", "momentum", "nesterov"])
@pytest.mark.parametrize("spare", [True, False])
def test_weight_decay_spares_bn_and_bias_only_when_asked(name, spare):
    model = Tiny()
    optimizer = build_optimizer(name, model, weight_decay=0.5, decay_norm_bias=not spare)
    optimizer.set_lr(0.1)
    sum((p * 0).sum() for p in trainable(model)).backward()
    optimizer.step()
    moved = {p.name: float(p.max()) != 2.0 for p in trainable(model)}
    assert list(moved.values()) == decayed(model, not spare)
    assert sum(moved.values()) == (1 if spare else 4)


def test_unknown_optimizer():
    with pytest.raises(UserError, match="unknown optimizer 'adan'; did you mean 'adam'"):
        build_optimizer("adan", Tiny())


def test_unknown_schedule():
    with pytest.raises(UserError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        build_schedule("cosin", 1.0, total=1)


def test_ema_averages_the_running_statistics_which_fit_the_weights():
    model = paddle.nn.BatchNorm1D(2)
    ema = EMA(model, 0.5)
    for step in range(20):                         # by then the decay is 0.5
        ema.update(step)
    model._mean.set_value(np.array([4.0, 8.0], np.float32))
    model._variance.set_value(np.array([3.0, 5.0], np.float32))
    ema.update(20)
    ema.swap()
    assert model._mean.tolist() == [2.0, 4.0] and model._variance.tolist() == [2.0, 3.0]
    ema.swap()
    assert model._mean.tolist() == [4.0, 8.0] and model._variance.tolist() == [3.0, 5.0]


def test_ema_averages_and_swaps_back():
    model = Tiny()
    ema = EMA(model, 0.5)
    expected = 2.0
    for step, value in enumerate((4.0, 8.0, 16.0)):
        model.fc.weight.set_value(np.full([1, 1], value, np.float32))
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    ema.swap()
    assert model.fc.weight.item() == pytest.approx(expected)
    ema.swap()
    assert model.fc.weight.item() == 16.0
