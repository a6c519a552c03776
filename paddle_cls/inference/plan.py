"""A network's inference as a plain list of steps, for ops.runner: what Paddle traces, with all that can be folded folded in.

Batch norm goes into the weights before it; bias, addition and activation become part of the convolution before them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .trace import Trace

CONV, LINEAR, POOL, ACTIVATION, BINARY, NORM, CONCAT = range(7)          # as in ops/runner.cc
NO_ACTIVATION = (0, 0, 0)                          # number in ops/runner.cc, alpha, beta
ACTIVATIONS = {"relu": (1, 0, 0), "relu6": (2, 0, 6), "sigmoid": (3, 0, 0), "silu": (4, 1, 0), "swish": (4, 1, 0),
               "hardswish": (5, 1 / 6, 0.5)}
ADD, MULTIPLY = 0, 1


class Unsupported(Exception):
    """The network computes something that a plan has no step for."""


@dataclass(eq=False)
class Step:
    """One step of a plan. numbers: what it is told beside its activation; weights: arrays, of which None is absent."""

    kind: int
    inputs: list["Step"]
    shape: list[int]
    numbers: list[float] = field(default_factory=list)
    weights: list[np.ndarray | None] = field(default_factory=list)
    activation: tuple[float, float, float] = NO_ACTIVATION


class _Builder:
    """Turns operations into steps. `values` holds what is known so far: a Step, an array, or a list of values."""

    def __init__(self, traced: Trace, weights: dict[str, np.ndarray], images: Step):
        self.weights, self.steps = weights, [images]
        self.values: dict[Any, Any] = {traced.images: images}
        self.uses = Counter(key for op in traced.operations for key in op.inputs)
        self.uses[traced.logits] += 1
        for op in traced.operations:
            if not self.values.keys() >= set(op.inputs):
                raise Unsupported(f"{op.name} of a value that is not the first that an operation gives")
            self.op, self.inputs = op, [self.values[each] for each in op.inputs]
            if op.name in ACTIVATIONS:
                self.values[op.output] = self.activate(*ACTIVATIONS[op.name])
            else:
                self.values[op.output] = STEPS.get(op.name, _Builder.unknown)(self)
        self.logits = self.values[traced.logits]

    def unknown(self) -> Step:
        raise Unsupported(f"no step for {self.op.name}")

    def new(self, kind: int, inputs: list[Step], numbers: Sequence[float] = (), weights: Sequence = ()) -> Step:
        if any(not isinstance(each, Step) for each in inputs):
            raise Unsupported(f"{self.op.name} of a constant")
        step = Step(kind, inputs, self.op.shape, list(numbers), list(weights))
        self.steps.append(step)
        return step

    def same(self) -> Step:
        """Return the input: this operation changes nothing that a plan would tell."""
        self.uses[self.op.output] += self.uses[self.op.inputs[0]] - 1          # who sees the input sees this too
        return self.inputs[0]

    def sole(self, number: int, *kinds: int) -> Step | None:
        """Return an input that this operation may become a part of: nobody else sees it, and no activation is in between."""
        step = self.inputs[number]
        free = isinstance(step, Step) and step.kind in kinds and step.activation == NO_ACTIVATION
        return step if free and self.uses[self.op.inputs[number]] == 1 else None

    # constants

    def parameter(self) -> np.ndarray:
        return self.weights[self.op.attributes["parameter_name"]]

    def full_int_array(self) -> np.ndarray:
        return np.array(self.op.attributes["value"])

    def conv2d(self) -> Step:
        (x, weight), a = self.inputs, self.op.attributes
        padding = list(a["paddings"])
        if a["padding_algorithm"] != "EXPLICIT" or a["data_format"] != "NCHW" or len(padding) not in (2, 4):
            raise Unsupported("padding by a word")
        top, bottom, left, right = padding if len(padding) == 4 else [p for p in padding for _ in range(2)]
        groups = a["groups"]
        grouped = [groups, weight.shape[0] // groups, *weight.shape[1:]]
        return self.new(CONV, [x], [*a["strides"], top, left, bottom, right, *(d - 1 for d in a["dilations"]), *grouped,
                                    *self.op.shape[2:]], [weight, None])

    def matmul(self) -> Step:
        (x, weight), a = self.inputs, self.op.attributes
        if not isinstance(x, Step) or not isinstance(weight, np.ndarray) or a["transpose_x"] or a["transpose_y"] \
                or weight.shape[0] != np.prod(x.shape[1:]):
            raise Unsupported("matmul of something else than images and weights")
        return self.new(LINEAR, [x], [weight.shape[1]], [np.ascontiguousarray(weight.T), None])

    def pool2d(self) -> Step:
        (x, kernel), a = self.inputs, self.op.attributes
        size, result, kernel = x.shape[2:], self.op.shape[2:], list(kernel)
        if a["data_format"] != "NCHW" or a["padding_algorithm"] != "EXPLICIT" or len(a["paddings"]) != 2:
            raise Unsupported("pooling of another kind")
        strides, before = list(a["strides"]), list(a["paddings"])
        if a["global_pooling"] or a["adaptive"]:
            result = [1, 1] if a["global_pooling"] else result
            if any(s % r for s, r in zip(size, result, strict=True)):
                raise Unsupported("adaptive pooling of parts of unequal size")
            kernel = strides = [s // r for s, r in zip(size, result, strict=True)]
            before = [0, 0]
        after = [max(b, (r - 1) * stride + k - s - b)
                 for r, stride, k, s, b in zip(result, strides, kernel, size, before, strict=True)]
        if a["pooling_type"] == "avg" and not a["exclusive"] and after != before:
            raise Unsupported("an average over padding that is not there")
        how = 0 if a["pooling_type"] == "max" else 2 if a["exclusive"] else 1
        return self.new(POOL, [x], [how, *kernel, *strides, *before, *after, *result])

    def batch_norm(self) -> Step:
        x, mean, variance, scale, shift = self.inputs
        if len(scale) != x.shape[1]:
            raise Unsupported("batch norm of flattened images")
        epsilon, step = self.op.attributes["epsilon"], self.sole(0, CONV, LINEAR)
        if step is None or len(step.inputs) > 1:
            return self.new(NORM, [x], [epsilon], [mean, variance, scale, shift])
        factor = scale / np.sqrt(variance + np.float32(epsilon))
        weight, bias = step.weights
        assert weight is not None
        bias = -mean if bias is None else bias - mean
        step.weights = [weight * factor.reshape([-1] + [1] * (weight.ndim - 1)), shift + bias * factor]
        return step

    def add(self) -> Step:
        one, two = self.inputs
        if isinstance(two, np.ndarray):
            step = self.sole(0, CONV, LINEAR)
            if step is None or len(step.inputs) > 1 or two.size != one.shape[1]:
                raise Unsupported("adding a constant")
            step.weights[1] = two.reshape(-1) if step.weights[1] is None else step.weights[1] + two.reshape(-1)
            return step
        if one.shape != two.shape:
            raise Unsupported("an addition of different shapes")
        later = max((0, 1), key=lambda number: self.steps.index(self.inputs[number]))
        step = self.sole(later, CONV)
        if step is None or len(step.inputs) > 1:
            return self.new(BINARY, [one, two], [ADD])
        step.inputs.append(self.inputs[1 - later])
        return step

    def multiply(self) -> Step:
        if any(not isinstance(each, Step) for each in self.inputs):
            raise Unsupported("multiplying by a constant")
        one, two = sorted(self.inputs, key=lambda step: step.shape[2:] == [1, 1])      # a factor of each channel comes second
        if one.shape[:2] != two.shape[:2] or (two.shape != one.shape and two.shape[2:] != [1, 1]):
            raise Unsupported("a product of such shapes")
        return self.new(BINARY, [one, two], [MULTIPLY])

    def concat(self) -> Step:
        parts, axis = self.inputs
        if int(axis) != 1 or any(not isinstance(part, Step) or part.shape[2:] != parts[0].shape[2:] for part in parts):
            raise Unsupported("concatenating along another axis")
        return self.new(CONCAT, list(parts))

    def combine(self) -> list:
        return self.inputs

    # what changes nothing here

    def dropout(self) -> Step:
        if self.op.attributes["mode"] != "upscale_in_train":           # then it scales down in inference
            return self.activate(7, 1 - float(self.inputs[1]), 0)
        return self.same()

    def flatten(self) -> Step:
        if self.op.attributes["start_axis"] != 1 or len(self.op.shape) != 2:
            raise Unsupported("flattening some axes")
        return self.same()

    def reshape(self) -> Step | np.ndarray:
        if not isinstance(self.inputs[0], np.ndarray):
            raise Unsupported("a reshape")
        return self.inputs[0].reshape(self.inputs[1])

    def activate(self, number: float, alpha: float, beta: float) -> Step:
        kinds = (CONV, LINEAR, BINARY, NORM) if number == 1 else (CONV, LINEAR, BINARY)
        step = self.sole(0, *kinds) or self.new(ACTIVATION, [self.inputs[0]])
        step.activation = (number, alpha, beta)
        return step

    def hardsigmoid(self) -> Step:
        return self.activate(6, self.op.attributes["slope"], self.op.attributes["offset"])


# Paddle's name of an operation: what makes its step
STEPS: dict[str, Callable[[_Builder], object]] = {
    "parameter": _Builder.parameter, "full_int_array": _Builder.full_int_array, "full": _Builder.full_int_array,
    "conv2d": _Builder.conv2d, "depthwise_conv2d": _Builder.conv2d, "matmul": _Builder.matmul, "pool2d": _Builder.pool2d,
    "batch_norm": _Builder.batch_norm, "add": _Builder.add, "multiply": _Builder.multiply, "concat": _Builder.concat,
    "combine": _Builder.combine, "dropout": _Builder.dropout, "flatten": _Builder.flatten, "reshape": _Builder.reshape,
    "hardsigmoid": _Builder.hardsigmoid,
}


@dataclass
class Plan:
    """What ops/runner.cc reads. code: float64; weights: float32 arrays, C order; classes: how many logits an image has.

    Of each step the code has, one after the other: kind; inputs, as a list (its length, then the numbers of the steps; 0 are
    the images); the steps that nobody needs afterwards, likewise; activation, alpha, beta; its numbers and the indices of
    its weights, likewise.
    """

    code: np.ndarray
    weights: list[np.ndarray]
    classes: int

    def save(self, file: Path) -> None:
        """Write an .npz."""
        arrays: dict[str, Any] = {str(i): weight for i, weight in enumerate(self.weights)}
        np.savez(file, code=self.code, classes=self.classes, **arrays)

    @classmethod
    def load(cls, file: Path) -> "Plan":
        """Return what `save` wrote."""
        with np.load(file) as data:
            return cls(data["code"], [data[str(i)] for i in range(len(data.files) - 2)], int(data["classes"]))


def make(traced: Trace, weights: dict[str, np.ndarray], image_size: int) -> Plan:
    """Return the plan of a network for images of image_size; weights: all its weights by their names. Raises Unsupported."""
    built = _Builder(traced, weights, Step(-1, [], [-1, 3, image_size, image_size]))
    if built.logits is not built.steps[-1]:
        raise Unsupported("logits that are not made last")
    number = {step: i for i, step in enumerate(built.steps)}
    last = {each: number[step] for step in built.steps for each in step.inputs}
    code: list[float] = []
    arrays: list[np.ndarray] = []
    for step in built.steps[1:]:
        own = [np.ascontiguousarray(weight, np.float32) for weight in step.weights if weight is not None]
        dead = [number[each] for each in dict.fromkeys(step.inputs) if last[each] == number[step]]
        lists = [number[each] for each in step.inputs], dead, step.numbers, range(len(arrays), len(arrays) + len(own))
        inputs, dead, numbers, indices = ([len(part), *part] for part in lists)
        code += [step.kind, *inputs, *dead, *step.activation, *numbers, *indices]
        arrays += own
    return Plan(np.array(code, np.float64), arrays, int(np.prod(built.logits.shape[1:])))
