"""Engines: what they compute, for every number of images and in threads, and what they refuse."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from networks import with_statistics
from test_layering import MODULES, imports

from paddle_cls.data.images.transforms import CIFAR10
from paddle_cls.errors import UserError
from paddle_cls.evaluation.metrics import probabilities
from paddle_cls.inference import convert, engines
from paddle_cls.inference.engines import OpenVINO, PaddleInference, portions
from paddle_cls.models import build_model
from paddle_cls.system import runtime

openvino = engines.load_openvino() if engines.has_openvino() else None
needs_openvino = pytest.mark.skipif(openvino is None, reason="needs openvino")
SIZE = 8
WEIGHTS = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)


def pixels(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


def write_network(file: Path, *, features: bool = True) -> Path:
    """Write a network in OpenVINO's format: the features are the mean colour over 255, the logits its product with WEIGHTS."""
    from openvino import opset8 as ops
    images = ops.parameter([-1, SIZE, SIZE, 3], np.uint8, "images")
    mean = ops.reduce_mean(ops.divide(ops.convert(images, "f32"), np.float32(255)), np.array([1, 2]), False)
    logits = ops.matmul(mean, WEIGHTS, False, False)
    openvino.save_model(openvino.Model([logits, mean] if features else [logits], [images], "mean"), file, compress_to_fp16=False)
    return file


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    if openvino is None:
        pytest.skip("needs openvino")
    return write_network(tmp_path_factory.mktemp("colours") / "network.xml")


def check(engine: OpenVINO, images: np.ndarray) -> None:
    outputs = engine(images)
    mean = images.mean((1, 2)) / 255
    np.testing.assert_allclose(outputs.features, mean, atol=1e-5)
    np.testing.assert_allclose(outputs.logits, mean @ WEIGHTS, atol=1e-5)
    assert outputs.logits.dtype == outputs.features.dtype == np.float32


@pytest.mark.parametrize("images, size, cores, expected", [
    (1, 32, 2, [1]), (4, 32, 2, [1] * 4), (5, 32, 2, [8]), (12, 32, 2, [8] + [1] * 4), (31, 32, 2, [8] * 4), (32, 32, 2, [32]),
    (77, 32, 2, [32, 32, 8, 8]), (32, 224, 2, [8] * 4), (32, 224, 8, [32]), (3, 299, 2, [1] * 3), (9, 600, 64, [8, 1]),
    (9, 225, 2, [1] * 9), (32, 225, 1, [1] * 32)])
def test_images_are_computed_in_portions(images, size, cores, expected):
    assert portions(images, size, cores) == expected


def test_portions_hold_all_images():
    for images in range(1, 200):
        found = portions(images, 32, 2)
        assert sum(found[:-1]) < images <= sum(found) and found == sorted(found, reverse=True)


def test_every_number_of_images_gives_its_rows_in_order(colours):
    engine = OpenVINO(colours)
    for count in range(1, 70):
        check(engine, pixels(count))
    check(engine, pixels(40)[::-1])                # as a slice lies in memory
    check(engine, np.ascontiguousarray(pixels(9).transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1))


def test_answers_stay_when_the_next_are_computed(colours):
    engine = OpenVINO(colours)
    first = engine(pixels(1))
    kept = first.logits.copy(), first.features.copy()
    engine(255 - pixels(1))
    assert np.array_equal(first.logits, kept[0]) and np.array_equal(first.features, kept[1])


def test_threads_may_share_an_engine(colours):
    engine = OpenVINO(colours)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda count: check(engine, pixels(count)), [1, 33, 8, 40, 3, 5] * 4))


@needs_openvino
def test_a_forked_process_is_told_instead_of_waiting_for_ever(colours, monkeypatch):
    engine = OpenVINO(colours)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    for ask in (lambda: engine(pixels(1)), lambda: OpenVINO(colours), lambda: PaddleInference(colours)):
        with pytest.raises(UserError, match="cannot answer; start it by multiprocessing's \"spawn\", or make"):
            ask()


@needs_openvino
def test_a_network_without_features_has_none(tmp_path):
    outputs = OpenVINO(write_network(tmp_path / "network.xml", features=False))(pixels(9))
    assert outputs.features is None and outputs.logits.shape == (9, 5)


def test_the_file_is_not_needed_any_more(tmp_path):
    if openvino is None:
        pytest.skip("needs openvino")
    file = write_network(tmp_path / "network.xml")
    engine = OpenVINO(file)
    file.unlink()
    file.with_suffix(".bin").unlink()
    check(engine, pixels(41))


