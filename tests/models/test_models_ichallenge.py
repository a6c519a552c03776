"""The eye-disease networks against the tutorial's layers, written down here a second time, and LeNet's other start."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddle_cls.errors import UserError
from paddle_cls.models import build_model, count_parameters
from paddle_cls.training.optimizers import build_optimizer, scales, trainable

LENET = {"conv1": (6, 3, 5, 5), "conv2": (16, 6, 5, 5), "conv3": (120, 16, 4, 4), "fc1": (300000, 64), "fc2": (64, 1)}
ALEXNET = {"conv1": (96, 3, 11, 11), "conv2": (256, 96, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 384, 3, 3),
           "conv5": (256, 384, 3, 3), "fc1": (12544, 4096), "fc2": (4096, 4096), "fc3": (4096, 1)}


def fundus(count: int = 2) -> paddle.Tensor:
    """Return images in [-1, 1] that differ from each other as photographs do: in smooth spots."""
    coarse = np.random.default_rng(0).uniform(-1, 1, (count, 3, 14, 14)).astype(np.float32)
    return F.interpolate(paddle.to_tensor(coarse), [224, 224], mode="bilinear")


@pytest.mark.parametrize("name, layers", [("lenet", LENET), ("alexnet", ALEXNET)])
def test_weights_are_the_tutorials(name, layers):
    expected = {f"{layer}.weight": list(shape) for layer, shape in layers.items()}
    expected |= {f"{layer}.bias": [shape[1] if len(shape) == 2 else shape[0]] for layer, shape in layers.items()}
    model = build_model(name, 1)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected
    assert count_parameters(model) == sum(int(np.prod(shape)) for shape in expected.values())


def test_lenet_computes_what_the_tutorial_defines():
    model = build_model("lenet", 1, init="zero_mean")
    s = model.state_dict()
    x = images = fundus()
    for layer in ("conv1", "conv2"):
        x = F.max_pool2d(F.sigmoid(F.conv2d(x, s[f"{layer}.weight"], s[f"{layer}.bias"])), 2, 2)
    x = F.sigmoid(F.conv2d(x, s["conv3.weight"], s["conv3.bias"])).flatten(1)
    features = F.sigmoid(x @ s["fc1.weight"] + s["fc1.bias"])
    logits = features @ s["fc2.weight"] + s["fc2.bias"]
    assert x.shape == [2, 300000]
    np.testing.assert_allclose(model(images).numpy(), logits.numpy(), rtol=1e-4, atol=1e-5)


def test_alexnet_computes_what_the_tutorial_defines():
    model = build_model("alexnet", 1)
    model.eval()
    s, x = model.state_dict(), fundus()
    for layer, stride, padding, pool in (("conv1", 4, 5, 1), ("conv2", 1, 2, 1), ("conv3", 1, 1, 0), ("conv4", 1, 1, 0),
                                         ("conv5", 1, 1, 1)):
        x = F.relu(F.conv2d(x, s[f"{layer}.weight"], s[f"{layer}.bias"], stride, padding))
        x = F.max_pool2d(x, 2, 2) if pool else x
    assert x.shape == [2, 256, 7, 7]
    x = x.flatten(1)
    for layer in ("fc1", "fc2"):
        x = F.relu(x @ s[f"{layer}.weight"] + s[f"{layer}.bias"])
    logits = x @ s["fc3.weight"] + s["fc3.bias"]
    np.testing.assert_allclose(model(fundus()).numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)
    assert [layer.p for layer in model.sublayers() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize("name", ["lenet", "alexnet"])
def test_another_image_size_is_refused(name):
    with pytest.raises(UserError, match=f"{name}: image_size=32, .* fits 224x224 images only; use --image-size 224"):
        build_model(name, 1, image_size=32)
    with pytest.raises(UserError, match=f"{name} takes 224x224 images and was given 64x65"):
        build_model(name, 1)(paddle.zeros([1, 3, 64, 65]))


def test_another_init_is_refused():
    with pytest.raises(UserError, match="lenet: init='he' must be one of tutorial, zero_mean"):
        build_model("lenet", 1, init="he")
    with pytest.raises(UserError, match="model 'alexnet' takes no init; it takes: image_size"):
        build_model("alexnet", 1, init="he")


def test_zero_mean_start_lets_lenet_tell_photographs_apart():
    """Before each sigmoid the sums lie around 0, wide enough to use its slope; as the tutorial has it they hardly differ."""
    spread = {}
    for init in ("tutorial", "zero_mean"):
        paddle.seed(0)
        model = build_model("lenet", 1, init=init)
        sums = {}
        for name in ("conv2", "conv3", "fc1"):
            getattr(model, name).register_forward_post_hook(
                lambda _, __, out, name=name, sums=sums: sums.update({name: out.numpy()}))
        logits = model(fundus(8)).numpy()
        assert abs(sums["fc1"].mean()) < 0.5 or init == "tutorial"
        spread[init] = logits.std()
        if init == "zero_mean":
            assert all(0.05 < abs(value).mean() < 4 for value in sums.values())
            for layer, axes in (("conv2", (1, 2, 3)), ("conv3", (1, 2, 3)), ("fc1", 0), ("fc2", 0)):
                weight, bias = getattr(model, layer).weight.numpy(), getattr(model, layer).bias.numpy()
                np.testing.assert_allclose(bias, -0.5 * weight.sum(axes), rtol=1e-3, atol=1e-3)
            assert model.conv3.weight.numpy().std() == pytest.approx(4 * np.sqrt(2 / (16 * (16 + 120))), rel=0.03)
    assert spread["zero_mean"] > 2 * spread["tutorial"]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "momentum", "nesterov"])
@pytest.mark.parametrize("spare", [False, True])
def test_lr_scale_changes_the_step_of_its_layer_only(optimizer, spare):
    def steps(lr_scale):
        paddle.seed(0)
        model = nn.Sequential(("fc1", nn.Linear(3, 4)), ("fc10", nn.Linear(4, 2)))
        before = {name: p.numpy() for name, p in model.named_parameters()}
        chosen = build_optimizer(optimizer, model, lr_scale=lr_scale, decay_norm_bias=not spare)
        for _ in range(2):
            chosen.set_lr(0.1)
            paddle.add_n([(p * 0.5).sum() for p in trainable(model)]).backward()
            chosen.step()
            chosen.clear_grad()
        return {name: p.numpy() - before[name] for name, p in model.named_parameters()}

    plain, scaled = steps(None), steps({"fc1": 0.01})
    for name, step in plain.items():
        assert abs(step).min() > 0.05
        np.testing.assert_allclose(scaled[name], step * (0.01 if name.startswith("fc1.") else 1), rtol=1e-3, atol=1e-6)


def test_lr_scale_by_names():
    model = nn.Sequential(("a", nn.Sequential(("b", nn.Linear(1, 1)), ("c", nn.Linear(1, 1)))), ("d", nn.Linear(1, 1)))
    assert scales(model, {"a": 0.5, "a.c": 0.1, "d": 3}) == pytest.approx([0.5, 0.5, 0.05, 0.05, 3, 3])
    with pytest.raises(UserError, match=r"lr_scale: unknown layer 'a.e'; did you mean 'a\.[bc]'"):
        scales(model, {"a.e": 1})


def test_lr_scale_as_flag_and_in_yaml(tmp_path):
    from paddle_cls.programs.settings.command_line import parse, read_yaml, to_yaml
    from paddle_cls.programs.settings.fields import Config
    config, _ = parse(Config, ["--lr-scale", "fc1=0.003,conv1=2"], program="x", description="")
    assert config.lr_scale == {"fc1": 0.003, "conv1": 2.0}
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert read_yaml(tmp_path / "c.yaml")["lr_scale"] == config.lr_scale
    (tmp_path / "c.yaml").write_text("lr_scale: {fc1: 3e-3}\n")
    assert read_yaml(tmp_path / "c.yaml")["lr_scale"] == {"fc1": 0.003}
    for text, message in (("fc1", r"--lr-scale: fc1: needs a value \(a number\)"),
                          ("", r"--lr-scale: : needs a value \(a number\)"), ("fc1=x", "--lr-scale: fc1: 'x' is not a number"),
                          ("fc1=-1", r"--lr-scale: fc1: -1\.0 must be at least 0")):
        with pytest.raises(UserError, match=f"^{message}$"):
            parse(Config, ["--lr-scale", text], program="x", description="")


def test_resnet_small_has_its_size_and_takes_any():
    model = build_model("resnet_small", 1)
    assert count_parameters(model) == 693985
    model.eval()
    assert model(paddle.zeros([1, 3, 33, 47])).shape == [1, 1]
    assert model.forward_features(fundus(1)).shape == [1, 192]
