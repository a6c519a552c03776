"""Every network of MODELS, by its name alone: a new line there has its tests. What costs more is done for one of each family."""

import json
import math
import shlex

import cv2
import numpy as np
import paddle
import pytest
from conftest import ROOT
from fakes import rgb
from networks import FAMILIES, built_quickly
from paddle import nn

from paddle_cls.checkpoints import checkpoint
from paddle_cls.errors import UserError
from paddle_cls.models import MODELS, build_model, catalog, facts
from paddle_cls.models.profile import measure, profile
from paddle_cls.programs import infer, train
from paddle_cls.training.log import read_rows
from paddle_cls.training.objective import Objective

EVERY = pytest.mark.parametrize("name", MODELS)
ONE_OF_EACH = pytest.mark.parametrize("name", sorted(FAMILIES.values()))
PAGE = {line.split("`")[1]: line for line in (ROOT / "docs/models.md").read_text(encoding="utf-8").splitlines()
        if "tests/models/test_zoo.py::test_network[" in line}


def side(name: str) -> int:
    return max(32, facts(name).smallest)


def images(size: int, count: int = 4) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(count, 3, size, size)).astype("float32"))


def settle(model: nn.Layer) -> nn.Layer:
    """Make the next batch's statistics those with which batch norm evaluates, so that these depend on the images."""
    for layer in model.sublayers():
        if isinstance(layer, (nn.BatchNorm2D, nn.BatchNorm1D, nn.BatchNorm)):
            layer._momentum = 0.0
    return model


def heads(outputs) -> list[tuple[float, paddle.Tensor]]:
    """Return [(weight, logits), ...] of what a network gives in training."""
    return [(1.0, outputs[0]), *outputs[1]] if isinstance(outputs, tuple) else [(1.0, outputs)]


@pytest.fixture
def quick():
    """Have networks built in a fraction of the time inside the test."""
    with built_quickly():
        yield


@EVERY
def test_network(name, quick):
    """It gives logits, of the features that it tells; the gradient reaches all it trains; it has the published parameters, or
    says why not, and the line of docs/models.md says the same; too small images are refused.
    """
    paddle.seed(0)
    about, size = facts(name), side(name)
    model = settle(build_model(name, about.classes))
    outputs = heads(model(images(size)))
    for _, logits in outputs:
        assert logits.shape == [4, about.classes] and logits.dtype == paddle.float32 and np.isfinite(logits.numpy()).all()
    labels = paddle.to_tensor([0, 3, 5, 9]) % about.classes
    sum(weight * Objective().losses(logits, labels).sum() for weight, logits in outputs).backward()
    parameters = {key: p for key, p in model.named_parameters() if not p.stop_gradient}
    assert all(np.isfinite(p.grad.numpy()).all() for p in parameters.values())
    # A bias before BN shifts nothing: its gradient is rounding alone, and may be 0.
    still = {key for key, p in parameters.items() if not p.grad.numpy().any() and not key.endswith(".bias")}
    assert not still

    model.eval()
    given = []
    for layer in model.sublayers():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[0].numpy()))
    logits = model(images(size, 2)).numpy()
    assert logits.shape == (2, about.classes) and np.abs(logits.sum(axis=1) - 1).min() > 1e-3
    head = given[-1:]
    counted = measure(model, size)
    if hasattr(model, "forward_features"):
        features = model.forward_features(images(size, 2)).numpy()
        assert features.ndim == 2 and len(features) == 2 and not np.array_equal(*features)
        assert not head or np.array_equal(features, head[0])
        assert counted.features == features.shape[1]
    if about.published:
        digits = len(about.published.partition(".")[2])
        assert (f"{counted.parameters / 1e6:.{digits}f}" == about.published) == (not about.differs)
    assert PAGE.get(name) in (None, catalog.markdown(name, counted.parameters))

    if about.smallest > 1:
        with pytest.raises(UserError, match=f"{about.smallest}x{about.smallest}"):
            model(images(about.smallest - 1, 1))


def test_the_page_has_a_line_for_each():
    assert list(PAGE) == list(MODELS), "paste what this prints into docs/models.md: paddle-cls models --format markdown"
    assert catalog.markdown_header() in (ROOT / "docs/models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name, size, giga", [
    ("resnet50", 224, 4.089), ("mobilenet_v1", 224, 0.569), ("vgg16", 224, 15.47), ("squeezenet1_1", 224, 0.35),
    ("shufflenet_v2_x1_0", 224, 0.145), ("densenet121", 224, 2.834), ("resnext50_32x4d", 224, 4.23),
    ("nasnet_mobile", 224, 0.564), ("se_resnet", 224, 3.87)])
