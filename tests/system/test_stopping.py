"""Whose handlers answer; signals to programs that load libraries, or compute in one, where Python's own handlers wait."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from paddle_cls.system import stopping


def test_a_sighup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stopping.heard() == [signal.SIGINT, signal.SIGTERM]
        with stopping.Stop(lambda: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is stopping.on_signal
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_library_that_sets_a_handler_of_its_own_does_not_keep_it():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with stopping.handlers_kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("program", ["train.py", "infer.py", *(f"-m paddle_cls.{name}" for name in (
    "report", "grid", "lr_find", "models", "data.check", "data.shapes"))])
def test_a_signal_while_the_libraries_load_leaves_no_traceback(program, tmp_path):
    """Sent by the first import of a part of numpy, into which it breaks."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\nclass Find:\n    def find_spec(self, name, *_):\n        if name == 'numpy.linalg':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\nsys.meta_path.insert(0, Find())\n")
    done = subprocess.run([sys.executable, *program.split(), "--no-such-flag"], cwd=ROOT, capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the lock is of Linux's C library")
@pytest.mark.parametrize(("before", "status"), [("", 143), ("stop.defer(); ", 0), ("signal.signal(15, lambda *_: None); ", 0)],
                         ids=["to be answered", "to be noted", "another's"])
def test_a_signal_does_not_wait_for_a_library_that_computes(before, status):
    """It waits for a lock in C that is never let go, in which no handler runs; a thread of the test ends what goes on for 2 s."""
    code = ("import ctypes, os, signal, threading, time; from paddle_cls.system import stopping; stopping.install()\n"
            "with stopping.at_once(), stopping.Stop(lambda: None) as stop:\n"
            f"    {before}threading.Timer(2, os._exit, [0]).start()\n"
            "    threading.Timer(0.1, os.kill, [os.getpid(), 15]).start()\n"
            "    lock = ctypes.create_string_buffer(64)\n"
            "    while True:\n        ctypes.CDLL(None).pthread_mutex_lock(lock)\n")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == status
