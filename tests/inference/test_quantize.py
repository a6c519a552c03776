"""8 bits: a small network that knows drawn colours loses nothing, in OpenVINO's files and ONNX; what cannot be is one line."""

import importlib.util
import io
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_cls.data.images.files import ImageFiles
from paddle_cls.data.images.transforms import CIFAR10
from paddle_cls.data.reader import Split
from paddle_cls.data.sets import shapes
from paddle_cls.errors import UserError
from paddle_cls.inference import convert, quantize
from paddle_cls.inference.engines import OpenVINO, Outputs
from paddle_cls.inference.quantize import Row

INSTALLED = all(importlib.util.find_spec(name) for name in ("openvino", "nncf"))
needs_nncf = pytest.mark.skipif(not INSTALLED, reason="NNCF is not installed")
needs_onnx = pytest.mark.skipif(not INSTALLED or not all(map(importlib.util.find_spec, ("onnxruntime", "paddle2onnx"))),
                                reason="ONNX Runtime is not installed")
SUFFIX = ".onnx" if importlib.util.find_spec("paddle2onnx") else ".pdmodel"


class Bright(nn.Layer):
    """Says how bright a picture is: 2 convolutions, the first with a batch norm, and a head."""

    def __init__(self):
        super().__init__()
        paddle.seed(0)
        self.features = nn.Sequential(nn.Conv2D(3, 16, 3, padding=1), nn.BatchNorm2D(16), nn.ReLU(),
                                      nn.Conv2D(16, 16, 3, stride=2))
        self.head = nn.Linear(16, 2)

    def forward_features(self, images):
        return nn.functional.relu(self.features(images)).mean([2, 3])

    def forward(self, images):
        return self.head(self.forward_features(images))


@pytest.fixture(scope="module")
def split() -> Split:
    """Drawn figures, labelled by whether they are brighter than the middle one."""
    images = shapes.generate("val", 200).images
    means = CIFAR10(images).mean(axis=(1, 2, 3))
    return Split(images, (means > np.median(means)).astype(np.int64))


@pytest.fixture(scope="module")
def network(split, tmp_path_factory) -> Path:
    """The export of a network that tells the labels of `split`, its head fitted by least squares."""
    folder, model = tmp_path_factory.mktemp("network"), Bright()
    model.eval()
    with paddle.no_grad():
        features = model.forward_features(paddle.to_tensor(CIFAR10(split.images))).numpy()
    whole = np.concatenate([features, np.ones((len(features), 1), "float32")], axis=1)
    weights = np.linalg.lstsq(whole, 4.0 * np.eye(2)[split.labels] - 2, rcond=None)[0].astype("float32")
    model.head.weight.set_value(weights[:-1])
    model.head.bias.set_value(weights[-1])
    program = convert.to_paddle(convert.Whole(model, CIFAR10), 32, folder)
    if SUFFIX == ".pdmodel":
        return program
    convert.to_onnx(program, folder / "network.onnx")
    return folder / "network.onnx"


def judged(file: Path, split: Split) -> tuple[float, np.ndarray]:
    """Return the accuracy and the logits of what OpenVINO computes of a file."""
    logits = OpenVINO(file)(split.images).logits
    return float((logits.argmax(axis=1) == split.labels).mean()), logits


@pytest.fixture(scope="module")
def made(network, split, tmp_path_factory) -> Path:
    """The network in 8 bits, as OpenVINO's .xml."""
    source = tmp_path_factory.mktemp("made") / "network.xml"
    convert.to_openvino(network, source)
    quantize.to_int8(source, quantize.calibration(split, 32, count=64), source.with_name("int8.xml"))
    return source.with_name("int8.xml")


@needs_nncf
def test_a_network_in_8_bits_answers_as_in_32(made, network, split):
    import openvino
    accuracy, logits = judged(network, split)
    found, close = judged(made, split)
    assert accuracy > 0.9 and found >= accuracy - 0.01
    assert 1e-4 < np.abs(close - logits).max() < 0.15 * np.abs(logits).max()               # other numbers, but near
    model = openvino.Core().read_model(made)
    assert sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) >= 5        # of weights and activations
    assert model.input(0).get_element_type().to_string() == "u8" and model.input(0).partial_shape[0].is_dynamic
    weights = [node for node in model.get_ops() if node.get_element_type().to_string() == "i8"]
    assert sum(int(np.prod(node.shape)) for node in weights if node.get_type_name() == "Constant") == 16 * 27 + 16 * 144 + 32


@needs_nncf
def test_the_same_images_give_the_same_file_and_nothing_is_printed(made, split, tmp_path, capfd):
    quantize.to_int8(made.with_name("network.xml"), quantize.calibration(split, 32, count=64), tmp_path / "again.xml")
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "again.bin").read_bytes() == made.with_suffix(".bin").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.bin", "again.xml"]