def test_other_pixels_are_a_mistake_of_ours(colours):
    engine = OpenVINO(colours)
    for wrong in (pixels(2).astype(np.float32), pixels(2, 1), pixels(1)[0]):
        with pytest.raises((AssertionError, ValueError)):
            engine(wrong)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(a program of Paddle's of ResNet-8, its file for OpenVINO, pixels, logits, features by dygraph)."""
    folder = tmp_path_factory.mktemp("trained")
    paddle.seed(0)
    net = build_model("resnet", 10, depth=8)
    with_statistics(net)
    program = convert.to_paddle(convert.Whole(net, CIFAR10), 32, folder)
    images = pixels(13, 32)
    with paddle.no_grad():
        inputs = paddle.to_tensor(CIFAR10(images))
        logits, features = net(inputs).numpy(), net.forward_features(inputs).numpy()
    return program, folder / "network.onnx", images, logits, features


def close(found: engines.Outputs, logits: np.ndarray, features: np.ndarray, tolerance: float) -> bool:
    return (np.abs(probabilities(found.logits) - probabilities(logits)).max() < tolerance
            and np.abs(found.features - features).max() < tolerance * np.abs(features).max())


def test_engines_compute_what_dygraph_does(trained, capfd):
    program, onnx, images, logits, features = trained
    made: list[engines.Engine] = [PaddleInference(program)]
    if openvino and program.suffix == ".json":
        pytest.importorskip("paddle2onnx")
        convert.to_onnx(program, onnx)
        capfd.readouterr()
        made.append(OpenVINO(onnx))
    elif openvino:                                 # of Paddle 2, which OpenVINO reads itself
        made.append(OpenVINO(program))
    for engine in made:
        assert close(engine(images), logits, features, 1e-4), engine.name
        assert close(engine(images[:1]), logits[:1], features[:1], 1e-4), engine.name
    assert capfd.readouterr().out == ""


@needs_openvino
def test_bfloat16_is_computed_where_the_processor_has_it(colours, monkeypatch):
    engine = OpenVINO(colours)
    assert engine.name == "OpenVINO (float32)"
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        small = OpenVINO(colours, precision="bfloat16")
        assert small.name == "OpenVINO (bfloat16)"
        difference = np.abs(small(pixels(8)).logits - engine(pixels(8)).logits).max()
        assert 1e-5 < difference < 0.05            # not the same, and not far from it
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"], set_property=lambda settings: None)
    monkeypatch.setattr(engines, "load_openvino", lambda: SimpleNamespace(Core=lambda: core))
    with pytest.raises(UserError) as caught:
        OpenVINO(colours, precision="bfloat16")
    assert str(caught.value) == "--precision bfloat16: this processor has no bfloat16 instructions; leave out --precision"


def test_what_an_engine_cannot_compute_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown precision 'float16'; did you mean 'bfloat16'?"):
        OpenVINO(tmp_path / "network.xml", precision="float16")
    with pytest.raises(UserError, match="--precision bfloat16: needs OpenVINO; pip install openvino, or leave out --precision"):
        PaddleInference(tmp_path / "inference.json", precision="bfloat16")


@needs_openvino
def test_a_broken_file_is_an_error(tmp_path):
    (tmp_path / "network.onnx").write_bytes(b"no network")
    with pytest.raises(RuntimeError):
        OpenVINO(tmp_path / "network.onnx")


@needs_openvino
def test_all_cores_compute_and_no_thread_is_pinned(colours, monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 2)
    engine = OpenVINO(colours)
    engine(pixels(1))
    compiled = engine._compiled[1].request.get_compiled_model()
    found = {name: str(compiled.get_property(name)) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING")}
    assert found == {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "2", "ENABLE_CPU_PINNING": "False"}


def test_one_module_alone_imports_openvino():
    """Its load_openvino keeps OpenVINO from telling a server of it."""
    assert [name for name, file in MODULES.items() if "openvino" in {found.split(".")[0] for found in imports(file)}] == [
        "inference.engines"]


@needs_openvino
def test_openvino_says_nothing_to_anybody(colours, tmp_path):
    """It would keep a file in the home folder, and tell a server over the network, which this process has none of."""
    code = (f"import socket, sys; socket.getaddrinfo = lambda *_: print('the network')\n"
            f"from pathlib import Path; import numpy as np\n"
            f"from paddle_cls.inference.engines import OpenVINO\n"
            f"OpenVINO(Path({str(colours)!r}))(np.zeros((1, {SIZE}, {SIZE}, 3), np.uint8))\n"
            f"assert not [name for name in sys.modules if name.startswith(('openvino_telemetry.', 'paddle.'))]")
    kept = {name: value for name, value in os.environ.items() if name != "CI"}         # where it says nothing by itself
    done = subprocess.run([sys.executable, "-c", code], env={**kept, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
                          capture_output=True, text=True, cwd=Path(engines.__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and not list(tmp_path.iterdir())
