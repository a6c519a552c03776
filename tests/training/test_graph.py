"""The graph of a network, as VisualDL's server gives it to its graph page."""

import json

import numpy as np
import paddle
from paddle import nn
from visualdl.reader.graph_reader import GraphReader

from paddle_cls.training.graph import describe


class Net(nn.Layer):
    """A block with a way around it, and a head."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2D(3, 3, 3, padding=1, bias_attr=False), nn.BatchNorm2D(3))
        self.head = nn.Linear(3, 2)

    def forward(self, images):
        """Return logits (N, 2)."""
        images = nn.functional.relu(self.block(images) + images)
        return self.head(images.mean([2, 3]))


def test_visualdl_shows_layers_and_opens_them(tmp_path):
    model = Net()
    mean = model.block[1].state_dict()["_mean"].numpy()
    before = paddle.get_rng_state()[0].current_seed()
    (tmp_path / "vdlgraph.json").write_text(json.dumps(describe(model, 8)))
    assert model.training and paddle.get_rng_state()[0].current_seed() == before
    assert np.array_equal(model.block[1].state_dict()["_mean"].numpy(), mean)
    assert not any(parameter.grad is not None for parameter in model.parameters())

    pages = GraphReader(str(tmp_path))
    run, = pages.runs()

    def shown(page) -> dict[str, tuple]:
        return {node["name"]: (node["type"], [arg["name"] for side in node["inputs"] for arg in side["arguments"]])
                for node in page["nodes"]}

    page = pages.get_graph(run)
    assert shown(page) == {
        "/block": ("Sequential", ["/images"]), "/add_3": ("add", ["/images", "/block/1/batchnorm_2"]),
        "/relu_4": ("relu", ["/add_3"]), "/mean_5": ("mean", ["/relu_4"]), "/head": ("Linear", ["/mean_5"])}
    image, = page["inputs"][0]["arguments"]
    assert image["type"]["shape"]["dimensions"] == [1, 3, 8, 8]
    logits, = page["outputs"][0]["arguments"]
    assert logits["name"] == "/head/add_7" and logits["type"]["shape"]["dimensions"] == [1, 2]
    opened = shown(pages.get_graph(run, nodeid="/block", expand=True))
    assert opened["/block/0"] == ("Conv2D", ["/images"]) and opened["/block/1"][0] == "BatchNorm2D"
    assert "/block" not in opened


def test_a_frozen_network_has_one_too_and_one_without_a_chain_has_none():
    model = Net()
    for parameter in model.parameters():
        parameter.stop_gradient = True
    assert len(describe(model, 8)["nodes"]) == len(describe(Net(), 8)["nodes"])
    assert all(parameter.stop_gradient for parameter in model.parameters())
    model.forward = lambda images: model.head(images.detach().mean([2, 3]))
    assert describe(model, 8) is None
