"""Checkpoints: whole or not there, strict, and back to the last bit."""

import json
import os
import pickle

import numpy as np
import paddle
import pytest

from paddle_cls.checkpoints import checkpoint
from paddle_cls.checkpoints.info import CheckpointInfo, Description
from paddle_cls.checkpoints.storage import exists
from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.training.optimizers import build_optimizer, initial_state
from paddle_cls.training.run import Run

ABOUT = {"model": {"name": "resnet", "arguments": {"depth": 8}}, "classes": ["a", "b"], "image_size": 32, "normalization":
         {"mean": [0, 0, 0], "std": [1, 1, 1]}}
INFO = CheckpointInfo.new(Description.from_dictionary(ABOUT))


def network(seed: int = 0) -> paddle.nn.Layer:
    paddle.seed(seed)
    return build_model("resnet", 2, depth=8)


def equal(one: paddle.nn.Layer, other: paddle.nn.Layer) -> bool:
    return all((value.numpy() == other.state_dict()[name].numpy()).all() for name, value in one.state_dict().items())


def save(path, seed: int = 0, **info) -> paddle.nn.Layer:
    model = network(seed)
    checkpoint.save(path, model, {"x": paddle.ones([3]) * seed}, CheckpointInfo.new(INFO.about, **info))
    return model


def read(path) -> tuple[paddle.nn.Layer, dict, CheckpointInfo]:
    info = checkpoint.read_info(path)
    model = network(99)
    checkpoint.load(path, model, info)
    return model, checkpoint.read_optimizer(path, info), info


def test_what_is_saved_comes_back(tmp_path):
    model = save(tmp_path / "last", 1, epoch=3)
    back, state, info = read(tmp_path / "last")
    assert equal(model, back)
    assert state["x"].tolist() == [1, 1, 1]
    assert info.epoch == 3
    assert sorted(os.listdir(tmp_path)) == ["last.json", "last.pdopt", "last.pdparams"]


def test_paddle_itself_reads_the_weights(tmp_path):
    model, other = save(tmp_path / "last", 1), network(2)
    other.set_state_dict(paddle.load(str(tmp_path / "last.pdparams")))
    assert equal(model, other)


def step(model, optimizer):
    optimizer.set_lr(0.01)
    model(paddle.ones([2, 3, 8, 8])).sum().backward()
    optimizer.step()
    optimizer.clear_grad()


@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_a_checkpoint_saved_before_the_first_step_after_resuming_keeps_the_optimizer_state(tmp_path, kind):
    states = []
    for steps in (1, 0, 0, 1):
        with paddle.utils.unique_name.guard():     # as in a new process
            model = network()
            run = Run(tmp_path, model, build_optimizer(kind, model), about=INFO.about)
            assert run.resume() == bool(states)
            for _ in range(steps):
                step(model, run.optimizer)
            run.save("last")
        states.append(checkpoint.read_optimizer(tmp_path / "last", checkpoint.read_info(tmp_path / "last")))
    assert [len(state) for state in states] == [len(states[0])] * 4
    assert len(states[0]) >= sum(not p.stop_gradient for p in model.parameters())
    assert [all((state[key] == states[0][key]).all() for key in state) for state in states] == [True, True, True, False]


def test_an_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path):
    path, new_process = tmp_path / "last", paddle.utils.unique_name.guard      # Paddle names parameters from 0 again
    with new_process():
        model = network()
        optimizer = build_optimizer("adam", model)
        step(model, optimizer)
        checkpoint.save(path, model, optimizer.state_dict(), INFO)
        step(model, optimizer)
    with new_process():
        again = network(1)
        resumed = build_optimizer("adam", again)
        info = checkpoint.read_info(path)
        checkpoint.load(path, again, info)
        checkpoint.load_optimizer(path, resumed, initial_state(resumed, again), info)
        step(again, resumed)
    assert equal(model, again)
    with pytest.raises(UserError, match="state of other parameters than this model's"):
        checkpoint.load_optimizer(path, resumed, initial_state(resumed, network()), info)


class Crash(BaseException):
    """As kill -9: no clean-up is to count on."""


