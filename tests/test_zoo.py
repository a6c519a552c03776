"""Every network of MODELS, by its name alone: a new line there has its tests. What costs more is done for one of each family."""

import math
import shlex

import numpy as np
import paddle
import pytest
from conftest import ROOT
from paddle import nn

import train
from paddle_cls import checkpoint
from paddle_cls.engine import sample_losses
from paddle_cls.errors import UserError
from paddle_cls.log import read_rows
from paddle_cls.models import MODELS, build_model, facts, table
from paddle_cls.models.profile import profile

EVERY = pytest.mark.parametrize("name", MODELS)
FAMILIES = {(MODELS[name].partition(".")[0], facts(name).paper): name for name in reversed(MODELS)}        # the first of each
ONE_OF_EACH = pytest.mark.parametrize("name", reversed(FAMILIES.values()))
README = {line.split("`")[1]: line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
          if "tests/test_zoo.py::test_network[" in line}


def side(name: str) -> int:
    return max(32, facts(name).smallest)


def images(size: int, count: int = 4) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(count, 3, size, size)).astype("float32"))


def heads(outputs) -> list[tuple[float, paddle.Tensor]]:
    """Return [(weight, logits), ...] of what a network gives in training."""
    return [(1.0, outputs[0]), *outputs[1]] if isinstance(outputs, tuple) else [(1.0, outputs)]


@EVERY
def test_network(name):
    """It gives logits, of the features that it tells; the gradient reaches all it trains; too small images are refused."""
    paddle.seed(0)
    size, smallest = side(name), facts(name).smallest
    model = build_model(name, 10)
    outputs = heads(model(images(size)))
    for _, logits in outputs:
        assert logits.shape == [4, 10] and logits.dtype == paddle.float32 and np.isfinite(logits.numpy()).all()
    labels = paddle.to_tensor([0, 3, 5, 9])
    sum(weight * sample_losses(logits, labels).sum() for weight, logits in outputs).backward()
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
    assert logits.shape == (2, 10) and np.isfinite(logits).all() and np.abs(logits.sum(axis=1) - 1).min() > 1e-3
    head = given[-1:]
    features = model.forward_features(images(size, 2)).numpy()
    assert features.ndim == 2 and len(features) == 2 and not np.array_equal(*features)
    assert not head or np.array_equal(features, head[0])
    if smallest > 1:
        with pytest.raises(UserError, match=f"{smallest}x{smallest}"):
            model(images(smallest - 1, 1))


@EVERY
def test_parameters(name):
    """It has the published number of parameters, or says why not; the README's line says the same."""
    about, counted = facts(name), profile(name, side(name))
    if about.published:
        digits = len(about.published.partition(".")[2])
        assert (f"{counted.parameters / 1e6:.{digits}f}" == about.published) == (not about.differs)
    assert README.get(name) in (None, table.markdown(name, counted.parameters))


def test_the_readme_has_a_line_for_each():
    assert list(README) == list(MODELS), "paste what this prints: python -m paddle_cls.models --format markdown"


@pytest.mark.parametrize("name, size, giga", [
    ("resnet50", 224, 4.089), ("mobilenet_v1", 224, 0.569), ("vgg16", 224, 15.47), ("squeezenet1_1", 224, 0.35),
    ("shufflenet_v2_x1_0", 224, 0.145), ("densenet121", 224, 2.834), ("resnext50_32x4d", 224, 4.23)])
def test_multiply_adds_are_the_published(name, size, giga):
    """As torchvision states them; the papers count 4.1 (ResNet-50), 0.569, 15.5, -, 0.146, -, 4.2."""
    assert profile(name, size).multiply_adds == pytest.approx(giga * 1e9, rel=0.006)


@ONE_OF_EACH
def test_saved_and_exported_it_answers_the_same(name, tmp_path):
    paddle.seed(0)
    model, size = build_model(name, 10), side(name)
    model(images(size))                            # BN's statistics become other than 0 and 1
    model.eval()
    expected = model(images(size)).numpy()
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    paddle.jit.save(model, str(tmp_path / "model"), [paddle.static.InputSpec([None, 3, size, size], "float32")])
    exported = paddle.jit.load(str(tmp_path / "model"))(images(size))
    assert np.abs(probabilities(exported.numpy()) - probabilities(expected)).max() < 1e-4
    for parameter in model.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    assert not np.array_equal(model(images(size)).numpy(), expected)
    checkpoint.load_weights(model, checkpoint.read_weights(tmp_path / "model.pdparams"), "the saved file")
    assert np.array_equal(model(images(size)).numpy(), expected)


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@ONE_OF_EACH
def test_the_command_trains(name, cifar_root, tmp_path, monkeypatch):
    """The README's command, with tiny data and few steps."""
    script, *arguments = shlex.split(table.command(name))[1:]
    assert script == "train.py"
    if profile(name, side(name)).parameters > 5e7:               # gigabytes would be written
        monkeypatch.setattr(checkpoint, "save", lambda *_: None)
    with paddle.utils.unique_name.guard():
        assert train.main([*arguments, "--data-dir", str(cifar_root), "--output-dir", str(tmp_path / "run"), "--batch-size", "4",
                           "--max-steps", "3", "--log-every", "1", "--nproc", "1", "--device", "cpu", "--optimizer", "momentum"]) == 0
    losses = [row["train/loss"] for row in read_rows(tmp_path / "run" / "metrics.jsonl") if "epoch" not in row]
    assert len(losses) == 3 and all(map(math.isfinite, losses)) and len(set(losses)) == 3
