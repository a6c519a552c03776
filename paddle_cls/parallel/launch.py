"""Starting a script as several processes on this machine, and ending all of them when one ends badly."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..system import orphans, runtime, stopping

GRACE = 60.0                                       # seconds from the first signal until those left are killed
LEFT = 5.0                                         # seconds from the end of one that did not save, which the others may wait for
ABORTED = 5.0                                      # seconds for the cause of an abort to show


def run(command: Sequence[str], count: int, *, remedy: str) -> int:
    """Run `command` as `count` processes that find each other through Paddle's variables; return the exit status.

    A signal to this process is passed on to them, and the status on which they agree is returned. If one of them fails or is
    killed, the others are killed too, so that no orphan stays. The message then ends with `remedy`. The status of a killed
    process is 1.
    """
    workers: list[subprocess.Popen] = []
    caught: list[int] = []

    def pass_on(number: int, _: object) -> None:
        caught.append(number)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in stopping.heard()}
    try:
        with stopping.held():                      # none misses what comes before all are there
            for environment in _environments(count):
                # A session of their own: the terminal's Ctrl-C reaches them once, through us.
                workers.append(subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=orphans.BOUND))
        return _wait(workers, caught, remedy)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: list[subprocess.Popen], caught: list[int], remedy: str) -> int:
    deadline = first = None
    while True:
        statuses = [worker.poll() for worker in workers]
        if all(status == 0 for status in statuses):
            return 0
        ended = [(rank, status) for rank, status in enumerate(statuses) if status]
        if caught:
            deadline = deadline or time.monotonic() + GRACE
            if any(status not in (0, *stopping.STATUSES) for _, status in ended):
                deadline = min(deadline, time.monotonic() + LEFT)
            if all(status is not None for status in statuses) or time.monotonic() > deadline:
                return 128 + caught[0]
        elif ended:
            # gloo aborts a process that has lost another: the cause is the other, which may still be on its way out
            first = first or time.monotonic()
            causes = [(rank, status) for rank, status in ended if status != -signal.SIGABRT]
            if not causes and None in statuses and time.monotonic() < first + ABORTED:
                time.sleep(0.05)
                continue
            rank, status = max(causes or ended, key=lambda end: end[1])              # a message before a signal
            if status < 0:
                name = signal.Signals(-status).name
                print(f"process {rank} of {len(workers)} was ended by {name}; the others are stopped. {remedy}",
                      file=sys.stderr, flush=True)
                return 1
            time.sleep(0.5)                        # the one that has the message may still be writing it
            return status
        time.sleep(0.05)


def _environments(count: int) -> list[dict[str, str]]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    endpoints = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    package = str(Path(__file__).resolve().parents[2])         # which need not be installed
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    common = {"PYTHONPATH": paths, "PADDLE_TRAINERS_NUM": str(count), "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints)}
    return [{**os.environ, **common, "PADDLE_TRAINER_ID": str(rank), "PADDLE_CURRENT_ENDPOINT": endpoint,
             "FLAGS_selected_gpus": str(rank)} for rank, endpoint in enumerate(endpoints)]


def prepare_worker() -> None:
    """Prepare a process of a pool like the program itself. It ends when the program ends."""
    orphans.die_with_parent()
    runtime.prepare()


def end_with_launcher() -> None:
    """Let Linux send SIGTERM if Paddle's launcher started this process and is killed. Else it would train on unnoticed."""
    if "PADDLE_LOCAL_RANK" in os.environ:
        orphans.die_with_parent(signal.SIGTERM)
