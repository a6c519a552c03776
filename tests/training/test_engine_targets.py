"""The loss where samples weigh differently or are mixed: by hand, and the same in any number of processes and parts."""

import contextlib

import numpy as np
import paddle
import pytest
from test_engine import linear, scaled, split, train, updater

from paddle_cls.data.reader import Batch, batches
from paddle_cls.data.sampling import class_weights
from paddle_cls.evaluation import metrics
from paddle_cls.parallel.world import World
from paddle_cls.training.loop import predict
from paddle_cls.training.objective import Objective
from paddle_cls.training.optimizers import trainable


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_multiply_the_losses(outputs, smoothing):
    logits = paddle.to_tensor(np.random.default_rng(0).normal(size=(4, outputs)).astype(np.float32))
    labels = paddle.to_tensor(np.array([0, 1, 1, 0] if outputs == 1 else [0, 1, 2, 1]))
    weights = np.array([0.5, 2.0, 3.0], np.float32)
    plain = Objective(smoothing).losses(logits, labels).numpy()
    weighted = Objective(smoothing, weights).losses(logits, labels).numpy()
    assert weighted == pytest.approx(plain * weights[labels.numpy()], rel=1e-6)


def gradient(model, batch: Batch, world_size: int = 1, accumulate: int = 1, **loss) -> tuple[np.ndarray, float, float]:
    """Return (the gradient, sum of losses, correct) of `Updater.backward`."""
    world = World()
    world.size = world_size
    total, correct, _ = updater(model, accumulate=accumulate, world=world).backward(batch, Objective(**loss))
    found = np.concatenate([p.grad.numpy().ravel() for p in trainable(model)])
    model.clear_gradients()
    return found, float(total), float(correct)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_gradient_of_a_mixed_batch_is_the_mix_of_the_gradients(outputs, accumulate):
    model = linear(outputs)
    images = scaled(split(8).images, None)
    own, others = np.random.default_rng(3).integers(0, max(outputs, 2), (2, 8))
    weights = np.array([0.5, 2.0, 1.0], np.float32)
    loss = {"label_smoothing": 0.1, "class_weights": weights}
    parts = [gradient(model, Batch(images, labels, np.arange(8), 8), **loss) for labels in (own, others)]
    found = gradient(model, Batch(images, own, np.arange(8), 8, others, 0.7), accumulate=accumulate, **loss)
    for i in range(3):                             # the gradient, the loss, and the number of right answers
        assert found[i] == pytest.approx(0.7 * parts[0][i] + 0.3 * parts[1][i], abs=1e-6)


def test_a_mixed_image_is_right_by_the_share_of_the_guess_in_its_target():
    logits = paddle.to_tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    batch = Batch(np.zeros((3, 1), np.float32), np.array([0, 1, 1]), np.arange(3), 3, np.array([1, 0, 1]), 0.8)
    layer = paddle.nn.Linear(1, 1)
    model = paddle.nn.Sequential(layer)
    model.forward = lambda images: logits + layer(images) * 0
    assert gradient(model, batch)[2] == pytest.approx(0.8 + 0.2 + 0)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_weights_give_several_processes_and_parts_the_gradient_of_one(processes, accumulate):
    """The processes' gradients are averaged, their sums add up; some parts have only images of much or of little weight."""
    model, weights = linear(), np.array([3.0, 0.5, 0.1], np.float32)
    model.no_sync = contextlib.nullcontext         # what a DataParallel has
    images, labels = scaled(split().images, None), np.array([0, 0, 1, 2, 2, 2, 1, 1, 0, 2])
    whole = Batch(images, labels, np.arange(10), 10)
    alone = gradient(model, whole, class_weights=weights)
    parts = [gradient(model, whole._replace(images=images[rank::processes], labels=labels[rank::processes]), processes,
                      class_weights=weights, accumulate=accumulate) for rank in range(processes)]
    assert np.mean([part[0] for part in parts], 0) == pytest.approx(alone[0], abs=1e-6)
    assert sum(part[1] for part in parts) == pytest.approx(alone[1], rel=1e-5)


def test_weighted_losses_by_hand():
    """Two images of three classes: the mean over the images of weight x cross entropy, and its gradient."""
    model = paddle.nn.Sequential(paddle.nn.Linear(2, 3))
    model[0].weight.set_value(np.array([[1, 0, -1], [0, 2, 1]], np.float32))
    model[0].bias.set_value(np.zeros(3, np.float32))
    batch = Batch(np.array([[1, 1], [2, 0]], np.float32), np.array([0, 2]), np.arange(2), 2)
    probabilities = metrics.probabilities(np.array([[1, 2, 0], [2, 0, -2]]))
    found, total, _ = gradient(model, batch, class_weights=np.array([0.25, 1.0, 3.0], np.float32))
    assert total == pytest.approx(-0.25 * np.log(probabilities[0, 0]) - 3 * np.log(probabilities[1, 2]), rel=1e-5)
    error = (probabilities - np.eye(3)[[0, 2]]) * [[0.25], [3]]
    assert found[:6] == pytest.approx((batch.images.T @ error / 2).ravel(), abs=1e-6)


def test_the_loss_of_an_epoch_is_the_weighted_mean():
    weights = class_weights("a=5", ("a", "b", "c"), split().labels)
    totals = train(linear(), lr=0.0, batch_size=3, objective=Objective(class_weights=weights))
    logits, labels = predict(linear(), batches(split(), 3, scaled)())
    assert totals.means()["loss"] == pytest.approx(np.average(metrics.losses(logits, labels), weights=weights[labels]), rel=1e-5)
