"""Exports in the cache: found again, kept whole, made again when damaged, the oldest forgotten."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from exporting import trained
from fakes import rgb
from PIL import Image

from paddle_cls import models
from paddle_cls.checkpoints import checkpoint
from paddle_cls.data.images.transforms import CIFAR10, IMAGENET
from paddle_cls.errors import UserError
from paddle_cls.inference import cached, convert
from paddle_cls.inference.predictor import Predictor
from paddle_cls.system import runtime

PICTURES = [rgb(i) for i in range(3)]
WEIGHTS = "network.bin"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of an exported ResNet-8; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "export"
    cached.make(folder, trained("resnet", depth=8), CIFAR10, 32)
    return folder


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


def test_the_second_answer_loads_no_paddle(cache, run_folder, tmp_path):
    expected = answer(run_folder)[0]
    Image.fromarray(PICTURES[0]).save(tmp_path / "picture.png")
    code = f"""
import json, sys
from paddle_cls.programs import infer
infer.main(["--image", {str(tmp_path / "picture.png")!r}, "--checkpoint", {str(run_folder)!r}, "--format", "json"])
print(json.dumps(sorted({{"paddle", "cv2", "onnx", "paddle2onnx", "sklearn", "matplotlib"}} & set(sys.modules))), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {entry["class"]: entry["probability"] for entry in json.loads(done.stdout)[0]["top"]}
    assert max(found.values()) == pytest.approx(expected.max(), abs=1e-6)
    assert done.stderr.splitlines()[-1] == "[]"


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
    np.testing.assert_allclose(predictor(PICTURES), expected, atol=1e-5)
    error = capsys.readouterr().err
    assert error.startswith("the exported network's probabilities differ from the original's by 0.")
    assert error.endswith("; dygraph computes, slower\n") and error.count("\n") == 1
    assert list(cache.iterdir()) == []
    np.testing.assert_allclose(predictor(PICTURES), expected, atol=1e-5)
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
