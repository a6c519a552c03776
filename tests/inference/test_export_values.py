"""Exports against dygraph: the same answers by each engine, in batches of any size, from several threads, without the files."""

import os
import shutil
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from exporting import noise, probabilities, trained

from paddle_cls import ops
from paddle_cls.data.images.transforms import CIFAR10
from paddle_cls.errors import UserError
from paddle_cls.inference import cached, convert
from paddle_cls.inference.engines import OpenVINO, PaddleInference


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_the_tutorials_networks_answer_as_dygraph_does_in_batches_of_any_size(name, tmp_path):
    model = trained(name)
    before = [float(value.sum()) for value in model.state_dict().values()]
    engine = cached.export(model, CIFAR10, 32, tmp_path / "made")
    assert isinstance(engine, OpenVINO)
    pixels = noise(65)
    expected = probabilities(model, pixels)
    assert expected.max() < 0.9999 and np.ptp(expected, axis=0).max() > 1e-2           # or equality would say nothing
    for count in (3, 1, 65, 1):
        np.testing.assert_allclose(probabilities(engine, pixels[:count]), expected[:count], rtol=0, atol=1e-4)
    assert not model.training and [float(value.sum()) for value in model.state_dict().values()] == before


@pytest.mark.parametrize("name, size", [("lenet", 224), ("alexnet", 224), ("resnet_small", 32)])
def test_the_eye_disease_networks_answer_as_dygraph_does(name, size, tmp_path):
    model = trained(name, **({"image_size": size} if size == 224 else {}))
    engine = cached.export(model, CIFAR10, size, tmp_path / "made")
    np.testing.assert_allclose(probabilities(engine, noise(5, size)), probabilities(model, noise(5, size)), rtol=0, atol=1e-4)


@pytest.mark.skipif(not ops.available()[0], reason="no compiled operators here")
def test_an_accelerated_model_can_be_exported_and_stays_accelerated(tmp_path):
    model = trained("resnet", depth=8)
    ops.accelerate(model)
    kinds = [type(layer) for layer in model.sublayers()]
    engine = cached.export(model, CIFAR10, 32, tmp_path / "made")
    np.testing.assert_allclose(probabilities(engine, noise(3)), probabilities(model, noise(3)), atol=1e-4)
    assert [type(layer) for layer in model.sublayers()] == kinds


@pytest.fixture
def without_openvino(monkeypatch, capsys) -> Iterator[None]:
    """A machine that OpenVINO has no wheel for; it is told once that it is missing."""
    monkeypatch.setattr(cached, "has_openvino", lambda: False)
    yield
    said = "OpenVINO is not installed (pip install openvino); Paddle Inference computes, slower\n"
    assert capsys.readouterr().err == said


def test_without_openvino_paddle_inference_answers(without_openvino, tmp_path):
    model = trained("resnet", depth=8)
    made = cached.make(tmp_path / "made", model, CIFAR10, 32)
    for engine in (made, cached.load(tmp_path / "made")):
        assert isinstance(engine, PaddleInference)
        np.testing.assert_allclose(probabilities(engine, noise(3)), probabilities(model, noise(3)), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="^--precision bfloat16: needs OpenVINO; pip install openvino, or leave out --precision$"):
        cached.load(tmp_path / "made", "bfloat16")


def test_what_openvino_cannot_have_paddle_inference_computes(tmp_path, monkeypatch, capsys):
    def refuse(*_) -> None:
        raise RuntimeError("Check failed\nat line 3")

    monkeypatch.setattr(convert, "to_openvino", refuse)
    assert isinstance(cached.export(trained("resnet", depth=8), CIFAR10, 32, tmp_path / "made"), PaddleInference)
    assert capsys.readouterr().err == "OpenVINO cannot have this network (Check failed); Paddle Inference computes, slower\n"


@pytest.mark.parametrize("kind", [OpenVINO, PaddleInference])
def test_an_engine_needs_no_file_and_serves_several_threads(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "has_openvino", lambda: kind is OpenVINO)
    cached.make(tmp_path / "export", trained("resnet", depth=8), CIFAR10, 32)
    engine = cached.load(tmp_path / "export")
    assert isinstance(engine, kind)
    for file in (tmp_path / "export").iterdir():
        os.truncate(file, 1)
    shutil.rmtree(tmp_path / "export")
    parts = [noise(i, seed=i) for i in range(1, 9)]
    expected, found = [engine(part).logits for part in parts], {}

    def work(place: int) -> None:
        for _ in range(20):
            found.setdefault(place, []).append(engine(parts[place]).logits)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(answer, expected[place]) for place in range(8) for answer in found[place])
