"""What the tests of single networks share."""

import functools

import numpy as np
import paddle
from paddle import nn

from paddle_cls.models import build_model, count_parameters


@functools.cache
def parameters(name: str, classes: int = 1000, **arguments) -> int:
    """Return how many numbers a network of MODELS trains, without making them."""
    with paddle.LazyGuard():
        return count_parameters(build_model(name, classes, **arguments))


def with_statistics(model: nn.Layer) -> dict[str, paddle.Tensor]:
    """Put the model into eval mode with random BN statistics and scales, so that each of them counts; return its state."""
    rng = np.random.default_rng(1)
    for name, value in model.state_dict().items():
        if len(value.shape) == 1:
            value.set_value(rng.uniform(0.5, 1.5, value.shape).astype("float32") - ("bias" in name or "_mean" in name))
    model.eval()
    return model.state_dict()


def normed(x: paddle.Tensor, state: dict, name: str) -> paddle.Tensor:
    """Return what the BatchNorm2D `name` of the state makes of x in eval mode."""
    return paddle.nn.functional.batch_norm(x, *(state[f"{name}.{part}"] for part in ("_mean", "_variance", "weight", "bias")))
