"""A hostile environment: Paddle's variables, the stack's limit, and what matplotlib would read; and two scripts' flags."""

import os
import resource
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from paddle_cls.errors import UserError
from paddle_cls.parallel.world import World
from paddle_cls.programs import train
from paddle_cls.system import environment

SMALL = ["--dataset", "shapes", "--model", "resnet", "--depth", "8", "--device", "cpu", "--onednn", "off", "--output-dir", "new"]
ALONE = "one of PADDLE_TRAINER_ID and PADDLE_TRAINERS_NUM is set, the other is not; unset it, or start by"
PLACES = {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:7000,10.0.0.2:7000", "PADDLE_CURRENT_ENDPOINT": "10.0.0.1:7000"}


@pytest.fixture
def variables(monkeypatch):
    """Return a function that sets Paddle's variables to those given, and no others."""
    def put(given: dict[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(("PADDLE_TRAINER", "PADDLE_CURRENT"))]:
            monkeypatch.delenv(name)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
    return put


@pytest.mark.parametrize("number, count, message", [
    (None, "abc", "PADDLE_TRAINERS_NUM='abc' is not a whole number from 1 on; unset it, or start by python -m"),
    ("x", None, "PADDLE_TRAINER_ID='x' is not a whole number from 0 on"),
    ("x", "2", "PADDLE_TRAINER_ID='x' is not a whole number"),
    (None, "", "PADDLE_TRAINERS_NUM='' is not a whole number"),
    ("0", "0", "PADDLE_TRAINERS_NUM='0' is not a whole number from 1"),
    ("-1", "2", "PADDLE_TRAINER_ID='-1' is not"), ("0", "1_0", "PADDLE_TRAINERS_NUM='1_0' is not"), ("0", "1e9", "='1e9' is not"),
    ("0", 5000 * "9", "PADDLE_TRAINERS_NUM='9+' is not"), (None, "2", ALONE), ("1", None, ALONE),
    ("2", "2", "PADDLE_TRAINER_ID=2: of PADDLE_TRAINERS_NUM=2 processes the last is number 1")])
def test_paddles_variables(refused, variables, monkeypatch, number, count, message):
    both = {"PADDLE_TRAINER_ID": number, "PADDLE_TRAINERS_NUM": count}
    variables({name: value for name, value in both.items() if value is not None})
    waited, sleep, own = [], time.sleep, threading.current_thread()       # another test may have left a thread
    monkeypatch.setattr("time.sleep", lambda seconds: (waited.append if threading.current_thread() is own else sleep)(seconds))
    refused(train, message, *SMALL)
    assert waited == ([3] if number == "2" else [])            # another process that is not the first speaks later


@pytest.mark.parametrize("changed", [
    {"PADDLE_TRAINER_ENDPOINTS": ""}, {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:7000"}, {"PADDLE_CURRENT_ENDPOINT": ""},
    {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:7000,10.0.0.1:7000"}, {"PADDLE_TRAINER_ENDPOINTS": "10.0.0.1:7000,10.0.0.2"},
    {"PADDLE_CURRENT_ENDPOINT": "10.0.0.2:7000"}], ids=str)
def test_places(variables, changed):
    variables({**PLACES, **changed, "PADDLE_TRAINER_ID": "0", "PADDLE_TRAINERS_NUM": "2"})
    with pytest.raises(UserError, match="must name 2 different HOST:PORT, and PADDLE_CURRENT_ENDPOINT number 0 of them"):
        World().join("cpu")


def test_good_variables(variables):
    variables({})
    assert environment.rank_and_size() == (0, 1)
    variables({"PADDLE_TRAINER_ID": "1", "PADDLE_TRAINERS_NUM": "2"})
    assert environment.rank_and_size() == (1, 2)
    variables(PLACES)
    environment.check_places(0, 2)


def test_a_small_stack_is_widened_or_told(monkeypatch):
    limits, asked = [256 * 1024, resource.RLIM_INFINITY], []
    monkeypatch.setattr(resource, "getrlimit", lambda what: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda what, new: asked.append(new))
    environment.widen_stack()
    assert asked == [(1 << 20, resource.RLIM_INFINITY)]
    for enough in (1 << 20, 8 << 20, resource.RLIM_INFINITY):
        limits[0] = enough
        environment.widen_stack()
    assert len(asked) == 1

    def refuse(what, new):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    limits[:] = 65536, 65536
    with pytest.raises(UserError, match="^the stack is limited to 64 kB, with which Paddle crashes; raise the limit: ulimit"):
        environment.widen_stack()


@pytest.mark.parametrize("content", [b"\xff\xfe garbage", b"text.usetex: True\nfigure.dpi: 100000"])
def test_matplotlib_is_loaded_whatever_the_user_has_set(tmp_path, content):
    """A process of its own, as matplotlib is loaded once: it draws, and finds folder and variables as they were.

    Nor does it tell of a new list of fonts, which VisualDL's logging would show.
    """
    (tmp_path / "matplotlibrc").write_bytes(content)
    code = ("import logging, os; from paddle_cls.evaluation import drawing; drawing.load(); "
            "from matplotlib.figure import Figure; from matplotlib.backends.backend_agg import FigureCanvasAgg as Canvas; "
            "figure = Figure(figsize=(1, 1)); "
            "figure.subplots().set_title('a $x$'); canvas = Canvas(figure); canvas.draw(); "
            "print(canvas.get_width_height(), os.getcwd(), os.environ['MPLBACKEND'], os.environ['MATPLOTLIBRC']); "
            "logging.basicConfig(level='INFO'); logging.getLogger('matplotlib.font_manager').info('a new list')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={
        **os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "foo", "MATPLOTLIBRC": "matplotlibrc"})
    assert (done.stdout, done.stderr) == (f"(100, 100) {tmp_path} foo matplotlibrc\n", "")


@pytest.mark.parametrize("module, flags, message", [
    ("benchmarks.rounds", ["--nonsense"], "benchmarks.rounds: error: what the benchmarks share, no program; run python -m "),
    ("examples.ichallenge_pm", ["--data-dir", "x", "--epochs", "-1"],
     "ichallenge_pm.py: error: --epochs: -1 must be from 1 to 1000"),
    ("benchmarks.runs", ["none"], "runs.py: error: none: no finished epoch in metrics.jsonl")])
def test_other_scripts(module, flags, message):
    done = subprocess.run([sys.executable, "-m", module, *flags], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
