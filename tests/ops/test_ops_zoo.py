"""The compiled operators inside whole networks of Paddle's: one training step, against the same step in float64."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn
from test_ops import needs_ops

from paddle_cls import ops
from paddle_cls.models import build_model, facts


def step(model: nn.Layer, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the logits, all gradients in a row, and the batch norms' statistics, of one step forward and backward."""
    x = paddle.to_tensor(images, stop_gradient=False)
    outputs = model(x)
    logits = [outputs[0], *(extra for _, extra in outputs[1])] if isinstance(outputs, tuple) else [outputs]
    rng = np.random.default_rng(1)
    sum((one * paddle.to_tensor(rng.normal(size=one.shape).astype(images.dtype))).mean() for one in logits).backward()
    gradients = [x.grad, *(p.grad for p in model.parameters() if not p.stop_gradient)]
    statistics = [value for name, value in model.state_dict().items() if name.endswith(("_mean", "_variance"))]
    return {what: np.concatenate([value.numpy().ravel().astype("float64") for value in values])
            for what, values in (("logits", logits), ("gradients", gradients), ("statistics", statistics)) if values}


# A ReLU or a maximum that rounding tips over moves a whole gradient, in Paddle's float32 too: hence the wide margin there.
MARGIN = {"logits": 1e-4, "gradients": 5e-2, "statistics": 1e-5}


@needs_ops
@pytest.mark.parametrize("name", ["densenet121", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "resnet18",
                                  "resnext50_32x4d", "shufflenet_v2_x0_25", "squeezenet1_0"])
def test_a_training_step_is_as_exact_as_paddles(name):
    paddle.seed(0)
    side = max(64, facts(name).smallest)
    images = np.random.default_rng(0).normal(size=(4, 3, side, side)).astype("float32")
    model = build_model(name, 10)
    for layer in model.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    fast, exact = copy.deepcopy(model), copy.deepcopy(model)
    assert ops.accelerate(fast).startswith(f"oneDNN operators for {sum(isinstance(x, nn.Conv2D) for x in model.sublayers())} ")
    ours, theirs, true = step(fast, images), step(model, images), step(exact.to(dtype="float64"), images.astype("float64"))
    for what, value in true.items():
        error, allowed = (np.linalg.norm(found[what] - value) / np.linalg.norm(value) for found in (ours, theirs))
        assert error < 3 * allowed + MARGIN[what], (what, error, allowed)
    ops.restore(fast)
    assert [type(a) for a in fast.sublayers()] == [type(b) for b in model.sublayers()]
