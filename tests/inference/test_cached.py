"""Exported networks: the same answers as dygraph for every model, kept whole in the cache, made again when damaged."""

import os
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
from fakes import rgb
from paddle import nn

from paddle_cls import models, ops
from paddle_cls.checkpoints import checkpoint
from paddle_cls.data.images.transforms import CIFAR10, IMAGENET
from paddle_cls.errors import UserError
from paddle_cls.evaluation import metrics
from paddle_cls.inference import cached, convert
from paddle_cls.inference.engines import OpenVINO, PaddleInference
from paddle_cls.inference.predictor import Predictor
from paddle_cls.models import build_model
from paddle_cls.system import runtime

PICTURES = [rgb(i) for i in range(3)]
WEIGHTS = "network.bin"


def trained(name: str, **arguments) -> nn.Layer:
    """Return a network with uneven batch norms that fit its layers, as after training, so that its logits are around 1."""
    paddle.seed(0)
    model = build_model(name, 10, **arguments)
    for norm in [layer for layer in model.sublayers() if isinstance(layer, (nn.BatchNorm1D, nn.BatchNorm2D))]:
        norm._momentum = 0.0
        norm.weight.set_value(paddle.uniform(norm.weight.shape, min=0.5, max=1.5))
        norm.bias.set_value(paddle.uniform(norm.bias.shape, min=-0.5, max=0.5))
    model.train()
    with paddle.no_grad():
        model(paddle.randn([16, 3, arguments.get("image_size", 32), arguments.get("image_size", 32)]))
    model.eval()
    return model


def probabilities(function, pixels: np.ndarray) -> np.ndarray:
    """Return what a network in evaluation mode, or an engine, says."""
    if not isinstance(function, nn.Layer):
        return metrics.probabilities(function(pixels).logits)
    with runtime.evaluating(function):
        return metrics.probabilities(function(paddle.to_tensor(CIFAR10(pixels))).numpy())


