"""EfficientNet: the published counts and shapes of B0 to B7, its block computed a second time, stochastic depth."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import normed, parameters, with_statistics
from paddle import nn

from paddle_cls.errors import UserError
from paddle_cls.models import build_model, model_arguments
from paddle_cls.models.efficientnet import SCALING, STAGES, MBConv, scale_depth, scale_width
from paddle_cls.models.profile import profile

PUBLISHED = [                                      # of each of B0 to B7: parameters, stem, the stages' channels, layers, features
    (5_288_548, 32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 1280),
    (7_794_184, 32, (16, 24, 40, 80, 112, 192, 320), (2, 3, 3, 4, 4, 5, 2), 1280),
    (9_109_994, 32, (16, 24, 48, 88, 120, 208, 352), (2, 3, 3, 4, 4, 5, 2), 1408),
    (12_233_232, 40, (24, 32, 48, 96, 136, 232, 384), (2, 3, 3, 5, 5, 6, 2), 1536),
    (19_341_616, 48, (24, 32, 56, 112, 160, 272, 448), (2, 4, 4, 6, 6, 8, 2), 1792),
    (30_389_784, 48, (24, 40, 64, 128, 176, 304, 512), (3, 5, 5, 7, 7, 9, 3), 2048),
    (43_040_704, 56, (32, 40, 72, 144, 200, 344, 576), (3, 6, 6, 8, 8, 11, 3), 2304),
    (66_347_960, 64, (32, 48, 80, 160, 224, 384, 640), (4, 7, 7, 10, 10, 13, 4), 2560)]


@pytest.mark.parametrize("b, published", enumerate(PUBLISHED))
def test_b0_to_b7_are_the_published(b, published):
    width, depth, _, dropout, _ = SCALING[b]
    assert parameters(f"efficientnet_b{b}") == published[0]
    channels = tuple(scale_width(channels, width) for *_, channels, _, _ in STAGES)
    layers = tuple(scale_depth(layers, depth) for *_, layers, _ in STAGES)
    assert (scale_width(32, width), channels, layers, scale_width(1280, width)) == published[1:]
    assert set(model_arguments(f"efficientnet_b{b}")) >= {"width_factor", "depth_factor", "dropout", "drop_connect"}
    if b == 0:
        model = build_model("efficientnet_b0", 10)
        model.eval()
        x, heights = model.stem(paddle.zeros([1, 3, 64, 40])), []
        for block in model.blocks:
            x = block(x)
            heights.append(x.shape[2])
        assert heights == [32, 16, 16, 8, 8, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2] and x.shape[3] == 2
        assert model.forward_features(paddle.zeros([1, 3, 32, 40])).shape == [1, 1280]
        assert [block.drop.p for block in model.blocks if block.drop] == pytest.approx(
            [0.2 * i / 16 for i in (2, 4, 6, 7, 9, 10, 12, 13, 14)])
        assert model.drop.p == dropout == 0.2
        assert all(layer._momentum == 0.99 for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D))


def test_b0_has_table_2s_multiply_adds():
    assert f"{profile('efficientnet_b0').multiply_adds / 1e9:.2f}" == "0.39"


def test_scaling_factors_are_arguments():
    assert parameters("efficientnet_b0", width_factor=1.1, depth_factor=1.2) == PUBLISHED[2][0]


def test_width_is_rounded_to_eights_and_loses_a_tenth_at_most():
    assert [scale_width(c, 1.0) for c in (1, 8, 11, 12, 16, 20)] == [8, 8, 16, 16, 16, 24]


@pytest.mark.parametrize("expansion, size, ch_out, stride", [(1, 3, 8, 1), (6, 3, 8, 1), (6, 5, 8, 2), (6, 5, 12, 1)])
def test_a_block_computes_what_the_paper_defines(expansion, size, ch_out, stride):
    block = MBConv(8, ch_out, expansion, size, stride, drop=0.5)
    state = with_statistics(block)
    x = y = paddle.randn([2, 8, 6, 5])
    at = 0
    if expansion > 1:
        y = F.silu(normed(F.conv2d(y, state["branch.0.weight"]), state, "branch.1"))
        at = 3
    y = F.conv2d(y, state[f"branch.{at}.weight"], None, stride, size // 2, groups=8 * expansion)
    y = F.silu(normed(y, state, f"branch.{at + 1}"))
    gate = y.mean([2, 3], keepdim=True)
    assert state[f"branch.{at + 3}.gate.1.weight"].shape == [2, 8 * expansion, 1, 1]      # a quarter of the block's input
    for i, act in ((1, F.silu), (3, F.sigmoid)):
        gate = act(F.conv2d(gate, state[f"branch.{at + 3}.gate.{i}.weight"], state[f"branch.{at + 3}.gate.{i}.bias"]))
    y = normed(F.conv2d(y * gate, state[f"branch.{at + 4}.weight"]), state, f"branch.{at + 5}")
    if ch_out == 8 and stride == 1:
        y = y + x
    np.testing.assert_allclose(block(x).numpy(), y.numpy(), rtol=1e-3, atol=1e-4)


def test_stochastic_depth_drops_whole_samples_in_training_and_keeps_the_mean():
    paddle.seed(0)
    block = MBConv(8, 8, 1, 3, 1, drop=0.25)
    block.branch = nn.Identity()
    x = paddle.ones([4000, 8, 1, 2])
    way = block(x).numpy()                         # 1 of the shortcut + 0 or 4/3 of the branch
    assert np.unique(way).tolist() == pytest.approx([1, 1 + 4 / 3])
    assert (way == way[:, :1, :, :1]).all()
    assert (way[:, 0, 0, 0] == 1).mean() == pytest.approx(0.25, abs=0.03)
    assert way.mean() == pytest.approx(2, abs=0.04)
    block.eval()
    assert (block(x).numpy() == 2).all()


def test_wrong_arguments():
    for wrong, message in (({"width_factor": 0.0}, r"width_factor=0\.0 and depth_factor=1\.0 must be above 0"),
                           ({"depth_factor": -1.0}, r"width_factor=1\.0 and depth_factor=-1\.0 must be above 0"),
                           ({"dropout": 1.0}, r"dropout=1\.0 must be at least 0 and below 1"),
                           ({"drop_connect": -0.1}, r"drop_connect=-0\.1 must be at least 0 and below 1")):
        with pytest.raises(UserError, match=f"^efficientnet: {message}$"):
            build_model("efficientnet_b0", 10, **wrong)
