"""What engines and converters print does not get into a program's answer."""

import ctypes

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_cls.data.images.transforms import HALF
from paddle_cls.inference import cached


class MeanNet(nn.Layer):
    """Has the mean over two axes of which Paddle Inference 3.3 tells stdout."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, images):
        return self.fc(paddle.mean(images, [2, 3]))


@pytest.mark.parametrize("openvino", [True, False])
def test_engines_and_exports_print_nothing_on_stdout(openvino, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(cached, "has_openvino", lambda: openvino)
    cached.make(tmp_path / "made", MeanNet(), HALF, 8)
    cached.load(tmp_path / "made")(np.zeros((1, 8, 8, 3), np.uint8))
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == ""
