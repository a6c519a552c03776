"""What the tests of single networks share."""

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
import paddle
from paddle import nn

from paddle_cls.models import MODELS, build_model, count_parameters, facts

FAMILIES = {(MODELS[name].partition(".")[0], facts(name).paper): name for name in reversed(MODELS)}        # the first of each


class Repeated(nn.initializer.Initializer):
    """The spread of He et al. as by default, from few random numbers: most of the time would go into drawing them."""

    numbers = np.random.default_rng(0).normal(size=65521).astype("float32")

    def forward(self, var, block=None):
        fan_in = var.shape[0] if var.ndim == 2 else np.prod(var.shape[1:])
        var.set_value(np.resize(self.numbers, var.shape) * np.sqrt(2 / fan_in, dtype="float32") if var.ndim > 1 else
                      np.ones(var.shape, "float32"))


@contextlib.contextmanager
def built_quickly() -> Iterator[None]:
    """Have networks built in a fraction of the time inside the block."""
    nn.initializer.set_global_initializer(Repeated(), nn.initializer.Constant(0.0))
    try:
        yield
    finally:
        nn.initializer.set_global_initializer(None)


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
