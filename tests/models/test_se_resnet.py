"""SE-ResNet and SE-ResNeXt: counts by the paper's equation, and the gate computed a second time."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import parameters, with_statistics
from paddle import nn

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.resnet_paper import BLOCKS
from paddle_cls.models.se_resnet import SqueezeExcite, se_bottleneck


@pytest.mark.parametrize("depth, reduction", [(50, 16), (50, 8), (101, 16), (152, 16)])
def test_the_gates_add_what_equation_5_says(depth, reduction):
    gates = 2 * sum(n * c * c for n, c in zip(BLOCKS[depth], (256, 512, 1024, 2048), strict=True)) // reduction
    assert parameters("se_resnet", depth=depth, reduction=reduction) == parameters("resnet_paper", depth=depth) + gates


def test_the_gates_of_50_layers_are_two_and_a_half_million():
    """Section 4: "about 2.5 million additional parameters", and 28.1 million in all."""
    assert parameters("se_resnet") == 28_071_976 == 25_557_032 + 2_514_944


def test_resnext_has_its_published_weights_and_the_gates():
    assert parameters("se_resnext") == 25_028_904 + parameters("se_resnet") - parameters("resnet_paper")
    assert parameters("se_resnext", depth=101) == 44_177_704 + parameters("se_resnet", depth=101) - 44_549_160


def test_gate_computes_what_the_paper_defines():
    layer = SqueezeExcite(8, 2)
    x = 3 * paddle.randn([4, 8, 5, 3])
    down, up = (p.numpy()[:, :, 0, 0] for p in layer.parameters())
    assert down.shape == (2, 8) and up.shape == (8, 2)
    gate = 1 / (1 + np.exp(-np.maximum(x.numpy().mean((2, 3)) @ down.T, 0) @ up.T))
    assert 0 < gate.min() < 0.45 and 0.55 < gate.max() < 1
    np.testing.assert_allclose(layer(x).numpy(), x.numpy() * gate[:, :, None, None], rtol=1e-4, atol=1e-5)
    assert len(SqueezeExcite(8, 2, nn.Silu, bias=True).parameters()) == 4


def test_the_gate_is_on_the_branch_and_not_on_the_way_around():
    block = se_bottleneck(8, 16, 2, reduction=4, groups=1, width=64, zero_init_last=False)
    with_statistics(block)
    up = block.branch[1].gate[3].weight
    up.set_value(paddle.zeros_like(up))            # every gate is 1/2
    x = paddle.randn([2, 8, 6, 5])
    expected = F.relu(block.branch[0](x) / 2 + block.shortcut(x))
    np.testing.assert_allclose(block(x).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("groups, width, mid, strides", [(1, 64, 64, [2, 1, 1]), (32, 4, 128, [1, 2, 1])])
def test_a_bottlenecks_convolutions(groups, width, mid, strides):
    convolutions = [layer for layer in se_bottleneck(64, 256, 2, 16, groups, width, False).branch[0].sublayers()
                    if isinstance(layer, nn.Conv2D)]
    assert [layer.weight.shape for layer in convolutions] == [[mid, 64, 1, 1], [mid, mid // groups, 3, 3], [256, mid, 1, 1]]
    assert [layer._stride for layer in convolutions] == [[stride, stride] for stride in strides]


def test_wrong_arguments():
    for wrong, message in (({"depth": 34}, "depth=34 must be one of 50, 101, 152"),
                           ({"reduction": 0}, "reduction=0 must be from 1 to 256, the channels of the first blocks"),
                           ({"reduction": 257}, "reduction=257 must be from 1 to 256, the channels of the first blocks"),
                           ({"groups": 0}, "groups=0 and width=64 must be at least 1"),
                           ({"width": 0}, "groups=1 and width=0 must be at least 1")):
        with pytest.raises(UserError, match=f"^se_resnet: {message}$"):
            build_model("se_resnet", 10, **wrong)
