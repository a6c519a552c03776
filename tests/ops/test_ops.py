"""The compiled operators against Paddle's own layers."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_cls import ops
from paddle_cls.models import build_model

USABLE, REASON = ops.available()
needs_ops = pytest.mark.skipif(not USABLE, reason=f"oneDNN operators are not available: {REASON}")


def assert_close(ours, theirs, what: str = "", tolerance: float = 2e-5) -> None:
    """Compare by the largest number: single elements may be a cancelled sum of larger ones."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    assert np.abs(ours - theirs).max() <= tolerance * max(np.abs(theirs).max(), 1e-2), what


def step(model: nn.Layer, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the output, the gradients and the state after one forward and backward pass."""
    x = paddle.to_tensor(images, stop_gradient=False)
    y = model(x)
    weights = paddle.to_tensor(np.random.default_rng(1).normal(size=y.shape).astype("float32"))
    (y * weights).mean().backward()
    found = {"output": y.numpy(), "input gradient": x.grad.numpy()}
    found |= {f"gradient of {name}": p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return found | {f"state {name}": value.numpy() for name, value in model.state_dict().items()}


def compare(model: nn.Layer, shape: tuple[int, ...], tolerance: float = 2e-5) -> None:
    """Run one training step and one in eval mode with Paddle's own layers and with the operators, and compare."""
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    for buffer in model.buffers():
        if buffer.dtype == paddle.float32:
            buffer.set_value(paddle.uniform(buffer.shape, min=0.5, max=1.5))
    fast = copy.deepcopy(model)
    ops.accelerate(fast)
    for training in (True, False):
        model.train() if training else model.eval()
        fast.train() if training else fast.eval()
        theirs, ours = step(model, images), step(fast, images)
        assert ours.keys() == theirs.keys()
        for what, value in theirs.items():
            assert_close(ours[what], value, f"{what}, training={training}", tolerance)
        model.clear_gradients(), fast.clear_gradients()


# Positional arguments of nn.Conv2D: channels in and out, kernel, stride, padding, dilation, groups; then the image.
@needs_ops
@pytest.mark.parametrize("bias", [False, None])
@pytest.mark.parametrize("arguments, size", [
    ((3, 16, 3, 1, 1), (32, 32)), ((16, 32, 3, 2, 1), (33, 17)), ((16, 32, 1, 2), (16, 16)),
    ((3, 24, 7, 2, 3), (45, 46)), ((3, 96, 11, 4, 5), (64, 64)), ((6, 10, 5), (13, 9)),
    ((32, 64, 3, 1, 1, 1, 4), (8, 8)), ((12, 12, 3, 1, 1, 1, 12), (9, 9)), ((8, 8, 3, 1, 2, 2), (11, 11)),
    ((5, 7, (3, 1), (1, 2), [1, 0, 2, 1]), (6, 10)), ((512, 512, 3, 1, 1), (2, 2)), ((128, 160, 3, 2, 1), (5, 4)),
])
def test_convolution_is_paddles(arguments, size, bias):
    paddle.seed(0)
    compare(nn.Conv2D(*arguments, bias_attr=bias), (4, arguments[0], *size))


@needs_ops
@pytest.mark.parametrize("channels, size", [
    (16, (32, 32)), (64, (8, 8)), (512, (2, 2)), (24, (5, 7)), (3, (1, 2)), (112, (9, 9)),
])
def test_batch_norm_is_paddles(channels, size):
    compare(nn.BatchNorm2D(channels, momentum=0.8, epsilon=1e-3), (4, channels, *size))


@needs_ops
def test_batch_norm_of_a_large_mean():
    """A mean a thousand times the spread: the sum of squares alone would lose the variance."""
    fast, plain = nn.BatchNorm2D(16), nn.BatchNorm2D(16)
    ops.accelerate(fast)
    x = np.random.default_rng(0).normal(1000, 1, (8, 16, 9, 9)).astype("float32")
    exact = (x.astype("float64") - x.mean((0, 2, 3), "float64", keepdims=True)) / np.sqrt(
        x.var((0, 2, 3), "float64", keepdims=True) + 1e-5)
    assert np.abs(fast(paddle.to_tensor(x)).numpy() - exact).max() < 1e-3
    plain(paddle.to_tensor(x))
    assert_close(fast._mean.numpy(), plain._mean.numpy(), tolerance=1e-5)


@needs_ops
@pytest.mark.parametrize("arguments, size", [
    ((2, 2), (8, 8)), ((2,), (7, 5)), ((3, 2, 1), (9, 12)), ((3, 2), (13, 13)), (((2, 3), (1, 2), 1), (6, 7)),
])
def test_max_pool_is_paddles(arguments, size):
    compare(nn.MaxPool2D(*arguments), (3, 20, *size))


@needs_ops
def test_max_pool_gives_the_first_of_equals_the_gradient():
    compare(nn.Sequential(nn.ReLU(), nn.MaxPool2D(2, 2)), (2, 17, 6, 6))


@needs_ops
def test_dropout():
    drop = nn.Dropout(0.3)
    ops.accelerate(drop)
    x = paddle.ones([8, 5, 40, 40])
    x.stop_gradient = False
    paddle.seed(3)
    y = drop(x)
    y.sum().backward()
    kept = y.numpy() != 0
    assert abs(kept.mean() - 0.7) < 0.01 and np.allclose(y.numpy()[kept], 1 / 0.7)
    assert (np.abs(kept.mean((2, 3)) - 0.7) < 0.06).all() and (np.abs(kept.mean((0, 1)) - 0.7) < 0.4).all()
    assert np.array_equal(x.grad.numpy(), y.numpy())
    assert not np.array_equal(drop(x), y)
    paddle.seed(3)
    assert np.array_equal(drop(x), y)
    drop.eval()
    assert np.array_equal(drop(x), x)


@needs_ops
@pytest.mark.parametrize("parts", [
    lambda: [nn.Conv2D(3, 16, 3), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2)],
    lambda: [nn.Conv2D(3, 6, 5), nn.ReLU(), nn.MaxPool2D(2), nn.Conv2D(6, 16, 2), nn.ReLU()],
    lambda: [nn.Conv2D(3, 4, 3), nn.Sigmoid(), nn.AvgPool2D(2), nn.Flatten(), nn.Linear(36, 5), nn.ReLU()],
    lambda: [nn.BatchNorm2D(3), nn.Sequential(nn.Conv2D(3, 8, 1, bias_attr=False), nn.BatchNorm2D(8)), nn.GELU()],
    lambda: [nn.Conv2D(3, 8, 3, padding="SAME"), nn.ReLU(), nn.Conv2D(8, 8, 3, padding=1, padding_mode="reflect")],
    lambda: [nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Conv2D(3, 8, 1), nn.Flatten()],
])
def test_sequential_is_paddles(parts):
    paddle.seed(0)
    compare(nn.Sequential(*parts()), (4, 3, 8, 8))


