"""The state of an optimizer in a checkpoint: whole, that of the optimizer which goes on, and as if nothing had stopped it."""

import pickle

import numpy as np
import paddle
import pytest
from fakes import forge

from paddle_cls.checkpoints.info import Description
from paddle_cls.checkpoints.weights import read_state
from paddle_cls.errors import UserError
from paddle_cls.models import build_model
from paddle_cls.programs import train
from paddle_cls.training.optimizers import build_optimizer, initial_state
from paddle_cls.training.run import Run

ABOUT = {"model": {"name": "resnet", "arguments": {"depth": 8}}, "classes": ["a", "b"], "image_size": 32, "normalization":
         {"mean": [0, 0, 0], "std": [1, 1, 1]}}
KINDS = ("adam", "adamw", "momentum", "nesterov")
LACKS = r"last\.pdopt: it lacks {} of the {} arrays that the optimizer goes on from, such as {}; use another checkpoint"


def begun(folder, kind: str) -> Run:
    with paddle.utils.unique_name.guard():         # as in a new process
        paddle.seed(0)
        model = build_model("resnet", 2, depth=8)
    return Run(folder, model, build_optimizer(kind, model), about=Description.from_dictionary(ABOUT))


def steps(run: Run, count: int, frozen: str) -> None:
    """Train with the layers frozen whose names start so."""
    for name, weight in run.model.named_parameters():
        weight.stop_gradient = name.startswith(frozen) or name.endswith(("_mean", "_variance"))
    with paddle.utils.unique_name.guard():
        for _ in range(count):
            run.optimizer.set_lr(0.01)
            run.model(paddle.ones([2, 3, 8, 8])).sum().backward()
            run.optimizer.step()
            run.optimizer.clear_grad()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_what_paddle_makes_of_it(tmp_path, kind):
    run = begun(tmp_path, kind)
    steps(run, 1, "none")
    made = {key: tuple(value.shape) for key, value in run.optimizer.state_dict().items()}
    assert made == {key: shape for key, (shape, _) in initial_state(run.optimizer, run.model).items()}


@pytest.mark.parametrize("saved", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_thaw_after_a_resume_train_as_without_one(tmp_path, kind, saved):
    """Their first step came with an AssertionError: the file held nothing of theirs."""
    whole, run = begun(tmp_path, kind), begun(tmp_path, kind)
    steps(whole, saved, "conv1")
    steps(run, saved, "conv1")
    run.save("last")
    again = begun(tmp_path, kind)
    assert again.resume()
    for one in (whole, again):
        steps(one, 2, "none")
    states = [one.optimizer.state_dict() | one.model.state_dict() for one in (whole, again)]
    assert all(np.array_equal(states[0][key], states[1][key]) for key in {**states[0], **states[1]})


@pytest.mark.parametrize("lost, message", [
    (["conv2d_0.w_0_moment1_0"], LACKS.format(1, 128, r"conv2d_0\.w_0_moment1_0")),
    (["conv2d_3.w_0_beta2_pow_acc_0", "linear_0.b_0_moment2_0"], LACKS.format(2, 128, r"conv2d_3\.w_0_beta2_pow_acc_0")),
    (None, LACKS.format(128, 128, r"batch_norm2d_0\.b_0_beta1_pow_acc_0")),
], ids=["one", "two", "all"])
def test_a_state_that_is_not_whole_is_refused(refused, here, lost, message):
    """It ended in an AssertionError at the first step, and an empty one began anew without a word."""
    state = read_state(here / "run" / "last.pdopt")
    forge(here / "run", "last.pdopt", pickle.dumps({key: value for key, value in state.items() if lost and key not in lost}))
    refused(train, message, "--resume", "--nproc", 1, "--device", "cpu", "--data-dir", "data", "--output-dir", "run")


def test_the_state_of_another_optimizer_is_refused(tmp_path):
    begun(tmp_path, "momentum").save("last")
    with pytest.raises(UserError, match=r"last\.pdopt: state of another optimizer, or .*: \['batch_norm2d_0\.b_0_velocity_0'"):
        begun(tmp_path, "adam").resume()
