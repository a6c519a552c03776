"""How the processes of one training find each other, and what is said of one that does not come."""

import errno
import socket
import threading
import time

import pytest

from paddle_cls.errors import UserError
from paddle_cls.parallel import rendezvous


@pytest.fixture
def address(monkeypatch) -> str:
    """A free place of this machine, named as Paddle's variables name the first process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    for name in ("MASTER_ADDR", "MASTER_PORT", "PADDLE_MASTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", f"{place},127.0.0.1:1")
    return place


@pytest.mark.parametrize(("rank", "told"), [
    (0, r"process 1, 2 of 3 did not come"), (1, r"process 1 of 3 did not reach the first one: Connection refused")])
def test_who_does_not_come_is_told(address, rank, told):
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"^waited 0 s for the other processes at {address}: {told}; start them all, or unset "
                                        r"PADDLE_TRAINERS_NUM to train in one$"):
        rendezvous.meet(rank, 3, 0.3)
    assert time.monotonic() - started < 3


def test_all_meet_and_strangers_are_passed_over(address):
    done = []
    threads = [threading.Thread(target=lambda rank=rank: (rendezvous.meet(rank, 3, 10), done.append(rank))) for rank in (1, 2, 0)]
    for thread in threads:
        thread.start()
    host, port = address.split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    except OSError:                                # they have met already
        pass
    for thread in threads:
        thread.join(10)
    assert sorted(done) == [0, 1, 2]


@pytest.mark.parametrize("text", ["", "nonsense", "host:0", "host:99999", ":80"])
def test_a_place_that_is_none_is_told(monkeypatch, address, text):
    monkeypatch.setenv("PADDLE_TRAINER_ENDPOINTS", text)
    with pytest.raises(UserError, match=r"PADDLE_TRAINER_ENDPOINTS: .* is no HOST:PORT of the first process"):
        rendezvous.first_address()


def test_a_machine_without_a_loopback_is_told_at_once(address, monkeypatch):
    def unreachable(*_, **__):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")
    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(UserError, match=r"^127\.0\.0\.1: Network is unreachable: the loopback interface, by which processes of "
                                        r"one machine meet, is down; bring it up \(ip link set lo up\), or train in one "):
        rendezvous.meet(1, 2, 30)
