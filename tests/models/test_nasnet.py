"""NASNet-A: the published count, and the wiring of its cells with factors in the place of their layers."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import parameters, with_statistics
from paddle import nn

from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.models.nasnet import Halve, NASNet, NormalCell, ReductionCell, sep


def test_parameters_are_the_published():
    assert parameters("nasnet_mobile") == 5_289_978


class Times(nn.Layer):
    """x times a factor, each stride-th pixel."""

    def __init__(self, factor: float, stride: int = 1):
        super().__init__()
        self.factor, self.stride = factor, stride

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x[:, :, ::self.stride, ::self.stride] * self.factor


def mean(x: paddle.Tensor, stride: int = 1) -> paddle.Tensor:
    return F.avg_pool2d(x, 3, stride, 1)           # at the rim of the pixels that there are


def test_normal_cell_is_wired_as_in_figure_4():
    cell = NormalCell(2, 3, 4, nn.Identity())
    for name, factor in (("fit", 1), ("squeeze", 1), ("h5", 2), ("p3", 3), ("p5", 5), ("p3b", 7), ("h3", 11)):
        setattr(cell, name, Times(factor))
    h, p = paddle.randn([2, 1, 3, 4]), paddle.randn([2, 1, 3, 4])
    expected = [p, 2 * h + 3 * p, 12 * p, mean(h) + p, 2 * mean(p), 12 * h]
    np.testing.assert_allclose(cell(h, p).numpy(), paddle.concat(expected, 1).numpy(), rtol=1e-4, atol=1e-5)


def test_reduction_cell_is_wired_as_in_figure_4():
    cell = ReductionCell(2, 3, 4, nn.Identity())
    for name, factor in (("fit", 1), ("squeeze", 1), ("y3", 13)):
        setattr(cell, name, Times(factor))
    for name, factor in (("h5", 2), ("p7", 3), ("p7b", 5), ("p5", 7)):
        setattr(cell, name, Times(factor, 2))
    h, p = paddle.randn([2, 1, 5, 6]), paddle.randn([2, 1, 5, 6])
    h2, p2 = h[:, :, ::2, ::2], p[:, :, ::2, ::2]
    y1, largest = 2 * h2 + 3 * p2, F.max_pool2d(h, 3, 2, 1)
    expected = [largest + 5 * p2, mean(h, 2) + 7 * p2, mean(y1) + largest + 5 * p2, 13 * y1 + largest]
    np.testing.assert_allclose(cell(h, p).numpy(), paddle.concat(expected, 1).numpy(), rtol=1e-4, atol=1e-5)


def test_the_cells_layers_have_the_kernels_and_strides_of_figure_4():
    def of(layer):
        convolutions = [part for part in layer.sublayers() if isinstance(part, nn.Conv2D)]
        return [(conv.weight.shape[-1], conv._stride[0]) for conv in convolutions]

    normal, reduction = NormalCell(2, 4, 4, nn.Identity()), ReductionCell(2, 4, 4, nn.Identity())
    for name, size in (("h5", 5), ("p3", 3), ("p5", 5), ("p3b", 3), ("h3", 3)):
        assert of(getattr(normal, name)) == [(size, 1), (1, 1), (size, 1), (1, 1)], name
    for name, size, stride in (("h5", 5, 2), ("p7", 7, 2), ("p7b", 7, 2), ("p5", 5, 2), ("y3", 3, 1)):
        assert of(getattr(reduction, name)) == [(size, stride), (1, 1), (size, 1), (1, 1)], name
    assert [type(part).__name__ for part in sep(2, 4, 3)] == 2 * ["ReLU", "Sequential", "BatchNorm2D"]
    x = paddle.to_tensor(np.arange(25, dtype="float32").reshape(1, 1, 5, 5))
    assert reduction.mean(x).numpy()[0, 0, 0].tolist() == [3, 4.5, 6]


def test_halving_sees_the_even_and_the_odd_pixels():
    layer = Halve(1, 2)
    state = with_statistics(layer)
    for name in ("even", "odd"):
        state[f"{name}.weight"].set_value(paddle.ones([1, 1, 1, 1]))
    layer.bn = nn.Identity()
    x = np.arange(1, 21, dtype="float32").reshape(1, 1, 4, 5)
    y = layer(paddle.to_tensor(x)).numpy()
    np.testing.assert_array_equal(y[0, 0], x[0, 0, ::2, ::2])
    np.testing.assert_array_equal(y[0, 1], [[7, 9, 0], [17, 19, 0]])
    assert not layer(paddle.to_tensor(-x)).numpy().any()


def test_cells_and_their_maps():
    model = NASNet(10, cells=1, penultimate=96)
    model.eval()
    seen = []
    for cell in model.cells:
        cell.register_forward_post_hook(lambda _, __, out: seen.append(out.shape[1:]))
    features = model.forward_features(paddle.randn([1, 3, 67, 60]))
    assert features.shape == [1, 96] and features.numpy().min() >= 0      # a ReLU stands before the average
    assert seen == [[4, 17, 15], [8, 9, 8], [24, 9, 8], [32, 5, 4], [48, 5, 4], [64, 3, 2], [96, 3, 2]]
    assert model(paddle.randn([1, 3, 3, 5])).shape == [1, 10]
    kinds = [type(cell) for cell in build_model("nasnet_mobile", 10, cells=2, penultimate=96).cells]
    n, r = NormalCell, ReductionCell
    assert kinds == [r, r, n, n, r, n, n, r, n, n]


def test_wrong_arguments():
    with pytest.raises(UserError, match="^nasnet: cells=0 must be at least 1$"):
        build_model("nasnet_mobile", 10, cells=0)
    for penultimate in (0, 1000):
        with pytest.raises(UserError, match=f"^nasnet: penultimate={penultimate} must be a multiple of 96 "):
            build_model("nasnet_mobile", 10, penultimate=penultimate)
