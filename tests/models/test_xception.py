"""Xception: the published count, and its blocks computed a second time."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import normed, parameters, with_statistics

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.xception import Block


def test_parameters_are_table_3s():
    assert parameters("xception") == 22_855_952


@pytest.mark.parametrize("halve", [False, True])
def test_a_block_computes_what_figure_5_shows(halve):
    block = Block(4, 6, 4, halve=halve)
    state = with_statistics(block)
    x = y = paddle.randn([2, 4, 7, 8])
    for i in (0, 3):                               # ReLU, separable convolution, norm; twice
        y = F.relu(y)
        y = F.conv2d(y, state[f"units.{i + 1}.0.weight"], None, 1, 1, groups=y.shape[1])
        y = normed(F.conv2d(y, state[f"units.{i + 1}.1.weight"]), state, f"units.{i + 2}")
    way = x
    if halve:
        y = F.max_pool2d(y, 3, 2, 1)
        way = normed(F.conv2d(x, state["shortcut.conv.weight"], None, 2), state, "shortcut.bn")
    np.testing.assert_allclose(block(x).numpy(), (y + way).numpy(), rtol=1e-4, atol=1e-5)


def test_flows_their_maps_and_the_smallest_image():
    model = build_model("xception", 10)
    model.eval()
    with pytest.raises(UserError, match="^Xception takes images from 7x7 on and was given 9x6$"):
        model(paddle.zeros([1, 3, 9, 6]))
    assert model(paddle.zeros([1, 3, 7, 9])).shape == [1, 10]
    seen = []
    for flow in (model.entry, model.middle, model.exit):
        flow.register_forward_post_hook(lambda _, __, out: seen.append(out.shape[1:]))
    features = model.forward_features(paddle.randn([1, 3, 75, 59]))     # 37, 35, 18, 9, 5, 3 and 29, 27, 14, 7, 4, 2
    assert seen == [[728, 5, 4], [728, 5, 4], [2048, 3, 2]] and features.shape == [1, 2048]
    assert features.numpy().min() >= 0             # a ReLU stands before the average
    assert [[len(block.units), len(block.shortcut.sublayers())] for block in model.middle] == 8 * [[9, 0]]

