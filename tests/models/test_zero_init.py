"""resnet_cifar10 with zero_init_last, by Paddle's own layers and by the compiled operators."""

import numpy as np
import paddle
from test_models import images
from test_ops import compare, needs_ops

from paddle_cls.models import build_model


def test_blocks_that_start_at_zero_pass_their_shortcut_on():
    """Each block is ReLU(shortcut) at first; the scale that is zero gets a gradient, and with it the block learns."""
    model = build_model("resnet", 10, depth=14, zero_init_last=True)
    model.train()
    blocks = [block for group in (model.res1, model.res2, model.res3) for block in group]
    assert [float(block.conv2.bn.weight.abs().max()) for block in blocks] == [0.0] * 6
    assert all((block.conv1.bn.weight == 1).all() for block in blocks)
    x = images()
    for block in blocks[1::2]:                     # of equal channels
        inside = paddle.rand([2, block.conv1.conv.weight.shape[1], 8, 8])
        assert np.array_equal(block(inside), inside)
    model(x).square().sum().backward()
    assert all(float(block.conv2.bn.weight.grad.abs().max()) > 0 for block in blocks)
    assert float(build_model("resnet", 10, depth=8).res1[0].conv2.bn.weight.min()) == 1


@needs_ops
def test_the_compiled_operators_take_a_scale_of_zero():
    paddle.seed(0)
    compare(build_model("resnet", 10, depth=8, zero_init_last=True), (4, 3, 16, 16))
