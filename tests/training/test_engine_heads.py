"""Networks that give the logits of auxiliary heads in training, beside those that count."""

import numpy as np
import paddle
import pytest
from test_engine import linear, scaled, split, train, updater

from paddle_cls.data.reader import batches
from paddle_cls.training.loop import predict
from paddle_cls.training.objective import Objective
from paddle_cls.training.optimizers import trainable


class TwoHeads(paddle.nn.Layer):
    """Two linear layers, the second of which is auxiliary, and batch norm."""

    def __init__(self):
        super().__init__()
        self.norm, self.main, self.second = paddle.nn.BatchNorm1D(48), linear()[1], paddle.nn.Linear(48, 3)

    def forward(self, images):
        x = self.norm(paddle.flatten(images, 1))
        return (self.main(x), [(0.3, self.second(x))]) if self.training else self.main(x)


def test_auxiliary_heads_are_trained_with_their_weight_and_not_counted():
    model, twin = TwoHeads(), TwoHeads()
    twin.set_state_dict(model.state_dict())
    totals = train(model, batch_size=10, name="momentum")
    batch = next(batches(split(), 10, scaled, seed=1, epoch=0)())
    x = twin.norm(paddle.flatten(paddle.to_tensor(batch.images), 1))
    labels = paddle.to_tensor(batch.labels)
    main, second = (Objective().losses(head(x), labels).mean() for head in (twin.main, twin.second))
    (main + 0.3 * second).backward()
    for moved, weight in zip(trainable(model), trainable(twin), strict=True):
        assert moved.numpy() == pytest.approx(weight.numpy() - 0.1 * weight.grad.numpy(), abs=1e-5), weight.name
    assert np.abs(twin.second.weight.grad.numpy()).max() > 1e-3
    assert totals.means()["loss"] == pytest.approx(main.item(), rel=1e-5)
    logits, _ = predict(model, batches(split(), 5, scaled)())
    assert logits.shape == (10, 3)


def test_a_process_without_images_joins_in_with_its_auxiliary_heads():
    model = TwoHeads()
    empty = next(batches(split(3), 3, scaled, rank=3, world=4)())
    before = model.norm._mean.numpy().copy()
    updater(model).backward(empty, Objective())
    assert all(p.grad is not None and not p.grad.numpy().any() for p in trainable(model))
    assert (before == model.norm._mean.numpy()).all() and model.norm.training and model.training
