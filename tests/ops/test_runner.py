"""Our own runner: each step that a plan can have gives what dygraph gives, and what has no step is told."""

import copy
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddle_cls import ops
from paddle_cls.inference import export, plan, trace
from paddle_cls.ops.build import Unavailable
from paddle_cls.ops.runner import KEPT, Runner
from paddle_cls.system import runtime

needs_operators = pytest.mark.skipif(not ops.available()[0], reason="no compiled operators here")
SIZE = 12


@pytest.fixture(autouse=True)
def nobody_is_told_of_missing_operators():
    """In this file somebody is."""


class Network(nn.Layer):
    """A function of layers, as a network of its own."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_sublayer(name, layer)

    def forward(self, images):
        return self.function(self, images)


def plan_of(network: nn.Layer, size: int = SIZE) -> plan.Plan:
    """Return the plan of a network; it stays as it is."""
    network = copy.deepcopy(network)
    network.eval()
    spec = paddle.static.InputSpec([None, 3, size, size], "float32")
    network = paddle.jit.to_static(network, input_spec=[spec], full_graph=True)
    weights = {value.name: value.numpy() for value in (*network.parameters(), *network.buffers())}
    return plan.make(trace.trace(network), weights, size)


def kinds(steps: plan.Plan) -> list[int]:
    """Return the kind of each step."""
    found, code = [], list(map(int, steps.code))
    while code:
        found.append(code.pop(0))
        for skipped in (0, 0, 3, 0):
            del code[:skipped or code[0] + 1]
        del code[:code[0] + 1]
    return found


def end(network, x):
    """Return 4 numbers of each image that depend on all of x."""
    return network.end(paddle.flatten(F.adaptive_avg_pool2d(x, 2), 1))


def spread(norm: nn.Layer) -> nn.Layer:
    """Return a batch norm with statistics and weights that are not those of the start."""
    for value, low, high in ((norm._mean, -1, 1), (norm._variance, 0.5, 2), (norm.weight, 0.5, 1.5), (norm.bias, -1, 1)):
        value.set_value(paddle.uniform(value.shape, min=low, max=high))
    return norm


def of(function, channels: int = 8, **layers) -> Network:
    """Return a network of `function` behind a convolution to 8 channels and before a linear layer."""
    paddle.seed(0)
    made = {name: layer() for name, layer in layers.items()}
    first = made.pop("first", None) or nn.Conv2D(3, 8, 3, padding=1)
    return Network(lambda self, x: end(self, function(self, self.first(x))), first=first,
                   end=nn.Linear(4 * channels, 4), **made)


CONV, LINEAR, POOL, ACTIVATION, BINARY, NORM, CONCAT = range(7)
CASES = {
    "nothing": (of(lambda self, x: x), [CONV, POOL, LINEAR]),
    "depthwise": (of(lambda self, x: self.conv(x), conv=lambda: nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=8)),
                  [CONV, CONV, POOL, LINEAR]),
    "groups and margins": (of(lambda self, x: self.conv(x), 16,
                              conv=lambda: nn.Conv2D(8, 16, (3, 5), padding=[2, 0, 3, 1], groups=2)),
                           [CONV, CONV, POOL, LINEAR]),
    "holes, no bias": (of(lambda self, x: self.conv(x),
                          conv=lambda: nn.Conv2D(8, 8, 3, dilation=(2, 1), padding=(2, 1), bias_attr=False)),
                       [CONV, CONV, POOL, LINEAR]),
    "odd channels": (of(lambda self, x: self.conv(x), 5, conv=lambda: nn.Conv2D(8, 5, 1)), [CONV, CONV, POOL, LINEAR]),
    "batch norm folded": (of(lambda self, x: F.relu(self.norm(x)), norm=lambda: spread(nn.BatchNorm2D(8))),
                          [CONV, POOL, LINEAR]),
    "batch norm without a bias before it": (of(lambda self, x: self.norm(x),
                                               first=lambda: nn.Conv2D(3, 8, 3, padding=1, bias_attr=False),
                                               norm=lambda: spread(nn.BatchNorm2D(8))), [CONV, POOL, LINEAR]),
    "batch norm alone": (of(lambda self, x: self.norm(F.relu(x)), norm=lambda: spread(nn.BatchNorm2D(8))),
                         [CONV, NORM, POOL, LINEAR]),
    "batch norm and ReLU": (of(lambda self, x: F.relu(self.norm(x)) + x, norm=lambda: spread(nn.BatchNorm2D(8))),
                            [CONV, NORM, BINARY, POOL, LINEAR]),
    "batch norm and sigmoid": (of(lambda self, x: F.sigmoid(self.norm(x)) + x, norm=lambda: spread(nn.BatchNorm2D(8))),
                               [CONV, NORM, ACTIVATION, BINARY, POOL, LINEAR]),
    "addition": (of(lambda self, x: F.relu(self.conv(F.relu(x)) + self.way(F.relu(x))),
                    conv=lambda: nn.Conv2D(8, 8, 3, padding=1), way=lambda: nn.Conv2D(8, 8, 1)),
                 [CONV, ACTIVATION, CONV, ACTIVATION, CONV, POOL, LINEAR]),
    "around one": (of(lambda self, x: F.relu(self.conv(x) + x), conv=lambda: nn.Conv2D(8, 8, 3, padding=1)),
                   [CONV, CONV, POOL, LINEAR]),
    "around two": (of(lambda self, x: x + self.b(F.relu(self.a(x))), a=lambda: nn.Conv2D(8, 8, 3, padding=1),
                      b=lambda: nn.Conv2D(8, 8, 3, padding=1)), [CONV, CONV, CONV, POOL, LINEAR]),
    "added and needed again": (of(lambda self, x: self.b(F.relu(self.a(F.relu(x)) + x)) * x,
                                  a=lambda: nn.Conv2D(8, 8, 3, padding=1),
                                  b=lambda: nn.Conv2D(8, 8, 1)), [CONV, ACTIVATION, CONV, CONV, BINARY, POOL, LINEAR]),
    "the convolution needed twice": (of(lambda self, x: F.relu(self.a(x)) + self.a(x) * F.relu(x), a=lambda: nn.Conv2D(8, 8, 1)),
                                     [CONV, CONV, CONV, ACTIVATION, BINARY, BINARY, POOL, LINEAR]),
    "the images added": (of(lambda self, x: self.conv(x) + x, 3, first=nn.Identity,
                            conv=lambda: nn.Conv2D(3, 3, 3, padding=1)),
                         [CONV, POOL, LINEAR]),
    "squeeze": (of(lambda self, x: F.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1))) * x, gate=lambda: nn.Conv2D(8, 8, 1)),
                [CONV, POOL, CONV, BINARY, POOL, LINEAR]),
    "concatenation": (of(lambda self, x: paddle.concat([x, F.relu(self.conv(x)), x], axis=1), 19,
                         conv=lambda: nn.Conv2D(8, 3, 1)), [CONV, CONV, CONCAT, POOL, LINEAR]),
    "max pooling": (of(lambda self, x: F.max_pool2d(x, 3, 2, padding=1)), [CONV, POOL, POOL, LINEAR]),
    "max pooling, rounded up": (of(lambda self, x: F.max_pool2d(x, 3, 2, ceil_mode=True)), [CONV, POOL, POOL, LINEAR]),
    "average with padding": (of(lambda self, x: F.avg_pool2d(x, 3, 1, padding=1, exclusive=False)), [CONV, POOL, POOL, LINEAR]),
    "average without padding": (of(lambda self, x: F.avg_pool2d(x, 3, 1, padding=1)), [CONV, POOL, POOL, LINEAR]),
    "linear layers": (Network(lambda self, x: self.c(F.relu(self.norm(self.b(F.relu(self.a(paddle.flatten(x, 1))))))),
                              a=nn.Linear(3 * SIZE * SIZE, 20), b=nn.Linear(20, 7, bias_attr=False),
                              norm=spread(nn.BatchNorm1D(7)), c=nn.Linear(7, 4)), [LINEAR, LINEAR, LINEAR]),
    "flat output": (Network(lambda self, x: paddle.flatten(self.conv(x), 1), conv=nn.Conv2D(3, 4, 3, stride=2)), [CONV]),
    "dropout": (of(lambda self, x: F.dropout(x, 0.5, training=self.training)), [CONV, POOL, LINEAR]),
    "dropout that scales down": (of(lambda self, x: F.dropout(x, 0.25, training=self.training, mode="downscale_in_infer")),
                                 [CONV, POOL, LINEAR]),
    "a flattened value needed twice": (of(lambda self, x: x + F.relu(F.dropout(x, 0.5, training=self.training))),
                                       [CONV, ACTIVATION, BINARY, POOL, LINEAR]),
    **{name: (of(lambda self, x, name=name: getattr(F, name)(x)), [CONV, POOL, LINEAR])
       for name in ("relu", "relu6", "sigmoid", "silu", "swish", "hardswish", "hardsigmoid")},
}


@needs_operators
@pytest.mark.parametrize("name", CASES)
def test_a_plan_gives_what_dygraph_gives(name):
    network, expected_kinds = CASES[name]
    network.eval()
    steps = plan_of(network)
    assert kinds(steps) == expected_kinds
    runner = Runner(steps.code, steps.weights, steps.classes, 2)
    images = 3 * np.random.default_rng(0).standard_normal((5, 3, SIZE, SIZE), np.float32)
    with runtime.evaluating(network):
        expected = network(paddle.to_tensor(images)).numpy()
    assert np.ptp(expected, axis=0).min() > 1e-2
    for count in (5, 1, 2, 5):
        np.testing.assert_allclose(runner(images[:count]), expected[:count], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("function, message", [
    (lambda self, x: F.tanh(x), "no step for tanh"),
    (lambda self, x: paddle.reshape(x, [-1, 8, SIZE * SIZE, 1]), "a reshape"),
    (lambda self, x: paddle.concat([x, x], axis=2), "concatenating along another axis"),
    (lambda self, x: x + x.mean([2, 3], keepdim=True), "no step for (reduce_)?mean"),
    (lambda self, x: x + F.adaptive_avg_pool2d(x, 1), "an addition of different shapes"),
    (lambda self, x: F.adaptive_avg_pool2d(x, 5), "parts of unequal size"),
    (lambda self, x: F.avg_pool2d(x, 3, 2, ceil_mode=True, exclusive=False), "an average over padding that is not there"),
    (lambda self, x: nn.Conv2D.forward(self.first, x[:, :3]), "no step for slice"),
])
def test_what_has_no_step_is_told(function, message):
    with pytest.raises(plan.Unsupported, match=message):
        plan_of(of(function))


def test_a_plan_is_kept_in_a_file(tmp_path):
    steps = plan_of(CASES["addition"][0])
    steps.save(tmp_path / "plan.npz")
    again = plan.Plan.load(tmp_path / "plan.npz")
    assert np.array_equal(again.code, steps.code) and again.classes == steps.classes == 4
    assert len(again.weights) == len(steps.weights) == 8
    assert all(np.array_equal(one, two) for one, two in zip(again.weights, steps.weights, strict=True))


@needs_operators
def test_what_onednn_cannot_is_an_error_and_does_no_harm():
    steps = plan_of(CASES["around two"][0])
    runner = Runner(steps.code, steps.weights, steps.classes, 2)
    images = np.ones((2, 3, SIZE, SIZE), np.float32)
    expected = runner(images)
    with pytest.raises(RuntimeError, match="could not create a primitive"):
        runner(np.ones((2, 3, SIZE + 1, SIZE), np.float32))
    for code in (steps.code[:-1], steps.code[:7]):
        with pytest.raises(RuntimeError, match="the plan ends early"):
            Runner(code, steps.weights, steps.classes, 2)(images)
    with pytest.raises(RuntimeError, match="the plan gives 4 numbers for each image, not 3"):
        Runner(steps.code, steps.weights, 3, 2)(images)
    np.testing.assert_array_equal(runner(images), expected)


@needs_operators
def test_only_the_latest_numbers_of_images_stay_in_memory():
    steps = plan_of(CASES["around two"][0])
    runner = Runner(steps.code, steps.weights, steps.classes, 2)
    deleted = []
    delete = runner._library.paddle_cls_network_delete
    runner._library.paddle_cls_network_delete = lambda network: deleted.append(network) or delete(network)
    for count in (1, 2, 1, 3, 1):
        runner(np.ones((count, 3, SIZE, SIZE), np.float32))
    assert [shape[0] for shape in runner._networks] == [3, 1] and len(deleted) == 1 and KEPT == 2


def test_what_another_paddle_may_trace_is_left_to_paddle_inference(tmp_path, monkeypatch):
    real = trace.trace

    def without_groups(network: nn.Layer) -> trace.Trace:
        traced = real(network)
        for operation in traced.operations:
            operation.attributes.pop("groups", None)
        return traced

    monkeypatch.setattr(trace, "trace", without_groups)
    assert isinstance(export.export(CASES["around two"][0], SIZE, tmp_path), export.PaddleInference)
    assert not (tmp_path / export.PLAN).exists()


def test_without_a_compiler_paddle_inference_computes_and_stderr_says_so(tmp_path, monkeypatch, capfd):
    def no_compiler():
        raise Unavailable("no C++ compiler (g++) found; install one, for instance: apt install g++")

    network = CASES["around two"][0]
    monkeypatch.setattr(sys.modules["paddle_cls.ops.build"], "load", no_compiler)
    export.make(tmp_path / "made", network, SIZE)
    engine = export.load_cached(tmp_path / "made")
    assert isinstance(engine, export.PaddleInference) and (tmp_path / "made" / export.PLAN).exists()
    assert capfd.readouterr().err.count("oneDNN operators are not available: no C++ compiler (g++) found; install one, for "
                                        "instance: apt install g++; Paddle Inference computes, slower\n") == 1
