"""What the newer networks share: the convolution's sizes and first weights, a separable one, the check of a dropout."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.layers import conv, separable_conv
from paddle_cls.models.resnet import conv_bn_layer


@pytest.mark.parametrize("size", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_image_keeps_its_size(size, stride):
    layer = conv(4, 6, size, stride)
    assert layer.bias is None
    for height, width in ((8, 9), (1, 7)):
        assert layer(paddle.ones([1, 4, height, width])).shape == [1, 6, -(-height // stride), -(-width // stride)]


@pytest.mark.parametrize("groups", [1, 4, 128])
def test_weights_start_by_the_inputs_that_an_output_sees(groups):
    paddle.seed(0)
    for layer in (conv(128, 256, 3, groups=groups), conv_bn_layer(128, 256, 3, 1, 1, groups=groups).conv):
        assert layer.weight.shape == [256, 128 // groups, 3, 3]
        assert layer.weight.numpy().std() == pytest.approx(np.sqrt(2 / (128 // groups * 9)), rel=0.05)


def test_separable_is_depthwise_then_pointwise_with_nothing_between():
    layer = separable_conv(4, 6, 5, 2)
    x = paddle.randn([2, 4, 9, 8])
    depthwise, pointwise = layer[0].weight, layer[1].weight
    assert depthwise.shape == [4, 1, 5, 5] and pointwise.shape == [6, 4, 1, 1] and len(layer.parameters()) == 2
    each = paddle.concat([F.conv2d(x[:, c:c + 1], depthwise[c:c + 1], stride=2, padding=2) for c in range(4)], axis=1)
    expected = np.einsum("nchw,oc->nohw", each.numpy(), pointwise.numpy()[:, :, 0, 0])
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, said", [("resnet_small", "resnet_small"), ("xception", "xception"), ("nasnet_mobile", "nasnet"),
                                        ("efficientnet_b0", "efficientnet")])
@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_a_dropout_must_leave_something(name, said, dropout):
    with pytest.raises(UserError, match=f"^{said}: dropout={dropout} must be at least 0 and below 1$"):
        build_model(name, 10, dropout=dropout)
