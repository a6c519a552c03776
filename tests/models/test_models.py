"""The tutorial's networks against its definition, written down here a second time, as names, shapes and arithmetic.

test_zoo.py has what is tested of every network.
"""

import functools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from networks import normed, with_statistics
from paddle import nn

from paddle_cls.errors import UserError
from paddle_cls.models import build_model, check_name, count_parameters, model_arguments
from paddle_cls.models.resnet import basicblock, conv_bn_layer, layer_warp, shortcut
from paddle_cls.models.vgg import conv_block

SMALL = {"resnet": {"depth": 8}}                   # the arguments with which a test builds a model quickly
SIDE = {"lenet": 224, "alexnet": 224}              # pixels that a model needs; the others are tried with 32
OURS = pytest.mark.parametrize("name", ["alexnet", "lenet", "resnet", "resnet_small", "vgg"])


@functools.cache                                   # a VGG takes half a second to build
def built(name: str, classes: int = 10) -> nn.Layer:
    """Return a model in eval mode that no test changes."""
    paddle.seed(0)
    model = build_model(name, classes, **SMALL.get(name, {}))
    model.eval()
    return model


def images(count: int = 2, size: int = 32, seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype("float32"))


def conv(name: str, ch_in: int, ch_out: int, size: int, bias: bool) -> dict:
    return {f"{name}.weight": [ch_out, ch_in, size, size], **({f"{name}.bias": [ch_out]} if bias else {})}


def bn(name: str, channels: int) -> dict:
    return {f"{name}.{part}": [channels] for part in ("weight", "bias", "_mean", "_variance")}


def linear(name: str, ch_in: int, ch_out: int) -> dict:
    return {f"{name}.weight": [ch_in, ch_out], f"{name}.bias": [ch_out]}


