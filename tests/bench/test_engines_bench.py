"""The benchmark of the engines but for the measuring itself: sides that answer, sides that do not, and its table."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import engine_side, engines
from paddle_cls.errors import UserError
from paddle_cls.models import MODELS


class Side:
    """Stands in for a process that takes some seconds for an image and answers with some logits."""

    def __init__(self, kind: str, seconds: float, logits: float = 1.0):
        self.kind, self.seconds, self.logits, self.asked = kind, seconds, logits, []

    def ask(self, question: dict) -> dict:
        self.asked.append(question)
        return {"seconds": self.seconds * question["images"], "logits": [[self.logits, 2.0]]}


def test_all_networks_of_the_table_are_in_the_registry():
    assert set(engines.FAMILIES) <= set(MODELS) and len(set(engines.FAMILIES)) == len(engines.FAMILIES)
    assert [engines.sizes(name) for name in ("resnet", "resnet_small", "googlenet", "alexnet")] == [
        [32], [32, 224], [61, 224], [224]]


def test_each_round_measures_every_side(monkeypatch):
    monkeypatch.setattr(engines, "PAUSE", 0)
    sides = [Side("ours", 0.01), Side("before", 0.02)]
    assert engines.measure(sides, 3, rounds=5) == pytest.approx({"ours": 30, "before": 60})
    assert sides[0].asked[1:] == [{"images": 3, "calls": 5}] * 5             # 0.15 s


def test_a_side_that_computes_something_else_is_left_out(capsys):
    sides = [Side("ours", 1), Side("other", 1, 1.1), Side("close", 1, 1.001), Side("none", 1, np.nan)]
    assert [side.kind for side in engines.alike(sides, 3, 0.01)] == ["ours", "close"]
    assert capsys.readouterr().err.splitlines() == ["other: its logits differ by 0.05 of the largest; not measured",
                                                    "none: its logits differ by nan of the largest; not measured"]


def test_the_table_has_ratios_and_their_means():
    rows = [{1: {"ours": 1.0, "ort": 2.0}, 32: {"ours": 10.0, "ort": 5.0}}, {1: {"ours": 1.0, "ort": 0.5}, 32: {"ours": 10.0}}]
    assert engines.row("a, 32", rows[0], ["ours", "ort"]) == ["a, 32", "1", "2", "2.00", "10", "5", "0.50"]
    assert engines.row("b, 32", rows[1], ["ours", "ort"])[3:] == ["0.50", "10", "-", "-"]
    assert engines.summary(rows, ["ours", "ort"], [1, 32])[1:] == ["", "", "**1.00** (0.50)", "", "", "**0.50** (0.50)"]


def test_options_are_checked(tmp_path):
    assert engines.options([]).sides == ["ours", "onnxruntime"]
    assert engines.options(["--before", str(tmp_path)]).sides == ["ours", "onnxruntime", "before"]
    for wrong in (["--rounds", "0"], ["--sides", "before", "ours"], ["--sides", "ours", "before"]):
        with pytest.raises(UserError, match="--rounds is from 1 on"):
            engines.options(wrong)


def test_a_side_that_ends_says_why(tmp_path):
    with pytest.raises(UserError, match="nobody: KeyError: 'nobody'"):
        engines.Process("nobody", sys.executable, engines.ROOT, {"model": "resnet"})


def test_our_side_answers_as_dygraph(tmp_path):
    """It exports the network, leaves its weights beside it for PyTorch, and answers without the network the next time."""
    pytest.importorskip("openvino")
    pytest.importorskip("paddle2onnx")
    asked = {"model": "resnet", "arguments": {"depth": 8}, "image_size": 32, "folder": str(tmp_path), "precision": "float32"}
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    import paddle
    with paddle.no_grad():
        mean, std = (255 * np.array(values, "float32").reshape(1, 3, 1, 1) for values in (engine_side.MEAN, engine_side.STD))
        expected = engine_side.built(asked)(paddle.to_tensor((images.transpose(0, 3, 1, 2) - mean) / std)).numpy()
    for _ in range(2):
        np.testing.assert_allclose(engine_side.ours(asked)(images), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert {file.suffix for file in Path(tmp_path).iterdir()} == {".npz", ".onnx"}
