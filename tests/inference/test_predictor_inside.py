"""A Predictor inside another program: it sets itself up, answers several threads, and leaves Paddle's device as it was."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest
from fakes import rgb

from paddle_cls.inference import cached
from paddle_cls.inference.predictor import Predictor
from paddle_cls.models import build_model
from paddle_cls.system import runtime


@pytest.fixture
def pictures() -> list[np.ndarray]:
    return [rgb(1), rgb(2, 50, 70), rgb(3, 100, 33), rgb(4, 8, 8), rgb(5)]


def test_threads_ask_one_predictor_at_once(run_folder, pictures, tmp_path, monkeypatch):
    """It is exported once, and while some ask for features of a network in training mode, nobody's answer changes."""
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path))
    built, made = [], []
    monkeypatch.setattr("paddle_cls.inference.predictor.build_model", lambda **more: built.append(1) or build_model(**more))
    make = cached.make
    monkeypatch.setattr(cached, "make", lambda *given: made.append(1) or make(*given))
    asked = Predictor.from_checkpoint(run_folder, device="cpu")
    asked.model.train()
    together = threading.Barrier(8)

    def ask(number: int) -> tuple[np.ndarray, np.ndarray]:
        together.wait()
        if number % 2:
            return asked(pictures, batch_size=2), asked.features(pictures, batch_size=2)
        features = asked.features(pictures, batch_size=2)
        return asked(pictures, batch_size=2), features

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert len(built) == len(made) == 1 and asked.model.training
    for probabilities, features in answers:
        assert np.array_equal(probabilities, asked(pictures, batch_size=2))
        assert np.array_equal(features, asked.features(pictures, batch_size=2))


def test_paddles_device_is_as_before(run_folder, pictures, tmp_path, monkeypatch):
    """A stand-in for a machine with a GPU, on which everything else computes."""
    now, built_on = ["gpu:0"], []
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path))
    monkeypatch.setattr(paddle, "get_device", lambda: now[-1])
    monkeypatch.setattr(paddle, "set_device", now.append)
    monkeypatch.setattr("paddle_cls.inference.predictor.build_model",
                        lambda **more: built_on.append(now[-1]) or build_model(**more))
    predictor = Predictor.from_checkpoint(run_folder, device="cpu")
    assert built_on == ["cpu"] and now == ["gpu:0", "cpu"] * 2 + ["gpu:0"]             # built, exported
    predictor(pictures[0])
    predictor.features(pictures[0])
    assert now[-1] == "gpu:0" and now.count("cpu") == 2


def test_a_program_need_not_set_up_anything(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path))
    done = []
    monkeypatch.setattr(runtime, "prepare", lambda: done.append("prepared"))
    monkeypatch.setattr(runtime, "load_paddle", lambda: done.append("loaded"))
    Predictor.from_checkpoint(run_folder, device="cpu")
    assert done == ["prepared", "loaded"]          # for the export
    Predictor.from_checkpoint(run_folder, device="cpu")
    assert done[2:] == ["prepared"]