def crash_at(monkeypatch, moment: int):
    """Have the `moment`-th file operation of a save raise, before doing anything."""
    count = 0

    def counted(original):
        def operation(*args, **kwargs):
            nonlocal count
            count += 1
            if count == moment:
                raise Crash
            return original(*args, **kwargs)
        return operation

    monkeypatch.setattr(paddle, "save", counted(paddle.save))
    monkeypatch.setattr(checkpoint, "write_text", counted(checkpoint.write_text))
    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(checkpoint.Path, "unlink", lambda self, missing_ok=False: None)


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_crash_at_any_moment_leaves_the_old_or_the_new(tmp_path, monkeypatch, moment):
    """Seven operations: two pickles, the .json and its two renames, and the renames of the three files."""
    path = tmp_path / "last"
    models = {1: save(path, 1, epoch=1)}
    with monkeypatch.context() as patch:
        crash_at(patch, moment)
        with pytest.raises(Crash):
            save(path, 2, epoch=2)
    models[2] = network(2)
    names = os.listdir(tmp_path)
    back, state, info = read(path)
    assert os.listdir(tmp_path) == names           # reading never writes
    assert info.epoch == (1 if moment <= 4 else 2)
    assert equal(models[info.epoch], back)
    assert state["x"].tolist() == [info.epoch] * 3
    monkeypatch.setattr("paddle_cls.system.files._alive", lambda process: False)
    models[3] = save(path, 3, epoch=3)             # and the next save is not disturbed
    assert equal(models[3], read(path)[0])
    assert sorted(os.listdir(tmp_path)) == ["last.json", "last.pdopt", "last.pdparams"]


def test_a_first_save_that_crashed_left_no_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 2)
        with pytest.raises(Crash):
            save(tmp_path / "last")
    assert not exists(tmp_path / "last")


def test_a_full_disk_keeps_the_old_one(tmp_path, monkeypatch):
    save(tmp_path / "last", 1)

    def full(state, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(paddle, "save", full)
        with pytest.raises(UserError, match=r"\.last\.new\.pdparams: cannot be written: No space left on device; free"):
            save(tmp_path / "last", 2)
    assert equal(network(1), read(tmp_path / "last")[0])
    assert sorted(os.listdir(tmp_path)) == ["last.json", "last.pdopt", "last.pdparams"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    save(tmp_path / "last", 1)
    model = network(2)
    model.fc.weight.set_value(np.full([64, 2], np.inf, np.float32))
    with pytest.raises(ArithmeticError, match=r"the weights of fc\.weight are not finite"):
        checkpoint.save(tmp_path / "last", model, {}, INFO)
    assert equal(network(1), read(tmp_path / "last")[0])


@pytest.mark.parametrize("suffix", [".pdparams", ".pdopt"])
@pytest.mark.parametrize("change", ["truncated", "flipped", "missing"])
def test_a_changed_file_is_refused(tmp_path, suffix, change):
    save(tmp_path / "last", 1)
    file = tmp_path / f"last{suffix}"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data[:-40] if change == "truncated" else data)
    if change == "missing":
        file.unlink()
    with pytest.raises(UserError, match="missing; use another" if change == "missing" else "checksum differs"):
        read(tmp_path / "last")


@pytest.mark.parametrize(("text", "message"), [
    ("{", "truncated or not JSON"),
    ("[]", r"\[\] is not a dictionary; use another checkpoint"),
    ('{"format": 1}', "model is missing; use another checkpoint"),
    (json.dumps({**INFO.to_dictionary(), "format": 2}), r"last\.json: written in format 2, this version reads 1; install a newer "
                                                        r"paddle_cls$"),
])
def test_a_broken_description_is_refused(tmp_path, text, message):
    save(tmp_path / "last")
    (tmp_path / "last.json").write_text(text)
    with pytest.raises(UserError, match=message):
        checkpoint.read_info(tmp_path / "last")


def test_weights_of_another_model_are_refused(tmp_path):
    save(tmp_path / "last")
    info = checkpoint.read_info(tmp_path / "last")
    with pytest.raises(UserError, match=r"fc\.weight has shape \(64, 2\), the model needs \(64, 5\)"):
        checkpoint.load(tmp_path / "last", build_model("resnet", 5, depth=8), info)
    with pytest.raises(UserError, match="not the weights of this model: 33 are missing"):
        checkpoint.load(tmp_path / "last", build_model("resnet", 2, depth=14), info)


def test_foreign_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    save(tmp_path / "last")
    evil = pickle.dumps({"fc.weight": Evil()})
    for suffix in checkpoint.SUFFIXES:
        (tmp_path / f"last{suffix}").write_bytes(evil)
    info = json.loads((tmp_path / "last.json").read_text())
    info["sha256"] = {suffix: checkpoint.hash_of(tmp_path / f"last{suffix}") for suffix in checkpoint.SUFFIXES}
    (tmp_path / "last.json").write_text(json.dumps(info))
    info = checkpoint.read_info(tmp_path / "last")
    for reading in (checkpoint.read_optimizer, lambda path, info: checkpoint.load(path, network(), info)):
        with pytest.raises(UserError, match=r"refused: it asks for (posix|nt)\.mkdir"):
            reading(tmp_path / "last", info)
    assert not (tmp_path / "owned").exists()
