"""Waiting for one process for longer than an exchange may last: processes are threads here, gloo's limit half a second."""

import threading
import time

import numpy as np
import pytest

from paddle_cls.parallel import heartbeat
from paddle_cls.parallel.world import World


class Linked(World):
    """A process of several in one; as gloo's, its exchanges give up when another one does not come."""

    def __init__(self, rank: int, size: int, meeting: threading.Barrier, seen: dict):
        self.rank, self.size, self.meeting, self.seen = rank, size, meeting, seen

    def sum(self, values):
        self.seen[self.rank] = values
        try:
            self.meeting.wait(timeout=0.5)
            total = np.sum([self.seen[rank] for rank in range(self.size)], axis=0)
            self.meeting.wait(timeout=0.5)
        except threading.BrokenBarrierError:
            raise RuntimeError("gloo: TIMEOUT") from None
        return total


def together(block) -> dict:
    """Have two processes call block(world); return what each answers or raises."""
    meeting, seen, answers = threading.Barrier(2), {}, {}

    def work(rank: int) -> None:
        world = Linked(rank, 2, meeting, seen)
        try:
            answers[rank] = block(world)
        except RuntimeError as error:
            answers[rank] = str(error)
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return answers


@pytest.mark.parametrize("beat, told", [(0.1, ["ready", "ready"]), (60, ["gloo: TIMEOUT", "gloo: TIMEOUT"])])
def test_the_first_may_take_longer_than_an_exchange(monkeypatch, beat, told):
    monkeypatch.setattr(heartbeat, "SECONDS", beat)
    done = []

    def block(world) -> str:
        with world.first():
            if world.rank == 0:
                time.sleep(1.2)
                done.append("ready")
            return done[0]
    assert list(dict(sorted(together(block).items())).values()) == told


def test_what_fails_at_the_first_is_not_told_as_done(monkeypatch):
    def block(world) -> str:
        with world.first():
            if world.rank == 0:
                raise RuntimeError("no such data")
            return "went on"
    assert together(block) == {0: "no such data", 1: "gloo: TIMEOUT"}