@needs_nncf
def test_on_a_terminal_bars_are_drawn_on_stderr(made, split, tmp_path, capfd, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    quantize.to_int8(made.with_name("network.xml"), split.images[:4], tmp_path / "again.xml")
    assert "4/4" in terminal.getvalue() and capfd.readouterr().out == ""


@needs_onnx
def test_onnx_in_8_bits_is_the_same_to_onnx_runtime_and_openvino(network, split, tmp_path, capfd):
    import onnx
    import onnxruntime
    file = tmp_path / "int8.onnx"
    quantize.to_int8(network, quantize.calibration(split, 32, count=64), file)
    assert capfd.readouterr() == ("", "") and [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    model = onnx.load(file)
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("QuantizeLinear") >= 3
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", convert.OPSET)]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    logits, features = session.run(list(convert.OUTPUTS), {convert.INPUT: split.images[:50]})
    answer = OpenVINO(file)(split.images[:50])
    np.testing.assert_allclose(logits, answer.logits, rtol=0, atol=0.1 * np.abs(logits).max())
    np.testing.assert_allclose(features, answer.features, rtol=0, atol=0.1 * features.max())
    assert judged(file, split)[0] >= judged(network, split)[0] - 0.01


def test_calibration_takes_as_many_of_each_class_and_the_same_ones_each_time():
    labels = np.array([0] * 50 + [1] * 4 + [2] * 46)
    split = Split(np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3), labels)      # images of one pixel
    chosen = quantize.calibration(split, 1, count=20)
    assert chosen.shape == (20, 1, 1, 3) and len(np.unique(chosen)) == 20
    assert np.bincount(labels[chosen[:, 0, 0, 0]]).tolist() == [8, 4, 8]
    assert (chosen == quantize.calibration(split, 1, count=20)).all()
    assert (chosen != quantize.calibration(split, 1, count=20, seed=1)).any()
    assert len(quantize.calibration(split, 1)) == 100


def test_calibration_sees_pictures_as_they_are_evaluated(tmp_path):
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 8:32] = 200                           # more than what stays of it
    cv2.imwrite(str(tmp_path / "a.png"), image)
    pixels = quantize.calibration(Split(ImageFiles(tmp_path, ["a.png"]), np.array([0])), 8)
    assert pixels.shape == (1, 8, 8, 3) and (pixels == 200).all()


def test_without_training_images_there_is_no_calibration():
    with pytest.raises(UserError, match="^--precision int8: no calibration images: the data has no training images$"):
        quantize.calibration(Split(np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0)), 8)


@pytest.mark.parametrize("there, file, wanted", [("", "a.xml", "NNCF"), ("", "a.onnx", "NNCF and ONNX Runtime"),
                                                 ("nncf", "a.onnx", "ONNX Runtime"), ("onnxruntime", "a.pdmodel", "NNCF")])
def test_what_is_not_installed_is_named_with_the_remedy(there, file, wanted, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == there or None)
    with pytest.raises(UserError) as error:
        quantize.to_int8(tmp_path / file, np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "out")
    assert str(error.value) == f'--precision int8 needs {wanted}: pip install "paddle_cls[int8]"'
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("before", [None, "0"])
def test_nncf_is_loaded_such_that_it_tells_nobody(before, tmp_path, monkeypatch):
    """What it does with the variable is its own affair: it is checked that it is there when the module is run, and then not."""
    (tmp_path / "nncf.py").write_text("import os\nseen = os.environ.get('NNCF_CI')\ndef set_log_level(_): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    monkeypatch.setenv("NNCF_CI", before) if before else monkeypatch.delenv("NNCF_CI", raising=False)
    assert quantize._loaded().seen == "1"
    assert os.environ.get("NNCF_CI") == before
    del sys.modules["nncf"]


class Fixed:
    """An engine that gives the first images logits that `answer` makes of their first pixel."""

    name = "a fake"

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, pixels: np.ndarray) -> Outputs:
        return Outputs(self.answer(pixels[:, 0, 0, 0].astype(np.float32)), None)


def test_compare_judges_all_images_at_the_threshold():
    pixels = np.arange(200, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    split = Split(pixels, np.arange(200) >= 100)
    threshold = 1 / (1 + np.exp(-10.0))            # a logit of 10
    exact, rough = quantize.compare({"float32": (Fixed(lambda x: (x - 89.5)[:, None]), 4_000_000),
                                     "int8": (Fixed(lambda x: (x % 150 - 91)[:, None]), 1_000_000)}, split, 1, threshold)
    assert (exact.precision, exact.accuracy, exact.auc, exact.bytes) == ("float32", 1.0, 1.0, 4_000_000)
    assert rough.accuracy == (100 + 48) / 200      # 102 to 149 are taken for yes
    assert rough.auc == pytest.approx(0.625)       # one half of the ones is over all zeros, the other over a quarter
    assert exact.speed > 0 and rough.speed > 0


ROWS = [Row("float32", 0.8869, None, 2_070_000, 1000), Row("int8", 0.8819, None, 682_000, 3456)]
YES_OR_NO = [Row("float32", 0.98, 0.9956, 2_070_000, 1000), Row("bfloat16", 0.97, 0.9901, 1_224_000, 1500)]


def test_the_table_says_all_beside_the_first_row():
    assert quantize.table(ROWS) == ("| precision | accuracy | MB | images/s, 128 at a time | speed |\n"
                                    "| --- | --- | --- | --- | --- |\n| float32 | 0.8869 | 2.07 | 1000 | 1.00x |\n"
                                    "| int8 | 0.8819 | 0.68 | 3456 | 3.46x |")
    assert "| bfloat16 | 0.9700 | 0.9901 | 1.22 | 1500 | 1.50x |" in quantize.table(YES_OR_NO)


def test_a_loss_over_the_allowed_one_is_refused_with_the_figures():
    quantize.check_loss(ROWS, 0.5)
    quantize.check_loss(YES_OR_NO, 1)
    quantize.check_loss([*ROWS[::-1]], 0)          # better is no loss
    with pytest.raises(UserError) as error:
        quantize.check_loss(ROWS, 0.49)
    assert str(error.value) == ("--precision int8: the accuracy on the validation images falls from 0.8869 to 0.8819: "
                                "0.50 points, and 0.49 are allowed; allow more with --max-loss, or export in float32")
    with pytest.raises(UserError, match="bfloat16: .* 0.9800 to 0.9700, the AUC from 0.9956 to 0.9901: 1.00 points, and 0.5"):
        quantize.check_loss(YES_OR_NO, 0.5)