@needs_ops
@pytest.mark.parametrize("name, arguments", [("resnet", {"depth": 8}), ("resnet", {"depth": 20}), ("vgg", {})])
def test_whole_model_is_paddles(name, arguments):
    paddle.seed(1)  # a seed where rounding moves no number across a ReLU's zero: the gradients would jump
    model = build_model(name, 10, **arguments)
    for layer in model.sublayers():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    compare(model, (4, 3, 32, 32), tolerance=1e-3)


@needs_ops
def test_two_runs_are_bit_identical():
    paddle.seed(0)
    model = build_model("resnet", 10, depth=8)
    ops.accelerate(model)
    images = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype("float32")
    first = step(model, images)
    model.clear_gradients()
    second = step(model, images)
    assert all(np.array_equal(first[what], second[what]) for what in first if not what.startswith("state"))


@needs_ops
def test_frozen_layers_and_norms_in_eval_mode():
    """Transfer learning: the first convolution fixed, every batch norm on its running statistics."""
    paddle.seed(0)
    model = build_model("resnet", 10, depth=8)
    model.conv1.conv.weight.stop_gradient = True
    fast = copy.deepcopy(model)
    ops.accelerate(fast)
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype("float32")
    for each in (model, fast):
        each.train()
        for layer in each.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer.eval()
    theirs, ours = step(model, images), step(fast, images)
    assert ours.keys() == theirs.keys() and "gradient of conv1.conv.weight" not in ours
    for what, value in theirs.items():
        assert_close(ours[what], value, what)


@needs_ops
def test_accelerate_keeps_what_others_see(tmp_path):
    model = build_model("resnet", 10, depth=8)
    names, parameters = list(model.state_dict()), model.parameters()
    said = ops.accelerate(model)
    assert said == ops.accelerate(model) == "oneDNN operators for 9 convolutions, 9 batch norms"
    assert isinstance(model.conv1.conv, nn.Conv2D) and isinstance(model.conv1, nn.Sequential)
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    paddle.save(model.state_dict(), str(tmp_path / "m.pdparams"))
    other = build_model("resnet", 10, depth=8)
    other.set_state_dict(paddle.load(str(tmp_path / "m.pdparams")))
    x = paddle.randn([2, 3, 32, 32])
    clone = copy.deepcopy(model)
    clone.fc.weight.set_value(clone.fc.weight * 0)
    for each in (model, other, clone):
        each.eval()
    assert_close(model(x), other(x))
    assert not np.allclose(clone(x), model(x))
    ops.restore(model)
    assert [type(a) for a in model.sublayers()] == [type(b) for b in other.sublayers()]
    assert np.array_equal(model(x), other(x))


@needs_ops
def test_restored_model_is_exported(tmp_path):
    model = build_model("resnet", 10, depth=8)
    ops.accelerate(model)
    model.eval()
    x = paddle.randn([2, 3, 32, 32])
    before = model(x).numpy()
    ops.restore(model)
    spec = [paddle.static.InputSpec([None, 3, 32, 32], "float32")]
    paddle.jit.save(paddle.jit.to_static(model, input_spec=spec), str(tmp_path / "m"))
    assert_close(paddle.jit.load(str(tmp_path / "m"))(x), before)


@needs_ops
def test_hooks_are_served():
    model = nn.Sequential(nn.Conv2D(3, 16, 3), nn.BatchNorm2D(16), nn.ReLU())
    seen = []
    for layer in model:
        layer.register_forward_post_hook(lambda layer, given, result: seen.append((type(layer).__name__, result.shape)))
    ops.accelerate(model)
    model(paddle.randn([2, 3, 8, 8]))
    assert seen == [(name, [2, 16, 6, 6]) for name in ("Conv2D", "BatchNorm2D", "ReLU")]


@needs_ops
def test_other_types_fall_back():
    conv = nn.Conv2D(3, 4, 3)
    ops.accelerate(conv)
    conv.to(dtype="float64")
    assert conv(paddle.randn([1, 3, 5, 5]).astype("float64")).dtype == paddle.float64
