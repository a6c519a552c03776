"""Targets that do what no case may do, to see that fuzz.py notices. Their weight is 0: only tests name them."""

import os
import signal
import socket
import subprocess
import sys
import time

from benchmarks.fuzz_calls import Wrong
from benchmarks.fuzz_targets import Case, target


@target("harm: hang", 0)
def _hang(case: Case) -> object:
    while True:
        time.sleep(0.01)


@target("harm: hang that no signal ends", 0)
def _deaf(case: Case) -> object:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(1000)


@target("harm: crash", 0)
def _crash(case: Case) -> object:
    os.kill(os.getpid(), signal.SIGSEGV)


@target("harm: growth", 0)
def _growth(case: Case) -> object:
    held = bytearray(400 << 20)
    held[::4096] = b"1" * len(held[::4096])


@target("harm: all memory", 0)
def _memory(case: Case) -> object:
    bytearray(1 << 40)


@target("harm: exception", 0)
def _exception(case: Case) -> object:
    from paddle_cls.errors import unknown
    unknown("word", "x", 5)                        # not iterable


@target("harm: wrong answer", 0)
def _wrong(case: Case) -> object:
    raise Wrong("nan")


@target("harm: outside", 0)
def _outside(case: Case) -> object:
    with open(os.path.join(os.path.dirname(__file__), "harm"), "w") as file:
        file.write("x")


@target("harm: program", 0)
def _program(case: Case) -> object:
    subprocess.run([sys.executable, "-c", ""], check=True)


@target("harm: connection", 0)
def _connection(case: Case) -> object:
    socket.create_connection(("127.0.0.1", 9), 1)
