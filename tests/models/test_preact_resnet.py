"""ResNet v2: counts, its block computed a second time, and the clean way around it."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import normed, parameters, with_statistics

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.preact_resnet import PreActBlock


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_it_has_the_weights_of_v1_but_the_norms_of_its_projections(depth):
    assert parameters("preact_resnet", depth=depth) == parameters("resnet_paper", depth=depth) - 2 * (256 + 512 + 1024 + 2048)


def test_200_layers_are_16_more_blocks_in_conv3():
    block = 512 * 128 + 128 * 128 * 9 + 128 * 512 + 2 * (512 + 128 + 128)
    assert parameters("preact_resnet", depth=200) - parameters("preact_resnet", depth=152) == 16 * block
    assert parameters("preact_resnet") == 25_549_352


@pytest.mark.parametrize("depth, bottleneck, millions", [(110, False, "1.7"), (164, True, "1.7")])
def test_cifar_parameters(depth, bottleneck, millions):
    """1.7 million, as in the paper's ResNet-110 and 164; each 9 further layers add one block to each group."""
    count = parameters("preact_resnet_cifar", 10, depth=depth, bottleneck=bottleneck)
    assert f"{count / 1e6:.1f}" == millions
    if bottleneck:
        grown = sum(c * c // 2 + 9 * c * c // 16 + 2 * (c + c // 2) for c in (64, 128, 256))
        assert parameters("preact_resnet_cifar", 10, depth=depth + 9) - count == grown


@pytest.mark.parametrize("ch_out, stride", [(8, 1), (16, 1), (16, 2)])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_block_computes_what_the_paper_defines(bottleneck, ch_out, stride):
    block = PreActBlock(8, ch_out, stride, bottleneck)
    state = with_statistics(block)
    x = paddle.randn([2, 8, 6, 5])
    active = y = F.relu(normed(x, state, "before.0"))
    for i in range(0, 5 if bottleneck else 3, 2):                      # convolution, norm and ReLU, convolution, ...
        if i:
            y = F.relu(normed(y, state, f"branch.{i - 1}.0"))
        weight = state[f"branch.{i}.weight"]
        y = F.conv2d(y, weight, None, 1 if i else stride, weight.shape[-1] // 2)
    way = x if ch_out == 8 else F.conv2d(active, state["project.weight"], None, stride)
    np.testing.assert_allclose(block(x).numpy(), (y + way).numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_stands_in_the_way_of_what_goes_around():
    """With every branch at zero the first group hands on the stem's output, and the later ones only project."""
    model = build_model("preact_resnet_cifar", 10, depth=20, bottleneck=False)
    model.eval()
    blocks = [block for block in model.sublayers() if isinstance(block, PreActBlock)]
    for block in blocks:
        block.branch[-1].weight.set_value(paddle.zeros_like(block.branch[-1].weight))
    images = paddle.randn([2, 3, 16, 16])
    x = model.stem(images)
    np.testing.assert_array_equal(model.groups[0](x).numpy(), x.numpy())
    for i in (3, 6):                               # the blocks that change the shape
        x = blocks[i].project(blocks[i].before(x))
    features = F.relu(model.last[0](x)).mean([2, 3])
    np.testing.assert_allclose(model.forward_features(images).numpy(), features.numpy(), rtol=1e-4, atol=1e-6)


def test_wrong_depths():
    with pytest.raises(UserError, match="^preact_resnet: depth=18 must be one of 50, 101, 152, 200$"):
        build_model("preact_resnet", 10, depth=18)
    with pytest.raises(UserError, match=r"^preact_resnet_cifar: depth=166 is not 9n\+2 \(11, 20, 29, ...\); try 164 or 173$"):
        build_model("preact_resnet_cifar", 10, depth=166)
    with pytest.raises(UserError, match=r"^preact_resnet_cifar: depth=165 is not 6n\+2 \(8, 14, 20, ...\); try 164 or 170$"):
        build_model("preact_resnet_cifar", 10, depth=165, bottleneck=False)
