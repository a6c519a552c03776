"""A new network takes one new file and one line of MODELS, and @about at will: then the commands know it, and its tests pass."""

import json
import os
import shutil
import subprocess
import sys

from conftest import ROOT

FILE = '''
"""A network of one convolution."""

import paddle
from paddle import nn

from .about import about


@about("nobody 2024", published="0.0006", classes=10)
class Toy(nn.Layer):
    """One convolution of `width` filters, average, linear."""

    def __init__(self, num_classes: int = 10, width: int = 16):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2D(3, width, 3, 2, bias_attr=False), nn.BatchNorm2D(width), nn.ReLU())
        self.average = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(width, num_classes)

    def forward_features(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the mean of the filters' answers, float32 (N, width)."""
        return paddle.flatten(self.average(self.conv(images)), 1)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.fc(self.forward_features(images))
'''

# The same network, which tells nothing of itself.
BARE = FILE.replace("from .about import about\n\n\n", "\n").replace('@about("nobody 2024", published="0.0006", classes=10)\n', "")
BARE = BARE.replace("Toy", "Bare").replace("forward_features", "_features")


def test_a_new_network_is_one_file_and_one_line(tmp_path):
    copy = tmp_path / "copy"
    for name in ("paddle_cls", "tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "infer.py", "README.md", "pyproject.toml", "requirements.txt", "requirements-gpu.txt"):
        shutil.copy(ROOT / name, copy)
    (copy / "paddle_cls/models/toy.py").write_text(FILE.lstrip())
    (copy / "paddle_cls/models/bare.py").write_text(BARE.lstrip())
    registry = copy / "paddle_cls/models/__init__.py"
    lines = '    "toy": "toy.Toy",\n    "bare": "bare.Bare",\n'
    registry.write_text(registry.read_text().replace('    "alexnet"', f'{lines}    "alexnet"'))

    def run(*command: object) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PADDLE_TRAINER", "PYTEST"))}
        done = subprocess.run([sys.executable, *map(str, command)], cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tests = run("-m", "pytest", "-vv", "-p", "no:cacheprovider", "tests/models/test_zoo.py",
                "tests/inference/test_convert.py", "tests/test_layering.py", "-k", "toy or bare")
    for name in ("test_zoo.py::test_network", "test_zoo.py::test_saved_it_answers_the_same",
                 "test_zoo.py::test_the_command_trains", "test_convert.py::test_a_network_answers_the_same_elsewhere"):
        assert f"{name}[toy] PASSED" in tests and f"{name}[bare] PASSED" in tests
    assert " failed" not in tests and "skipped" not in tests
    (row,) = json.loads(run("-m", "paddle_cls.models", "--model", "toy", "--format", "json"))
    assert row["parameters"] == 3 * 9 * 16 + 2 * 16 + 170 and row["model_args"] == ["width: int = 16"]
