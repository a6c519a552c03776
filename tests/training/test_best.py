"""Which epoch is the best one: the checkpoint `best` is its."""

import paddle
import pytest

from paddle_cls.checkpoints.info import Description
from paddle_cls.training.optimizers import build_optimizer
from paddle_cls.training.run import Run


@pytest.mark.parametrize("rows, best", [
    ([(0.75, 0.9), (0.75, 0.5)], 2), ([(0.75, 0.5), (0.75, 0.9)], 1), ([(0.75, 0.5), (0.75, 0.5)], 1),
    ([(0.75, 0.5), (0.76, 0.9)], 2), ([(0.75, 0.9), (0.74, 0.1)], 1)])
def test_of_equal_accuracies_the_smaller_loss_is_best(tmp_path, monkeypatch, rows, best):
    model = paddle.nn.Linear(2, 2)
    about = Description.of("resnet", {}, dataset="cifar10", classes=["a", "b"], image_size=2,
                           normalization={"mean": [0] * 3, "std": [1] * 3})
    run = Run(tmp_path, model, build_optimizer("adam", model), about=about)
    saved = []
    monkeypatch.setattr(run, "save", lambda name: saved.append((name, run.metrics["epoch"])))
    for epoch, (acc1, loss) in enumerate(rows, 1):
        run.end_epoch({"epoch": epoch, "val/acc1": acc1, "val/loss": loss}, whole=True)
    assert run.best["epoch"] == best and [epoch for name, epoch in saved if name == "best"][-1] == best
