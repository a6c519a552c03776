"""Spatial pyramid pooling: the same length of vector for every size, and the largest value of each bin."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import parameters

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.spp import SpatialPyramidPooling


@pytest.mark.parametrize("height, width", [(13, 13), (10, 7), (6, 12), (3, 5), (1, 1)])
def test_it_takes_the_largest_of_each_bin(height, width):
    x = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype("float32")
    expected = []
    for n in (6, 3, 2, 1):
        for channel in range(3):
            for i in range(n):
                for j in range(n):
                    rows = slice(i * height // n, -(-(i + 1) * height // n))
                    columns = slice(j * width // n, -(-(j + 1) * width // n))
                    expected.append(x[:, channel, rows, columns].max((1, 2)))
    out = SpatialPyramidPooling()(paddle.to_tensor(x)).numpy()
    assert out.shape == (2, 3 * 50)
    np.testing.assert_array_equal(out, np.stack(expected, 1))


def test_parameters_of_table_1_with_a_pyramid_of_50_bins():
    layers = [(96, 3 * 49), (256, 96 * 25), (384, 256 * 9), (384, 384 * 9), (256, 384 * 9), (4096, 50 * 256), (4096, 4096)]
    assert parameters("zf5_spp") == sum(out * (inputs + 1) for out, inputs in [*layers, (1000, 4096)])


def test_one_network_takes_every_size():
    model = build_model("zf5_spp", 10, hidden=16)
    model.eval()
    for size in ((29, 29), (32, 32), (64, 48), (50, 121)):
        images = paddle.randn([2, 3, *size])
        x = model.pyramid(model.features(images))
        assert x.shape == [2, 256 * 50]
        for layer in (model.fc6[0], model.fc7[0]):
            x = F.relu(x @ layer.weight + layer.bias)
        np.testing.assert_allclose(model.forward_features(images).numpy(), x.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(model(images).numpy(), model.fc8(x).numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="^ZF5SPP takes images from 29x29 on and was given 40x28$"):
        model(paddle.zeros([1, 3, 40, 28]))


def test_maps_are_the_papers():
    features = build_model("zf5_spp", 10, hidden=1).features
    x = paddle.randn([1, 3, 224, 224])
    sizes = []
    for layer in features:
        x = layer(x)
        sizes.append(x.shape[2])
    assert sizes == [110, 110, 110, 55, 27, 27, 27, 13, 13, 13, 13, 13, 13, 13]


def test_levels_are_an_argument():
    assert build_model("zf5_spp", 10, levels="4-1", hidden=1).fc6[0].weight.shape == [256 * 17, 1]
    for levels in ("", "4,1", "2-0", "2--1", "-1", "x"):
        with pytest.raises(UserError, match=f"^zf5_spp: levels={levels!r} must be numbers from 1 with hyphens between them"):
            build_model("zf5_spp", 10, levels=levels)
    with pytest.raises(UserError, match="^zf5_spp: hidden=0 must be at least 1$"):
        build_model("zf5_spp", 10, hidden=0)
