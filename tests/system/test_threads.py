"""Several threads: every number once, whatever their number; errors come out."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from paddle_cls.system import threads


@pytest.fixture(params=[1, 3])
def pool(request, monkeypatch):
    """Have so many threads."""
    with ThreadPoolExecutor(request.param) as executor:
        monkeypatch.setattr(threads, "_pool", lambda: (executor, request.param))
        yield request.param


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_number_comes_once(pool, count):
    seen = []
    threads.for_each(seen.append, count)
    assert sorted(seen) == list(range(count))


def test_the_threads_work_at_once(pool):
    together = threading.Barrier(pool)
    threads.for_each(lambda number: together.wait(10), pool)     # breaks unless all are there


def test_a_slow_one_does_not_hold_the_others_up(pool):
    names = {}

    def work(number: int) -> None:
        names[number] = threading.current_thread().name
        time.sleep(0 if number else 0.2)

    threads.for_each(work, 20)
    assert list(names.values()).count(names[0]) == (20 if pool == 1 else 1)


def test_an_error_is_raised_when_all_are_done(pool):
    done = []

    def work(number: int) -> None:
        if number == 3:
            raise KeyError("three")
        time.sleep(0.01)
        done.append(number)

    with pytest.raises(KeyError, match="three"):
        threads.for_each(work, 8)
    if pool > 1:
        assert sorted(done) == [0, 1, 2, 4, 5, 6, 7]


def test_stacking_keeps_the_order(pool):
    out = threads.stacked(lambda number: np.full((2, 3), number, np.uint8), 30, (2, 3), np.uint8)
    assert out.dtype == np.uint8 and np.array_equal(out, np.arange(30)[:, None, None] + np.zeros((1, 2, 3)))
    assert threads.stacked(lambda number: None, 0, (2, 3), np.float32).shape == (0, 2, 3)


def test_a_process_of_several_has_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(threads.runtime, "cores", lambda: 8)
    for world, expected in (("1", 8), ("3", 2), ("16", 1)):
        monkeypatch.setenv("PADDLE_TRAINERS_NUM", world)
        monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
        executor, count = threads._pool.__wrapped__()
        assert count == expected
        executor.shutdown()
