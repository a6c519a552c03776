"""`paddle_cls.fit` as a program of somebody else calls it: own network, own data, own metric, own callback, early stop."""

import json
import re
from pathlib import Path

import numpy as np
import paddle
import pytest

import paddle_cls
from paddle_cls import EarlyStop, Predictor
from paddle_cls.checkpoints.storage import exists
from paddle_cls.data import CIFAR10, HALF, Data, Split, load_data
from paddle_cls.errors import UserError
from paddle_cls.programs import train
from paddle_cls.training.callbacks import State
from paddle_cls.training.log import Log, read_rows


@pytest.fixture(autouse=True)
def charts(monkeypatch):
    """Draw none, but where a test asks for them: they take seconds."""
    monkeypatch.setattr(Log, "pictures", lambda *_, **__: None)


COLOURS = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220]])


def pictures(count: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (count, 8, 8, 3) of three colours, and which one each has."""
    labels = np.arange(count) % 3
    noise = np.random.default_rng(seed).integers(-25, 26, (count, 8, 8, 3))
    return (COLOURS[labels][:, None, None] + noise).astype(np.uint8), labels


class Linear(paddle.nn.Layer):
    """A network of one's own, without a paper and without a name."""

    def __init__(self, num_classes: int = 3):
        super().__init__()
        self.head = paddle.nn.Linear(192, num_classes)

    def forward(self, images):
        return self.head(paddle.flatten(images, 1))


def own(folder: Path, **more) -> paddle_cls.training.epochs.Result:
    paddle.seed(0)
    with paddle.utils.unique_name.guard():         # resume asks for the same names, as in a new process
        net = more.pop("model", None) or Linear()
    return paddle_cls.fit(net, pictures(), pictures(9, 1), **{"epochs": 3, "batch_size": 8, "output_dir": folder, "lr": 0.01,
                                                              "device": "cpu", "quiet": True, **more})


def test_an_own_network_with_an_own_metric_and_an_own_callback(tmp_path, capsys):
    seen = []

    class Two:
        """Stops after the second epoch."""

        def on_epoch_end(self, state):
            seen.append((state.epoch, state.step, state.metrics["val/greens"], len(state.history), state.output_dir))
            return state.epoch == 2

        def on_step_end(self, state):
            seen.append((state.step, sorted(state.metrics)))

    def greens(logits: np.ndarray, labels: np.ndarray) -> float:
        assert logits.shape == (9, 3) and logits.dtype == np.float32 and labels.tolist() == [0, 1, 2] * 3
        return (logits.argmax(1)[labels == 1] == 1).mean()

    done = own(tmp_path / "run", epochs=9, metrics={"greens": greens}, callbacks=[Two()])
    keys = ["train/acc1", "train/error_rate", "train/loss"]
    assert seen == [(1, keys), (2, keys), (3, keys), (1, 3, seen[3][2], 1, tmp_path / "run"),
                    (4, keys), (5, keys), (6, keys), (2, 6, 1.0, 2, tmp_path / "run")]
    assert (done.step, done.signal, done.output_dir) == (6, 0, tmp_path / "run") and capsys.readouterr().out == ""
    assert done.metrics["val/acc1"] == done.metrics["val/greens"] == 1.0 and done.metrics["epoch"] == 2
    rows = [row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if "epoch" in row]
    assert [row["val/greens"] for row in rows] == [row["val/greens"] for row in done.history]
    info = json.loads((tmp_path / "run" / "last.json").read_text())
    assert info["epoch"] == 2 and 1.0 in [values["val/greens"] for values in info.values()
                                         if isinstance(values, dict) and "val/greens" in values]
    assert b"val/greens" in next(done.visualdl.glob("vdlrecords.*")).read_bytes()


def test_a_step_may_stop_it_too(tmp_path):
    class Four:
        """Stops after the fourth step."""

        def on_step_end(self, state):
            return np.int64(state.step) == 4       # NumPy's True

    done = own(tmp_path / "run", callbacks=[Four()])
    assert done.step == 4 and done.metrics["epoch"] == 1
    assert exists(tmp_path / "run" / "last") and json.loads((tmp_path / "run" / "last.json").read_text())["step"] == 4


def state(*losses: float) -> State:
    rows = [{"val/loss": loss, "val/acc1": 1 - loss} for loss in losses]
    return State(len(rows), 0, rows[-1], rows[0], rows, None, Path())


@pytest.mark.parametrize(("losses", "stops"), [
    ((0.5,), False), ((0.5, 0.6), False), ((0.5, 0.6, 0.5), True), ((0.5, 0.6, 0.4, 0.4), False),
    ((0.5, 0.6, 0.4, 0.4, 0.9), True),
])
def test_early_stop_waits_for_its_patience_without_a_gain(losses, stops):
    assert EarlyStop(patience=2).on_epoch_end(state(*losses)) is stops
    assert EarlyStop("val/acc1", 2).on_epoch_end(state(*losses)) is stops
    assert EarlyStop("val/acc1", 2, higher_is_better=False, least=0.5).on_epoch_end(state(*losses)) is (len(losses) > 2)


def test_early_stop_ends_a_training_and_counts_on_in_a_resumed_one(tmp_path, capsys):
    done = own(tmp_path / "run", epochs=20, lr=0.0, callbacks=[EarlyStop(patience=3)], quiet=False)
    assert [row["epoch"] for row in done.history] == [1, 2, 3, 4]
    assert "stopped by a callback after epoch 4\n" in capsys.readouterr().out
    again = own(tmp_path / "run", epochs=20, lr=0.0, callbacks=[EarlyStop(patience=5)], resume=True)
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UserError, match=r"^EarlyStop: unknown metric 'val/los'; did you mean 'val/loss'\?$"):
        own(tmp_path / "wrong", callbacks=[EarlyStop("val/los")])
    assert not (tmp_path / "wrong/last.json").exists(), "told before the first step"
    own(tmp_path / "mine", epochs=1, callbacks=[EarlyStop("val/mine")], metrics={"mine": lambda logits, labels: 0.5})
    with pytest.raises(UserError, match="^EarlyStop: patience=0 must be at least 1$"):
        EarlyStop(patience=0)


