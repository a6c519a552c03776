"""What the computation runs on: the variables set before Paddle loads, and what a GPU gets, shown by stand-ins for it."""

import os
import resource
import types

import numpy as np
import paddle
import pytest

from paddle_cls.errors import UserError
from paddle_cls.parallel.world import World
from paddle_cls.system import runtime


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("FLAGS_cudnn_exhaustive_search", raising=False)
    runtime.prepare()
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ["FLAGS_cudnn_exhaustive_search"] == "1"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="of Linux")
def test_freed_memory_is_kept_for_the_next_tensor():
    """conftest.py has called prepare(). Ten times eight arrays of 8 MB: 16,384 pages each time, were they new."""
    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def step() -> None:
        activations = [np.ones(1 << 20) for _ in range(8)]
        del activations

    step()
    before = faults()
    for _ in range(10):
        step()
    assert faults() - before < 20_000


def test_a_cpu_gets_its_tensors_from_paddle():
    assert runtime.copier("cpu") is paddle.to_tensor


def test_a_copy_to_a_gpu_is_not_waited_for_and_its_source_is_kept_until_it_is_done(monkeypatch):
    alive, done = set(), []

    class Locked:
        def __init__(self, array):
            self.name = array
            alive.add(array)

        def __del__(self):
            alive.discard(self.name)

        def cuda(self, blocking):
            assert blocking is False
            return f"{self.name} on the GPU"

    class Event:
        def record(self):
            self.number = len(events)
            events.append(self)

        def query(self):
            return self.number in done

    events: list[Event] = []
    monkeypatch.setattr(paddle, "CUDAPinnedPlace", lambda: "pinned")
    monkeypatch.setattr(paddle, "to_tensor", lambda array, place: Locked(array) if place == "pinned" else None)
    monkeypatch.setattr(paddle.device, "cuda", types.SimpleNamespace(Event=Event))
    copy = runtime.copier("gpu")
    assert [copy("a"), copy("b")] == ["a on the GPU", "b on the GPU"]
    assert alive == {"a", "b"}
    done += [0, 1]
    copy("c")
    assert alive == {"c"}


def test_float16_lets_paddle_choose_the_layout_and_scales_the_loss(monkeypatch):
    asked = []
    monkeypatch.setattr(paddle.incubate.autotune, "set_config", asked.append)
    _, scaler = runtime.mixed_precision("bfloat16", "gpu")
    assert scaler is None and not asked
    _, scaler = runtime.mixed_precision("float16", "gpu")
    assert asked == [{"layout": {"enable": True}}] and isinstance(scaler, paddle.amp.GradScaler)


def test_a_cpu_has_no_mixed_precision():
    with pytest.raises(UserError, match="--amp float16: Paddle computes in float32 on a CPU"):
        runtime.mixed_precision("float16", "cpu")


@pytest.mark.parametrize("limit, expected", [
    ("max 100000\n", 8), ("200000 100000\n", 2), ("150000 100000\n", 2), ("5000 100000\n", 1), (None, 8)])
def test_the_cores_of_a_container_are_those_that_it_is_given(monkeypatch, tmp_path, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 8)
    monkeypatch.setattr(runtime, "CPU_LIMIT", tmp_path / "cpu.max")
    if limit:
        runtime.CPU_LIMIT.write_text(limit)
    assert runtime.cores() == expected


def test_as_many_processes_as_cores_and_images(monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 6)
    monkeypatch.setattr(runtime, "_gpu_driver", lambda: False)
    assert runtime.choose_processes(None, "auto", 128)[0] == 6
    assert runtime.choose_processes(None, "auto", 4)[0] == 4
    assert runtime.choose_processes(2, "auto", 4) == (2, "as --nproc says")
    monkeypatch.setattr(runtime, "_gpu_driver", lambda: True)
    assert runtime.choose_processes(None, "auto", 128)[0] == 1
    with pytest.raises(UserError, match="--nproc 5: more processes than the 4 images of a batch"):
        runtime.choose_processes(5, "cpu", 4)


def test_alone_in_the_world_everything_is_itself():
    world, values = World(), np.arange(3.0)
    assert (world.rank, world.size) == (0, 1)
    assert world.sum(values) is values and world.gather(values) is values and world.parallel("a model") == "a model"
