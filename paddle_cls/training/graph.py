"""The graph of a network for VisualDL's graph page, read from the gradient's chain of one image.

VisualDL's own `add_graph` needs a temp.pdmodel, which Paddle 3 does not write, and seconds of tracing. The gradient's chain is
there after one forward pass of any network, in Paddle 2 and 3 alike.
"""

from collections.abc import Callable
from typing import Any

import paddle
from paddle import nn

from ..system.runtime import evaluating

VERSION = "1.0.0"                                  # of VisualDL's format
LEAF = "GradNodeAccumulation"                      # where a chain ends: at a weight, or at the images


def describe(model: nn.Layer, image_size: int) -> dict | None:
    """Return the operations of `model` in inference, each in the layers that call it, as a vdlgraph file holds them.

    image_size: pixels a side of the image that goes through, once. The layers must be Paddle's own, before `ops.speed_up`.
    None: no gradient would reach the images, and so there is no chain.
    """
    images = paddle.zeros([1, 3, image_size, image_size])
    images.stop_gradient = False                   # else frozen layers leave no trace
    layers = dict(model.named_sublayers())
    places: dict = {}                              # gradient node: the layer that made it, such as "res1.0.conv1"
    shapes = {images.grad_fn: list(images.shape)}
    hooks = [layer.register_forward_post_hook(_placing(name, places, shapes)) for name, layer in layers.items()]
    try:
        with evaluating(model), paddle.enable_grad():
            logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    shapes[logits.grad_fn] = list(logits.shape)
    chain = _between(images.grad_fn, logits.grad_fn)
    return _page(images.grad_fn, chain, places, shapes, layers) if chain else None


def _placing(name: str, places: dict, shapes: dict) -> Callable[[nn.Layer, tuple, object], None]:
    """Return the hook that claims for layer `name` what lies between its inputs and outputs and no layer inside has claimed."""
    def hook(layer: nn.Layer, inputs: tuple, outputs: object) -> None:
        shapes.update({value.grad_fn: list(value.shape) for value in _tensors(outputs)})
        seen = {value.grad_fn for value in _tensors(inputs)}
        waiting = [value.grad_fn for value in _tensors(outputs)]
        while waiting:
            node = waiting.pop()
            if node and node not in seen and node.name() != LEAF and f"{places.get(node, name)}.".startswith(f"{name}."):
                places.setdefault(node, name)
                waiting += node.next_functions
            seen.add(node)
    return hook


def _tensors(values: object) -> list[paddle.Tensor]:
    return [value for value in paddle.utils.flatten(values) if isinstance(value, paddle.Tensor)]


def _between(start: Any, end: Any) -> list:
    """Return the gradient nodes by which the images (`start`) come into `end`, inputs first; [] if they do not."""
    order: list = []
    seen: set = set()
    waiting = [(end, False)]
    while waiting:
        node, done = waiting.pop()
        if done:
            order.append(node)
        elif node and node not in seen and node.name() != LEAF:
            seen.add(node)
            waiting += [(node, True), *((below, False) for below in node.next_functions)]
    reached = {start}
    for node in order:
        if not reached.isdisjoint(node.next_functions):
            reached.add(node)
    return [node for node in order if node in reached] if end in reached else []


def _page(start: object, chain: list, places: dict, shapes: dict, layers: dict[str, nn.Layer]) -> dict:
    """Return what the graph page shows: each operation by the path of its layer, its type and a number."""
    paths = {start: "/images"}
    for number, node in enumerate(chain, 1):
        inside = [places[node].replace(".", "/")] if node in places else []
        paths[node] = "/".join(["", *inside, f"{node.name().partition('GradNode')[0].lower()}_{number}"])
    nodes = {"/": _node("/", ""), "/images": _node("/images", "feed")}
    tensors = {path: _tensor(path, shapes.get(node, [])) for node, path in paths.items()}
    for node in chain:
        nodes[paths[node]] = _node(paths[node], paths[node].rpartition("/")[2].rpartition("_")[0])
        for below in filter(paths.get, node.next_functions):
            tensors[paths[below]]["to_nodes"].append(paths[node])
    nodes["/logits"] = _node("/logits", "fetch")
    tensors[paths[chain[-1]]]["to_nodes"].append("/logits")
    for path in list(nodes)[1:]:
        for layer in _around(path)[:-1]:
            kind = layers[layer[1:].replace("/", ".")]
            nodes.setdefault(layer, _node(layer, type(kind).__name__, kind.extra_repr(), leaf=False))
        for parent, child in zip(["/", *_around(path)], _around(path), strict=False):
            nodes[child]["parent_node"] = parent
            if child not in nodes[parent]["children_node"]:
                nodes[parent]["children_node"].append(child)
    nodes["/"]["is_leaf_node"] = False
    for name, tensor in tensors.items():           # goes out of each layer that it leaves, and into each that it enters
        for target in tensor["to_nodes"]:
            out, into = _around(name), _around(target)
            for side, left in (("output_vars", [path for path in out if path not in into]),
                               ("input_vars", [path for path in into if path not in out])):
                for path in left:
                    names = nodes[path][side].setdefault("X", [])
                    names += [] if name in names else [name]
    return {"version": VERSION, "nodes": list(nodes.values()), "vars": list(tensors.values()), "edges": []}


def _around(path: str) -> list[str]:
    """Return the layers around an operation, the outermost first, and itself."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]


def _node(path: str, kind: str, settings: str = "", *, leaf: bool = True) -> dict:
    said = {"settings": settings} if settings else {}
    return {"name": path, "show_name": path, "type": kind, "attrs": said, "attr_types": dict.fromkeys(said, "STRING"),
            "input_vars": {}, "output_vars": {}, "is_leaf_node": leaf, "children_node": [], "parent_node": ""}


def _tensor(path: str, shape: list[int]) -> dict:
    return {"name": path, "shape": shape, "dtype": "float32", "persistable": False, "from_node": path, "to_nodes": []}