def test_a_resumed_training_gives_what_an_unbroken_one_does(tmp_path):
    more = {"optimizer": "nesterov", "schedule": "onecycle", "warmup_epochs": 1, "ema_decay": 0.9, "mixup": 0.2, "epochs": 4,
            "label_smoothing": 0.1, "class_weights": np.array([0.5, 1, 1.5], np.float32), "clip_norm": 1.0}
    whole = own(tmp_path / "whole", **more)
    own(tmp_path / "run", **more, max_steps=5)
    assert own(tmp_path / "run", **more, resume=True).metrics == whole.metrics


def test_it_trains_as_the_command_does_and_a_predictor_answers(tmp_path, cifar_root, call_in_memory):
    """To the last bit, with the same settings; and Predictor builds a network of the zoo again."""
    done = call_in_memory(train, "--depth", 8, "--data-dir", cifar_root, "--output-dir", tmp_path / "theirs", "--epochs", 2,
                          "--batch-size", 8, "--augment", "crop_flip", "--nproc", 1, "--device", "cpu")
    assert done.status == 0, done.err
    data = load_data("cifar10", cifar_root)
    result = paddle_cls.fit("resnet", data, epochs=2, batch_size=8, augment="crop_flip", output_dir=tmp_path / "ours",
                            model_arguments={"depth": 8}, device="cpu", quiet=True)
    theirs = json.loads(done.out.splitlines()[-1])
    assert result.metrics == theirs["final"] and result.best == theirs["best"]
    answers = [Predictor.from_checkpoint(tmp_path / run)(data.val.fetch(np.arange(2))[0]) for run in ("ours", "theirs")]
    assert answers[0].shape == (1, 10) and (answers[0] == answers[1]).all()


def test_a_layer_without_a_name_is_told_what_a_predictor_needs(tmp_path):
    own(tmp_path / "run", model=(net := Linear()), epochs=1)
    with pytest.raises(UserError, match=re.escape(
            'its network, a layer of class Linear, was given to fit without a name to build '
            'it by; train with fit(..., model_name="module:Net"), or load the weights')):
        Predictor.from_checkpoint(tmp_path / "run")
    net.eval()
    images, labels = pictures(6)
    predictor = Predictor(lambda: net, "rgb", 8, paddle_cls.data.HALF)
    assert predictor(list(images)).argmax(1).tolist() == labels.tolist()
    own(tmp_path / "named", epochs=1, model_name="mine:Linear")
    assert json.loads((tmp_path / "named" / "last.json").read_text())["model"] == {"name": "mine:Linear", "arguments": {}}


def test_a_layer_of_the_callers_keeps_its_classes(tmp_path):
    """While it trains, compiled operators may compute it."""
    net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.ReLU(), paddle.nn.Flatten(),
                               paddle.nn.Linear(144, 3))
    before = net[0].weight.numpy()
    own(tmp_path / "run", model=net, epochs=1)
    assert [type(layer) for layer in (net, *net)] == [paddle.nn.Sequential, paddle.nn.Conv2D, paddle.nn.BatchNorm2D,
                                                      paddle.nn.ReLU, paddle.nn.Flatten, paddle.nn.Linear]
    assert not np.array_equal(net[0].weight.numpy(), before)


