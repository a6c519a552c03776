"""The processes of one training connect to each other, or one line names those that are missing.

Paddle's own rendezvous waits for many minutes in C++, where no signal handler runs, and fails with a traceback. So all processes
connect here before: the first one listens at the address that Paddle's store will use, and the others connect to it.
"""

import contextlib
import errno
import os
import socket
import struct
import time

from ..errors import UserError

SECONDS = 60.0                                     # processes that are started together come within a few
_GREETING = struct.Struct("!8sII")                 # a word of ours, the number of the process, the number of processes
_WORD = b"paddlcls"


def first_address() -> tuple[str, int]:
    """Return host and port of the first process, from the variables that Paddle reads. Raises UserError."""
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    text = f"{host}:{port}" if host and port else os.environ.get("PADDLE_MASTER") or ""
    text = text or os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")[0]
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"PADDLE_TRAINER_ENDPOINTS: {text!r} is no HOST:PORT of the first process; start the processes by "
                        f"--nproc or python -m paddle.distributed.launch, which set it")
    return host.strip(), int(port)


def meet(rank: int, size: int, seconds: float | None = None) -> None:
    """Return when all `size` processes have called this; `rank` is this one's number. Raises UserError after `seconds`."""
    seconds = SECONDS if seconds is None else seconds
    address, deadline = first_address(), time.monotonic() + seconds
    (_gather if rank == 0 else _connect)(address, rank, size, seconds, deadline)


def _gather(address: tuple[str, int], rank: int, size: int, seconds: float, deadline: float) -> None:
    here: dict[int, socket.socket] = {}
    try:
        with contextlib.ExitStack() as opened:
            with socket.create_server(address, backlog=size) as server:
                while len(here) < size - 1:
                    server.settimeout(max(0.01, deadline - time.monotonic()))
                    guest, _ = server.accept()
                    opened.enter_context(guest)
                    number = _greeted(guest, size)
                    if number is not None:
                        here[number] = guest
            for guest in here.values():            # now that Paddle's connections cannot reach us in place of its store
                with contextlib.suppress(OSError):
                    guest.sendall(b"+")
            for guest in here.values():            # they hang up first: the port is free for Paddle then
                with contextlib.suppress(OSError):
                    guest.settimeout(5)
                    guest.recv(1)
    except TimeoutError:
        missing = [str(number) for number in range(1, size) if number not in here]
        raise UserError(_timed_out(address, seconds, f"process {', '.join(missing)} of {size} did not come")) from None
    except OSError as error:
        raise UserError(f"{address[0]}:{address[1]}: the other processes cannot be waited for there: "
                        f"{error.strerror or error}; name a free port of this machine as the first of "
                        f"PADDLE_TRAINER_ENDPOINTS (--master of python -m paddle.distributed.launch)") from None


def _greeted(guest: socket.socket, size: int) -> int | None:
    """Return the number of the process at the other end; None for somebody else."""
    guest.settimeout(2)
    try:
        word, number, count = _GREETING.unpack(guest.recv(_GREETING.size, socket.MSG_WAITALL))
    except (OSError, struct.error):
        return None
    return number if word == _WORD and count == size and 0 < number < size else None


def _connect(address: tuple[str, int], rank: int, size: int, seconds: float, deadline: float) -> None:
    why = "nobody listens there"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(address, timeout=left) as host:
                host.sendall(_GREETING.pack(_WORD, rank, size))
                host.settimeout(max(0.01, deadline - time.monotonic() + 1))            # the first one tells who is missing
                if host.recv(1) == b"+":
                    return
                why = "the first process left"
        except OSError as error:
            why = error.strerror or str(error)
            if error.errno == errno.ENETUNREACH and address[0].startswith("127."):
                raise UserError(f"{address[0]}: {why}: the loopback interface, by which processes of one machine meet, is down; "
                                f"bring it up (ip link set lo up), or train in one process: --nproc 1") from None
        time.sleep(0.05)
    raise UserError(_timed_out(address, seconds, f"process {rank} of {size} did not reach the first one: {why}"))


def _timed_out(address: tuple[str, int], seconds: float, what: str) -> str:
    return (f"waited {seconds:.0f} s for the other processes at {address[0]}:{address[1]}: {what}; start them all, or unset "
            f"PADDLE_TRAINERS_NUM to train in one")
