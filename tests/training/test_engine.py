"""The training step against the same mathematics done by hand, and the passes over a split."""

import contextlib
import signal

import numpy as np
import paddle
import pytest

from paddle_cls.data.reader import Split, batches
from paddle_cls.evaluation import metrics
from paddle_cls.parallel.world import Request, World
from paddle_cls.training.loop import NotFinite, Totals, predict, train_one_epoch
from paddle_cls.training.objective import Objective
from paddle_cls.training.optimizers import EMA, build_optimizer, trainable
from paddle_cls.training.updater import Updater


def split(count: int = 10, classes: int = 3) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8), rng.integers(0, classes, count))


def scaled(images, rng):
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255


def linear(outputs: int = 3) -> paddle.nn.Layer:
    paddle.seed(0)
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(48, outputs))


def updater(model, *, lr=0.1, name="momentum", **kwargs) -> Updater:
    return Updater(model, build_optimizer(name, model), lambda step: lr, **kwargs)


def train(model, *, batch_size=4, epochs=1, objective=None, **kwargs) -> Totals:
    makes, step = updater(model, **kwargs), 0
    for epoch in range(epochs):
        totals = Totals()
        reader = batches(split(), batch_size, scaled, seed=1, epoch=epoch)
        step = list(train_one_epoch(reader(), objective or Objective(), makes, totals, step=step))[-1].step
    return totals


def weights(model) -> np.ndarray:
    return np.concatenate([p.numpy().ravel() for p in trainable(model)])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_equal_the_formula(smoothing):
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 3])
    targets = np.eye(4)[labels] * (1 - smoothing) + smoothing / 4
    expected = -(targets * np.log(metrics.probabilities(logits))).sum(1)
    got = Objective(smoothing).losses(paddle.to_tensor(logits), paddle.to_tensor(labels))
    assert got.numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_logit_means_binary_cross_entropy(smoothing):
    z = np.array([[-2.0], [0.5], [3.0]], np.float32)
    labels = np.array([0, 1, 0])
    targets = labels * (1 - smoothing) + smoothing / 2
    p = 1 / (1 + np.exp(-z[:, 0]))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    got = Objective(smoothing).losses(paddle.to_tensor(z), paddle.to_tensor(labels))
    assert got.numpy() == pytest.approx(expected, rel=1e-5)


def test_totals_are_those_of_the_samples_though_the_last_batch_is_short():
    model = linear()
    totals = train(model, lr=0.0)                  # batches of 4, 4 and 2
    logits, labels = predict(model, batches(split(), 3, scaled)())
    expected = metrics.classification(logits, labels).flat()
    assert totals.count == 10
    assert totals.means() == pytest.approx({name: expected[name] for name in ("loss", "acc1", "error_rate")}, rel=1e-5)


def test_accumulation_changes_nothing():
    whole, parts = linear(), linear()
    train(whole, epochs=2)
    train(parts, epochs=2, accumulate=3)           # parts of 2, 1, 1 and, of the last batch, 1, 1
    assert weights(parts) == pytest.approx(weights(whole), abs=1e-6)


def test_training_learns():
    assert train(linear(), epochs=30, lr=0.05).means()["loss"] < 0.5 * train(linear(), lr=0.05).means()["loss"]


def test_clip_norm_bounds_the_global_norm():
    free, clipped = linear(), linear()
    start = weights(free)
    train(free, batch_size=10, name="momentum", lr=1.0)
    train(clipped, batch_size=10, name="momentum", lr=1.0, clip_norm=0.01)
    move = weights(free) - start
    assert np.linalg.norm(move) > 0.1
    assert weights(clipped) - start == pytest.approx(move * 0.01 / np.linalg.norm(move), abs=1e-6)


def test_ema_follows_every_step():
    model = linear()
    ema = EMA(model, 0.9)
    expected, step = weights(model), 0
    for step, _ in train_one_epoch(batches(split(), 4, scaled)(), Objective(), updater(model, ema=ema), Totals()):
        decay = min(0.9, step / (9 + step))        # the count starts at 0 before the first step
        expected = decay * expected + (1 - decay) * weights(model)
    assert step == 3
    ema.swap()
    assert weights(model) == pytest.approx(expected, rel=1e-5)


def test_dropout_depends_on_seed_and_step_alone():
    def run(seed, step):
        model = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Dropout(0.5), linear()[1])
        totals = Totals()
        list(train_one_epoch(batches(split(), 10, scaled)(), Objective(), updater(model, seed=seed), totals, step=step))
        return totals.loss
    assert run(0, 5) == run(0, 5)
    assert len({run(0, 5), run(0, 6), run(1, 5)}) == 3


@pytest.mark.parametrize("fetch_every", [1, 2, 5])
def test_a_loss_that_is_not_finite_names_its_step(fetch_every):
    model = linear()
    model[1].weight.register_hook(lambda grad: grad * float("nan"))    # the second step's weights are no numbers
    with pytest.raises(NotFinite, match="the loss of step 42 is nan"):
        list(train_one_epoch(batches(split(), 4, scaled)(), Objective(), updater(model), Totals(), step=40,
                             fetch_every=fetch_every))