def test_multiply_adds_are_the_published(name, size, giga):
    """As torchvision states them; the papers count 4.1 (ResNet-50), 0.569, 15.5, -, 0.146, -, 4.2,
    and the last two as here.
    """
    assert profile(name, size).multiply_adds == pytest.approx(giga * 1e9, rel=0.006)


@ONE_OF_EACH
def test_saved_it_answers_the_same(name, quick, tmp_path):
    paddle.seed(0)
    model, size = settle(build_model(name, 10)), side(name)
    with paddle.no_grad():
        model(images(size, 32))                    # of fewer, batch norm's divisors come near 0, and enlarge what is rounding
    model.eval()
    expected = model(images(size)).numpy()
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    for parameter in model.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    assert not np.array_equal(model(images(size)).numpy(), expected)
    checkpoint.load_weights(model, checkpoint.read_weights(tmp_path / "model.pdparams"), "the saved file")
    assert np.array_equal(model(images(size)).numpy(), expected)


@ONE_OF_EACH
def test_the_command_trains(name, cifar_root, tmp_path, monkeypatch):
    """The command of docs/models.md, with tiny data and few steps."""
    script, *arguments = shlex.split(catalog.command(name))[1:]
    assert script == "train.py"
    if profile(name, side(name)).parameters > 5e7: # gigabytes would be written
        monkeypatch.setattr(checkpoint, "save", lambda *_: {})
    with paddle.utils.unique_name.guard():
        assert train.main([*arguments, "--data-dir", str(cifar_root), "--output-dir", str(tmp_path / "run"), "--nproc", "1",
                           "--batch-size", "4", "--max-steps", "3", "--log-every", "1", "--device", "cpu"]) == 0
    losses = [row["train/loss"] for row in read_rows(tmp_path / "run" / "metrics.jsonl") if "epoch" not in row]
    assert len(losses) == 3 and all(map(math.isfinite, losses)) and len(set(losses)) == 3


def test_a_run_with_further_arguments_resumes_evaluates_and_answers(cifar_root, tmp_path, call):
    folder, data = tmp_path / "run", ("--data-dir", cifar_root)
    common = ("--output-dir", folder, *data, "--nproc", "1", "--device", "cpu", "--batch-size", "10")
    new = ("--model", "mobilenet_v1", "--model-args", "scale=0.25", *common)
    assert call(train, *new, "--epochs", "1").status == 0
    info = checkpoint.read_info(folder / "last")
    assert info.model.model_dump() == {"name": "mobilenet_v1", "arguments": {"scale": 0.25}}
    assert checkpoint.read_weights(folder / "last.pdparams")["fc.weight"].shape == (256, 10)
    done = call(train, *common, "--resume", "--epochs", "2")
    assert done.status == 0 and json.loads(done.out.splitlines()[-1])["step"] == 4
    other = call(train, *common, "--resume", "--model-args", "scale=0.5")
    assert other.status == 2 and "has model_args = {'scale': '0.25'}, not {'scale': '0.5'}" in other.err
    done = call(train, "--eval-only", "--checkpoint", folder / "last", *data)
    assert json.loads(done.out.splitlines()[-1])["acc1"] == checkpoint.read_info(folder / "last").metrics["val/acc1"]
    cv2.imwrite(str(tmp_path / "picture.png"), rgb(0))
    done = call(infer, "--image", tmp_path / "picture.png", "--checkpoint", folder, "--format", "csv")
    assert done.status == 0 and "picture.png" in done.out


def test_a_networks_evaluation_and_export_give_the_main_head_only():
    model = build_model("googlenet", 10)
    logits, auxiliary = model(images(61))
    assert [weight for weight, _ in auxiliary] == [0.3, 0.3] and logits.shape == auxiliary[1][1].shape == [4, 10]
    model.eval()
    assert isinstance(model(images(61)), paddle.Tensor)


def test_squeezenets_one_output_can_say_no():
    model = build_model("squeezenet1_1", 1)
    model._conv9.bias.set_value(paddle.full([1], -100.0))
    model.eval()
    assert (model(images(32)).numpy() < -1).all()
    assert build_model("squeezenet1_1", 2)(images(32)).numpy().min() >= 0
