"""The operations that Paddle traces in a network, the same for Paddle 2 and 3: what `plan` makes its steps of."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from paddle import nn


@dataclass
class Operation:
    """One operation, by the name that it has in Paddle 3; values are told apart by any hashable key."""

    name: str
    inputs: list
    output: object
    shape: list[int]                               # of the output; the number of images is -1
    attributes: dict = field(default_factory=dict)


@dataclass
class Trace:
    """A network's inference: from the value `images` to the value `logits`, by the operations that it takes, in their order.

    A weight is an operation "parameter" with the attribute parameter_name.
    """

    images: object
    operations: list[Operation]
    logits: object


def trace(network: nn.Layer) -> Trace:
    """Return what a network that went through `paddle.jit.to_static` with one input computes."""
    concrete = network.forward.concrete_program
    block = concrete.main_program.global_block()
    images, logits = concrete.inputs[-1], concrete.outputs[0]
    if hasattr(logits, "id"):
        found = Trace(images.id, list(_of_paddle_3(block)), logits.id)
    else:
        found = Trace(images.name, list(_of_paddle_2(block)), logits.name)
    wanted = {found.logits}
    for op in reversed(found.operations):
        if op.output in wanted:
            wanted.update(op.inputs)
    found.operations = [op for op in found.operations if op.output in wanted and op.output != found.images]
    return found


def _of_paddle_3(block: Any) -> Iterator[Operation]:
    for op in block.ops:
        if op.num_results():
            result = op.result(0)
            inputs = [value.id for value in op.operands_source() if value.initialized()]
            shape = list(result.shape) if result.initialized() and result.is_dense_tensor_type() else []
            yield Operation(op.name().partition(".")[2].rstrip("_"), inputs, result.id, shape, op.attrs())


# Of Paddle 2: name in Paddle 3, inputs, output, attributes that have another name there, and the attribute that is an
# input there, made by the operation named first.
_PADDLE_2 = {
    "batch_norm": ("batch_norm", ("X", "Mean", "Variance", "Scale", "Bias"), "Y", {}, None),
    "concat": ("concat", ("X",), "Out", {}, ("full", "axis")),
    "conv2d": ("conv2d", ("Input", "Filter"), "Output", {}, None),
    "depthwise_conv2d": ("depthwise_conv2d", ("Input", "Filter"), "Output", {}, None),
    "dropout": ("dropout", ("X",), "Out", {"mode": "dropout_implementation"}, ("full", "dropout_prob")),
    "elementwise_add": ("add", ("X", "Y"), "Out", {}, None),
    "elementwise_mul": ("multiply", ("X", "Y"), "Out", {}, None),
    "flatten_contiguous_range": ("flatten", ("X",), "Out", {}, None),
    "hard_sigmoid": ("hardsigmoid", ("X",), "Out", {}, None),
    "hard_swish": ("hardswish", ("X",), "Out", {}, None),
    "matmul_v2": ("matmul", ("X", "Y"), "Out", {"transpose_x": "trans_x", "transpose_y": "trans_y"}, None),
    "pool2d": ("pool2d", ("X",), "Out", {}, ("full_int_array", "ksize")),
    "reshape2": ("reshape", ("X",), "Out", {}, ("full_int_array", "shape")),
}


def _of_paddle_2(block: Any) -> Iterator[Operation]:
    for name in (name for name, variable in block.vars.items() if variable.persistable):
        yield Operation("parameter", [], name, list(block.var(name).shape), {"parameter_name": name})
    for number, op in enumerate(block.ops):
        name, inputs, output, renamed, constant = _PADDLE_2.get(op.type, (op.type, op.input_names, op.output_names[0], {}, None))
        keys = [key for each in inputs for key in op.input(each)]
        attributes = {key: op.attr(key) for key in op.attr_names} | {new: op.attr(old) for new, old in renamed.items()}
        if name == "concat":
            yield Operation("combine", keys, ("combine", number), [])
            keys = [("combine", number)]
        if constant:
            yield Operation(constant[0], [], ("constant", number), [], {"value": op.attr(constant[1])})
            keys.append(("constant", number))
        for key in op.output(output)[:1]:
            variable = block.vars.get(key)
            yield Operation(name, keys, key, list(variable.shape) if variable is not None else [], attributes)
