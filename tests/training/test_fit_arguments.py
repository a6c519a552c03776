"""What `fit` is given reaches the parts of the training."""

import numpy as np
import paddle
import pytest

import paddle_cls
from paddle_cls import library
from paddle_cls.data import HALF, Data, Split
from paddle_cls.training.epochs import Plan
from paddle_cls.training.log import Log

IMAGES, LABELS = np.zeros((12, 8, 8, 3), np.uint8), np.arange(12) % 2


def network(outputs: int) -> paddle.nn.Layer:
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(192, outputs))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A function like fit that trains nothing and returns the Training."""
    monkeypatch.setattr(library.loops, "train", lambda found: found)
    return lambda net, train, **more: paddle_cls.fit(net, train, output_dir=tmp_path / "run", device="cpu", quiet=True, **more)


def test_each_argument_arrives(parts):
    found = parts(network(2), (IMAGES, LABELS), val=(IMAGES[:4], LABELS[:4]), epochs=5, batch_size=4, lr=0.5, schedule="onecycle",
                  warmup_epochs=1, clip_norm=2.0, mixup=0.3, cutmix=0.4, label_smoothing=0.1, class_weights=[1, 3], ema_decay=0.9,
                  max_steps=7, eval_batch_size=3, log_every=2, save_minutes=4.0, seed=6)
    assert found.plan == Plan(5, 4, 3, max_steps=7, log_every=2, fetch_every=1, save_minutes=4.0)
    assert (found.updater.clip_norm, found.updater.seed, found.run.ema.decay, found.updater.ema) == (2.0, 6, 0.9, found.run.ema)
    assert [found.updater.schedule(step) for step in (0, 2, 3)] == [0.125, 0.375, 0.5]
    assert found.objective.label_smoothing == 0.1 and found.objective.class_weights.tolist() == [1, 3]
    assert {key: found.read.keywords[key] for key in ("mixup", "cutmix", "seed")} == {"mixup": 0.3, "cutmix": 0.4, "seed": 6}
    assert not found.signals and found.quiet


def test_a_yes_or_no_data_set_makes_one_output(parts):
    split = Split(IMAGES, LABELS)
    found = parts(network(1), Data(split, split, ("no", "yes"), 8, HALF, sigmoid=True), epochs=1)
    assert found.run.about.outputs == 1 and found.run.about.dataset == "own"


def test_the_charts_are_drawn_where_a_callback_ends_it(tmp_path, monkeypatch):
    last = []
    monkeypatch.setattr(Log, "pictures", lambda *_, **more: last.append(more["last"]))

    class Two:
        def on_epoch_end(self, state):
            return state.epoch == 2

    paddle_cls.fit(network(2), (IMAGES, LABELS), epochs=9, batch_size=12, output_dir=tmp_path / "run", device="cpu", quiet=True,
                   callbacks=[Two()])
    assert last == [False, True]