@pytest.mark.parametrize("fetch_every", [1, 2, 20])
def test_the_loss_is_fetched_only_when_asked(monkeypatch, fetch_every):
    """Each fetch waits for a GPU; on a CPU it shows as a tensor that becomes a number or an array."""
    fetches = []

    def counted(original):
        return lambda self, *args, **kwargs: fetches.append(1) or original(self, *args, **kwargs)

    for name in ("numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__array__"):
        monkeypatch.setattr(paddle.Tensor, name, counted(getattr(paddle.Tensor, name)))
    model = linear()
    makes = updater(model, clip_norm=1.0, ema=EMA(model, 0.9))
    steps = [reached.step for reached in train_one_epoch(batches(split(), 1, scaled)(), Objective(0.1), makes, Totals(),
                                                         fetch_every=fetch_every)]
    assert steps == [*range(fetch_every, 10, fetch_every), 10]
    assert 2 * len(steps) <= len(fetches) <= 4 * len(steps)            # losses; correct, as a number by way of an array


def test_what_a_process_asks_for_comes_back_with_the_totals():
    asked = iter([Request(), Request(save=True), Request(signal=15)])
    reached = list(train_one_epoch(batches(split(), 4, scaled)(), Objective(), updater(linear()), Totals(),
                                   asks=lambda: next(asked)))
    assert reached == [(1, (False, 0)), (2, (True, 0)), (3, (False, 15))]


def test_several_processes_agree_on_what_any_of_them_asks_for(monkeypatch):
    """Of two signals the first of stopping.NUMBERS; the sums are exchanged with it, at once."""
    one, two = World(), World()
    one.size = two.size = 2
    sent = []
    monkeypatch.setattr(two, "sum", lambda values: sent.append(values) or values)
    two.sum_and_agree(np.array([5.0]), Request(save=True, signal=signal.SIGTERM))
    monkeypatch.setattr(one, "sum", lambda values: values + sent[0])
    sums, agreed = one.sum_and_agree(np.array([2.0]), Request(signal=signal.SIGINT))
    assert sums.tolist() == [7.0] and agreed == Request(save=True, signal=signal.SIGINT) and len(sent) == 1
    monkeypatch.setattr(one, "sum", lambda values: values)
    assert one.sum_and_agree(np.array([2.0]), Request())[1] == Request()


def test_mixed_precision_casts_the_forward_pass_and_scales_the_loss():
    calls = []

    class Scaler:
        def scale(self, loss):
            calls.append("scale")
            return loss * 1024

        def unscale_(self, optimizer):
            calls.append("unscale")
            with paddle.no_grad():
                for p in trainable(self.model):
                    p.grad.scale_(1 / 1024)

        def step(self, optimizer):
            calls.append("step")
            optimizer.step()

        def update(self):
            calls.append("update")

    @contextlib.contextmanager
    def cast():
        calls.append("cast")
        yield

    plain, mixed, scaler = linear(), linear(), Scaler()
    scaler.model = mixed
    train(plain, batch_size=10, clip_norm=0.01)
    train(mixed, batch_size=10, clip_norm=0.01, scaler=scaler, cast=cast)
    assert calls == ["cast", "scale", "unscale", "step", "update"]      # clipped between unscale and step
    assert weights(mixed) == pytest.approx(weights(plain), abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 99])
def test_prediction_keeps_the_order_whatever_the_batch_size(batch_size):
    model = linear()
    logits, labels = predict(model, batches(split(), batch_size, scaled)())
    images = paddle.to_tensor(scaled(split().images, None))
    assert logits == pytest.approx(model(images).numpy(), abs=1e-5)
    assert labels.tolist() == split().labels.tolist()


def test_prediction_is_in_evaluation_mode_and_leaves_the_mode_alone():
    model = paddle.nn.Sequential(linear(), paddle.nn.Dropout(0.9))
    model.train()
    first, _ = predict(model, batches(split(), 5, scaled)())
    second, _ = predict(model, batches(split(), 5, scaled)())
    assert (first == second).all()
    assert model.training


def test_prediction_of_nothing():
    with pytest.raises(ValueError, match="no samples"):
        predict(linear(), [])


def test_a_process_without_images_joins_in_without_touching_the_statistics():
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 2, 1), paddle.nn.BatchNorm2D(2))
    empty = next(batches(split(3), 3, scaled, rank=3, world=4)())
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    loss, correct, count = updater(model).backward(empty, Objective())
    assert (loss.item(), correct.item(), count) == (0, 0, 0)
    assert all(not p.grad.numpy().any() for p in trainable(model))
    assert all((before[k] == v.numpy()).all() for k, v in model.state_dict().items())
