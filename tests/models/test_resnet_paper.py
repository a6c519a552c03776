"""The paper's ResNet: published counts, and its blocks computed a second time."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import normed, parameters, with_statistics
from paddle import nn

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.resnet_paper import Residual, ZeroPadding, basic, bottleneck

PROJECTIONS = [(64, 256), (256, 512), (512, 1024), (1024, 2048)]
IDENTITIES = [(256, 2), (512, 3), (1024, 5), (2048, 2)]                # width, blocks without projection in ResNet-50


@pytest.mark.parametrize("depth, count", [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160),
                                          (152, 60_192_808)])
def test_parameters_are_the_published(depth, count):
    assert parameters("resnet_paper", depth=depth) == count


def test_shortcuts_differ_by_their_projections():
    assert parameters("resnet_paper", shortcut="A") == 25_557_032 - sum(a * b + 2 * b for a, b in PROJECTIONS)
    assert parameters("resnet_paper", shortcut="C") == 25_557_032 + sum(n * (c * c + 2 * c) for c, n in IDENTITIES)


@pytest.mark.parametrize("depth, millions", [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_cifar_parameters_are_table_6s(depth, millions):
    n, widths = (depth - 2) // 6, (16, 32, 64)
    weights = 3 * 16 * 9 + sum(9 * (a * b + b * b * (2 * n - 1)) for a, b in zip((16, 16, 32), widths, strict=True))
    norms = 2 * (16 + 2 * n * sum(widths))
    count = parameters("resnet_paper_cifar", 10, depth=depth)
    assert count == weights + norms + 64 * 10 + 10
    assert f"{count / 1e6:.{len(millions) - 2}f}" == millions


def test_zero_padding_passes_the_input_through_and_has_no_weights():
    layer = ZeroPadding(3, 2)
    x = paddle.randn([2, 4, 5, 8])
    y = layer(x).numpy()
    assert not layer.state_dict() and y.shape == (2, 7, 3, 4)
    np.testing.assert_array_equal(y[:, :4], x.numpy()[:, :, ::2, ::2])
    assert not y[:, 4:].any()


@pytest.mark.parametrize("kind, padding, projected", [("A", 4, 0), ("B", 0, 4), ("C", 0, 16)])
def test_which_blocks_have_which_shortcut(kind, padding, projected):
    with paddle.LazyGuard():
        model = build_model("resnet_paper", 10, shortcut=kind)
    ways = [block.shortcut for block in model.sublayers() if isinstance(block, Residual)]
    assert len(ways) == 16
    assert sum(isinstance(way, ZeroPadding) for way in ways) == padding
    assert sum(isinstance(way, nn.Sequential) for way in ways) == projected
    assert sum(isinstance(way, nn.Identity) for way in ways) == 16 - padding - projected


def conv_bn(x, state, name, stride=1):
    weight = state[f"{name}.conv.weight"]
    return normed(F.conv2d(x, weight, None, stride, weight.shape[-1] // 2), state, f"{name}.bn")


@pytest.mark.parametrize("ch_out, stride", [(8, 1), (16, 1), (16, 2)])
@pytest.mark.parametrize("kind", ["A", "B", "C"])
@pytest.mark.parametrize("make, strides", [(basic, "21"), (bottleneck, "211")])
def test_a_block_computes_what_the_paper_defines(make, strides, kind, ch_out, stride):
    block = make(8, ch_out, stride, kind)
    state = with_statistics(block)
    x = y = paddle.randn([2, 8, 6, 5])
    for i, at in enumerate(strides):
        y = conv_bn(F.relu(y) if i else y, state, f"branch.{i}", stride if at == "2" else 1)
    if kind == "C" or (kind == "B" and ch_out == 16):
        way = conv_bn(x, state, "shortcut", stride)
    else:
        way = paddle.concat([x[:, :, ::stride, ::stride], paddle.zeros([2, ch_out - 8, *y.shape[2:]])], axis=1)
    np.testing.assert_allclose(block(x).numpy(), F.relu(y + way).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [basic, bottleneck])
def test_zero_init_last_starts_a_block_as_its_shortcut(make):
    x = paddle.randn([2, 8, 4, 4])
    for zero in (False, True):
        block = make(8, 16, 2, zero_init_last=zero)
        block.eval()
        assert np.array_equal(block(x).numpy(), F.relu(block.shortcut(x)).numpy()) == zero
        norms = [layer for layer in block.branch.sublayers() if isinstance(layer, nn.BatchNorm2D)]
        assert [norm.weight.numpy().any() for norm in norms[:-1]] == [True] * (len(norms) - 1)     # else it could never grow


@pytest.mark.parametrize("name, arguments, blocks", [("resnet_paper", {"depth": 18}, 8), ("resnet_paper_cifar", {"depth": 14}, 6),
                                                     ("se_resnet", {"width": 4}, 16)])
def test_zero_init_last_reaches_every_block(name, arguments, blocks):
    model = build_model(name, 10, **arguments, zero_init_last=True)
    norms = [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    assert sum(not norm.weight.numpy().any() for norm in norms) == blocks
    assert sum(isinstance(layer, Residual) for layer in model.sublayers()) == blocks


def test_shortcuts_meet_their_branches_in_images_of_any_size():
    model = build_model("resnet_paper_cifar", 10, depth=8)
    assert model(paddle.randn([1, 3, 33, 47])).shape == [1, 10]


def test_wrong_arguments():
    with pytest.raises(UserError, match="^resnet_paper: depth=51 must be one of 18, 34, 50, 101, 152$"):
        build_model("resnet_paper", 10, depth=51)
    with pytest.raises(UserError, match="^shortcut='D' must be one of A, B, C$"):
        build_model("resnet_paper", 10, shortcut="D")
    with pytest.raises(UserError, match=r"^resnet_paper_cifar: depth=21 is not 6n\+2 \(8, 14, 20, ...\); try 20 or 26$"):
        build_model("resnet_paper_cifar", 10, depth=21)
