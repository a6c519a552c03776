"""What Paddle Inference prints does not get into a program's answer."""

import ctypes

import numpy as np
import paddle
from paddle import nn

from paddle_cls.inference import export


class MeanNet(nn.Layer):
    """Has the mean over two axes of which Paddle Inference 3.3 tells stdout."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, images):
        return self.fc(paddle.mean(images, [2, 3]))


def test_paddle_inference_prints_nothing_on_stdout(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(export, "_runner", lambda folder, tell=False: None)
    export.export(MeanNet(), 8, tmp_path)
    export.PaddleInference(tmp_path)(np.zeros((1, 3, 8, 8), np.float32))
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == ""