def noise(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


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


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of an exported ResNet-8; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "export"
    cached.make(folder, trained("resnet", depth=8), CIFAR10, 32)
    return folder


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


def test_the_place_depends_on_all_that_makes_the_network(tmp_path, monkeypatch):
    about = {"name": "resnet", "num_classes": 10, "depth": 20}
    shutil.copytree(Path(models.__file__).parent, tmp_path / "models")
    monkeypatch.setattr(models, "__file__", str(tmp_path / "models" / "__init__.py"))
    places = [cached.folder_for("a", about, 32, CIFAR10), cached.folder_for("b", about, 32, CIFAR10),
              cached.folder_for("a", {**about, "depth": 32}, 32, CIFAR10), cached.folder_for("a", about, 64, CIFAR10),
              cached.folder_for("a", about, 32, IMAGENET)]
    with open(tmp_path / "models" / "resnet.py", "a") as file:
        file.write("# another network\n")
    places.append(cached.folder_for("a", about, 32, CIFAR10))
    for changed in ("openvino", "paddlepaddle"):
        monkeypatch.setattr(runtime, "version_of", lambda *names, changed=changed: str(changed in names))
        places.append(cached.folder_for("a", about, 32, CIFAR10))
    assert len(set(places)) == 8 and cached.folder_for("a", about, 32, CIFAR10) == places[-1]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder, of which only what Predictor exports is used."""
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "exports"


def answer(run_folder: Path) -> np.ndarray:
    return Predictor.from_checkpoint(run_folder, device="cpu")(PICTURES)


def test_the_second_predictor_takes_the_export_and_builds_no_network(cache, run_folder, monkeypatch, capfd):
    first = Predictor.from_checkpoint(run_folder, device="cpu")
    expected = first(PICTURES)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "load", None)
        patch.setattr(cached, "export", None)
        second = Predictor.from_checkpoint(run_folder, device="cpu")
        assert np.array_equal(second(PICTURES), expected)
    assert len(list(cache.iterdir())) == 1 and capfd.readouterr().err == ""
    assert np.array_equal(second.features(PICTURES), first.features(PICTURES))           # they need it
    assert second.model.fc.weight.shape == [64, 10]


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1]),
    lambda folder: (folder / WEIGHTS).write_bytes(b"\0" * (folder / WEIGHTS).stat().st_size),
    lambda folder: (folder / WEIGHTS).unlink(), lambda folder: (folder / cached.SUMS).unlink(),
    lambda folder: (folder / cached.SUMS).write_text('{"inference'), lambda folder: (folder / cached.SUMS).write_bytes(b"\xff"),
    lambda folder: (shutil.rmtree(folder), folder.write_text("a file")), shutil.rmtree])
def test_a_damaged_export_is_not_taken(made, tmp_path, damage):
    folder = tmp_path / "export"
    shutil.copytree(made, folder)
    assert cached.load(folder)
    damage(folder)
    assert cached.load(folder) is None


def test_a_damaged_export_is_made_again(cache, run_folder):
    expected = answer(run_folder)
    folder, = cache.iterdir()
    (folder / WEIGHTS).write_bytes(b"")
    np.testing.assert_allclose(answer(run_folder), expected, atol=1e-6)
    assert list(cache.iterdir()) == [folder] and cached.load(folder)


def test_an_export_that_is_broken_off_leaves_nothing(tmp_path, monkeypatch):
    def broken_off(network, normalization, image_size, folder, precision):
        folder.mkdir()
        (folder / WEIGHTS).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cached, "export", broken_off)
    with pytest.raises(KeyboardInterrupt):
        cached.make(tmp_path / "name", None, CIFAR10, 32)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(run_folder, tmp_path, monkeypatch, capsys):
    expected = answer(run_folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "file"))
    capsys.readouterr()
    np.testing.assert_allclose(answer(run_folder), expected, atol=1e-6)
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path}/file/exports/") and error.count("\n") == 1
    assert error.endswith(": cannot be written (Not a directory); name another folder with PADDLE_CLS_CACHE; "
                          "the network is exported again at each start\n")


def test_where_nothing_can_be_written_that_is_a_mistake(cache, run_folder, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written: .*; free some space or choose another folder"):
            answer(run_folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.iterdir()) == []
    assert "the network is exported again at each start" in capsys.readouterr().err


def test_an_export_that_answers_otherwise_is_not_used(cache, run_folder, monkeypatch, capsys):
    expected = answer(run_folder)
    folder, = cache.iterdir()
    shutil.rmtree(folder)
    whole = convert.Whole

    def other(network, normalization):
        changed = whole(network, normalization)
        changed.network.fc.bias.set_value(changed.network.fc.bias + paddle.arange(10.0))
        return changed

    monkeypatch.setattr(convert, "Whole", other)
    capsys.readouterr()
    predictor = Predictor.from_checkpoint(run_folder, device="cpu")
    np.testing.assert_allclose(predictor(PICTURES), expected, atol=1e-6)
    error = capsys.readouterr().err
    assert error.startswith("the exported network's probabilities differ from the original's by 0.")
    assert error.endswith("; dygraph computes, slower\n") and error.count("\n") == 1
    assert list(cache.iterdir()) == []
    np.testing.assert_allclose(predictor(PICTURES), expected, atol=1e-6)
    assert capsys.readouterr().err == ""           # once is enough


def test_the_cache_keeps_the_exports_used_last(cache, monkeypatch):
    monkeypatch.setattr(cached, "KEPT", 3)
    monkeypatch.setattr(cached, "export", lambda *given: (given[3].mkdir(), (given[3] / "network.xml").write_text("")))
    monkeypatch.setattr(cached, "ENGINES", {".xml": lambda file, precision: file})
    for number in range(5):
        if number == 3:
            assert cached.load(cache / "0")        # used again
        cached.make(cache / str(number), None, CIFAR10, 32)
        for kept in cache.iterdir():               # time goes by
            os.utime(kept, ns=(0, kept.stat().st_mtime_ns - 10**9))
    assert sorted(path.name for path in cache.iterdir()) == ["0", "3", "4"]