def resnet_shapes(depth: int, classes: int) -> dict:
    """Return {name: shape} of the tutorial's resnet_cifar10: a bias in each block's second convolution only."""
    shapes = conv("conv1.conv", 3, 16, 3, False) | bn("conv1.bn", 16)
    ch_in = 16
    for group, ch_out in enumerate((16, 32, 64), 1):
        for i in range((depth - 2) // 6):
            block = f"res{group}.{i}"
            shapes |= conv(f"{block}.conv1.conv", ch_in, ch_out, 3, False) | bn(f"{block}.conv1.bn", ch_out)
            shapes |= conv(f"{block}.conv2.conv", ch_out, ch_out, 3, True) | bn(f"{block}.conv2.bn", ch_out)
            if ch_in != ch_out:
                shapes |= conv(f"{block}.shortcut.conv", ch_in, ch_out, 1, False) | bn(f"{block}.shortcut.bn", ch_out)
            ch_in = ch_out
    return shapes | linear("fc", 64, classes)


def vgg_shapes(classes: int) -> dict:
    """Return {name: shape} of the tutorial's vgg_bn_drop."""
    shapes, ch_in = {}, 3
    for block, (count, ch_out) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for i in range(1, count + 1):
            shapes |= conv(f"conv{block}.conv{i}", ch_in, ch_out, 3, True) | bn(f"conv{block}.bn{i}", ch_out)
            ch_in = ch_out
    return shapes | linear("fc1", 512, 512) | bn("bn", 512) | linear("fc2", 512, 512) | linear("fc3", 512, classes)


def trained_numbers(shapes: dict) -> int:
    return sum(int(np.prod(shape)) for name, shape in shapes.items() if not name.endswith(("._mean", "._variance")))


@pytest.mark.parametrize("depth, millions", [(8, None), (20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_resnet_has_the_tutorials_weights(depth, millions):
    model = build_model("resnet", 10, depth=depth)
    expected = resnet_shapes(depth, 10)
    assert {name: value.shape for name, value in model.state_dict().items()} == expected
    count = trained_numbers(expected)
    assert count_parameters(model) == count
    if millions:                                   # He et al. 2015, table 6: nearly so, their shortcuts have no weights
        assert abs(count / 1e6 - float(millions)) < (0.05 if millions == "1.7" else 0.01)


def test_vgg_has_the_tutorials_weights():
    model = build_model("vgg", 10)
    expected = vgg_shapes(10)
    assert {name: value.shape for name, value in model.state_dict().items()} == expected
    assert count_parameters(model) == trained_numbers(expected)
    assert round(count_parameters(model) / 1e6, 2) == 15.25
    assert [layer.p for layer in model.sublayers() if isinstance(layer, nn.Dropout)] == [0.3] + 7 * [0.4] + 2 * [0.5]


def test_vgg_block_is_convolution_norm_relu_dropout_pool():
    kinds = [type(layer).__name__ for layer in conv_block(3, 8, 2, [0.3, 0])]
    assert kinds == ["Conv2D", "BatchNorm2D", "ReLU", "Dropout", "Conv2D", "BatchNorm2D", "ReLU", "MaxPool2D"]


def conv_bn(x, state, name, stride=1, padding=1):
    x = F.conv2d(x, state[f"{name}.conv.weight"], state.get(f"{name}.conv.bias"), stride, padding)
    return normed(x, state, f"{name}.bn")


def test_resnet_computes_what_the_tutorial_defines():
    model = build_model("resnet", 10, depth=14)
    state = with_statistics(model)
    x = F.relu(conv_bn(images(), state, "conv1"))
    for group in (1, 2, 3):
        for i in (0, 1):
            block, stride = f"res{group}.{i}", 2 if group > 1 and i == 0 else 1
            y = conv_bn(F.relu(conv_bn(x, state, f"{block}.conv1", stride)), state, f"{block}.conv2")
            x = F.relu(y + (conv_bn(x, state, f"{block}.shortcut", stride, 0) if stride == 2 else x))
    assert x.shape == [2, 64, 8, 8]
    features = F.avg_pool2d(x, 8).flatten(1)
    logits = features @ state["fc.weight"] + state["fc.bias"]
    np.testing.assert_allclose(model(images()).numpy(), logits.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.forward_features(images()).numpy(), features.numpy(), rtol=1e-4, atol=1e-5)


def test_vgg_computes_what_the_tutorial_defines():
    model = build_model("vgg", 10)
    state = with_statistics(model)
    x = images()
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            x = F.conv2d(x, state[f"conv{block}.conv{i}.weight"], state[f"conv{block}.conv{i}.bias"], padding=1)
            x = F.relu(normed(x, state, f"conv{block}.bn{i}"))
        x = F.max_pool2d(x, 2, 2)
    x = x.flatten(1) @ state["fc1.weight"] + state["fc1.bias"]
    features = F.relu(normed(x, state, "bn")) @ state["fc2.weight"] + state["fc2.bias"]
    logits = (features @ state["fc3.weight"] + state["fc3.bias"]).numpy()
    np.testing.assert_allclose(model(images()).numpy(), logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


@OURS
@pytest.mark.parametrize("classes", [1, 10, 37])
def test_logits_have_a_column_a_class_and_are_no_probabilities(name, classes):
    logits = built(name, classes)(images(3, SIDE.get(name, 32))).numpy()
    assert logits.shape == (3, classes) and logits.dtype == np.float32 and np.isfinite(logits).all()
    assert logits.min() < 0 or np.abs(logits.sum(axis=1) - 1).min() > 1e-3


@OURS
def test_convolutions_start_as_he_et_al_say(name):
    large = [layer.weight for layer in built(name).sublayers() if isinstance(layer, nn.Conv2D) and layer.weight.size > 9000]
    assert large
    for weight in large:
        assert weight.numpy().std() == pytest.approx(np.sqrt(2 / np.prod(weight.shape[1:])), rel=0.05)


@pytest.mark.parametrize("depth, near", [(33, "32 or 38"), (21, "20 or 26"), (19, "14 or 20"), (2, "8"), (0, "8"), (-4, "8")])
def test_other_depths_are_refused_with_the_nearest(depth, near):
    with pytest.raises(UserError, match=rf"depth={depth} is not 6n\+2 .*; try {near}$"):
        build_model("resnet", 10, depth=depth)


def test_other_wrong_arguments():
    with pytest.raises(UserError, match="unknown model 'resnett'; did you mean 'resnet'"):
        check_name("resnett")
    with pytest.raises(UserError, match="unknown model 'lstm'; paddle-cls models lists the known"):
        build_model("lstm", 10)
    with pytest.raises(UserError, match="model 'vgg' takes no depth; it takes: image_size"):
        build_model("vgg", 10, depth=20)
    with pytest.raises(UserError, match="num_classes=0 must be at least 1"):
        build_model("resnet", 0)
    with pytest.raises(UserError, match="image_size=31 is under 32"):
        build_model("vgg", 10, image_size=31)
    with pytest.raises(UserError, match="built for 32x32 images and was given 48x48; pass image_size=48"):
        build_model("vgg", 10)(images(1, 48))
    with pytest.raises(UserError, match="act='tanh' must be 'relu' or None"):
        conv_bn_layer(3, 8, 3, 1, 1, act="tanh")
    with pytest.raises(UserError, match="1 dropouts for 2 convolutions"):
        conv_block(3, 8, 2, [0.5])


@pytest.mark.parametrize("name, size", [("resnet", 17), ("resnet", 64), ("vgg", 64)])
def test_other_image_sizes(name, size):
    arguments = {"image_size": size} if "image_size" in model_arguments(name) else SMALL[name]
    model = build_model(name, 10, **arguments)
    model.eval()
    assert model(images(1, size)).shape == [1, 10]


def test_the_tutorials_parts_have_its_shapes():
    x = paddle.ones([1, 16, 8, 8])
    assert isinstance(shortcut(16, 16, 1), nn.Identity)
    assert shortcut(16, 32, 2)(x).shape == [1, 32, 4, 4]
    assert basicblock(16, 32, 2)(x).shape == [1, 32, 4, 4]
    group = layer_warp(basicblock, 16, 32, 3, 2)
    assert len(group) == 3 and group(x).shape == [1, 32, 4, 4]
    assert conv_bn_layer(16, 4, 3, 1, 1, act=None)(x).numpy().min() < 0 <= conv_bn_layer(16, 4, 3, 1, 1)(x).numpy().min()