def test_an_own_optimizer_schedule_and_augmentation(tmp_path):
    net = Linear()
    rates, grey = [], []
    rms = paddle.optimizer.RMSProp(learning_rate=0.0, parameters=net.parameters())
    own(tmp_path / "run", model=net, epochs=1, optimizer=rms, schedule=lambda step: rates.append(step) or 0.01,
        augment=lambda images, rng: grey.append(images.dtype) or images[:, :, ::-1], normalization=CIFAR10)
    assert set(rates) == {0, 1, 2} and grey == [np.uint8] * 3 and rms.get_lr() == 0.01
    with pytest.raises(UserError, match=r"^fit: augment gave float32 \(8, 8, 8, 3\); it must return uint8 \(8, 8, 8, 3\)"):
        own(tmp_path / "wrong", augment=lambda images, rng: images.astype("float32"))


@pytest.mark.parametrize(("changed", "message"), [
    ({"train": (np.zeros((4, 8, 8, 3)), [0, 1, 0, 1])}, "fit: train: images float64 (4, 8, 8, 3); they must be uint8 (N, height, "
                                                        "width, 3), RGB"),
    ({"val": (pictures(4)[0], [0, 1, 2])}, "fit: val: labels int64 (3,); they must be 4 whole numbers"),
    ({"val": (pictures(3)[0], [0, 1, 3])}, "fit: val: labels from 0 to 3; with 3 classes they must be from 0 to 2"),
    ({"train": 5}, "fit: train must be a Data, a Split, or (images, labels)"),
    ({"train": pictures(4), "val": None}, "fit: without val, a part of train is held out: 0.1: each class must have at least 2 "
                                          "images, some for either part; 1 has 1, 2 has 1; add images, or leave out the class"),
    ({"train": Data(Split(*pictures()), None, ("a", "b", "c"), 8, HALF), "val": None},
     "fit: this Data has no validation split; give one of load_data, or its `train`, of which a part is held out"),
    ({"train": (np.zeros((3, 8, 9, 3), np.uint8), [0, 1, 2])}, "fit: the images have 8x9 pixels; say with image_size to how "
                                                              "many a side they are resized"),
    ({"model": "resnot"}, "unknown model 'resnot'; did you mean 'resnet'?"),
    ({"model": 5}, 'fit: model is int; give a name of the zoo, "module:Net" or a paddle.nn.Layer'),
    ({"model": Linear(4)}, "fit: the network gives [1, 4] for one image; it must give logits of shape [1, 3]"),
    ({"epochs": 0}, "fit: epochs=0 must be at least 1"),
    ({"batch_size": 2.5}, "fit: batch_size=2.5 is not a whole number"),
    ({"max_steps": 0}, "fit: max_steps=0 must be at least 1"),
    ({"lr": np.nan}, "fit: lr=nan must be at least 0"),
    ({"ema_decay": 2.0}, "fit: ema_decay=2.0 must be from 0 to 1"),
    ({"class_weights": [1, 1]}, "fit: class_weights=[1, 1] must be 3 numbers of at least 0, one for each class"),
    ({"val": Split(np.zeros((0, 8, 8, 3), np.uint8), [])}, "fit: val: there are no images; give at least one"),
    ({"callbacks": [EarlyStop]}, "fit: callbacks: EarlyStop is a class; give an object of it, EarlyStop(...)"),
    ({"callbacks": [3]}, "fit: callbacks: 3 has neither on_epoch_end nor on_step_end; add one of them"),
    ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known: adam, adamw, momentum, nesterov"),
    ({"metrics": {"acc1": lambda logits, labels: 1}}, "metrics: 'acc1' is a metric of the package already; choose another name"),
    ({"metrics": {"f": lambda logits, labels: "x"}}, "metrics: 'f' gave 'x'; it must return a finite number"),
    ({"metrics": {"f": lambda logits, labels: np.nan}}, "metrics: 'f' gave nan; it must return a finite number")])
def test_what_is_refused(tmp_path, changed, message):
    given = {"model": Linear(), "train": pictures(), "val": pictures(9), "epochs": 1, **changed}
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        paddle_cls.fit(**given, output_dir=tmp_path / "run", device="cpu", quiet=True)


def test_a_folder_with_a_run_is_left_alone(tmp_path):
    own(tmp_path / "run", epochs=1)
    with pytest.raises(UserError, match=r"run holds a run \(last\.json\); continue it with resume=True, or choose another"):
        own(tmp_path / "run")
