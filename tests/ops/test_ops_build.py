"""Compiling the operators: once, whole, and with a reason where they cannot be had."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from paddle import nn

from paddle_cls import ops
from paddle_cls.ops import build

USABLE, REASON = ops.available()
needs_ops = pytest.mark.skipif(not USABLE, reason=f"oneDNN operators are not available: {REASON}")


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has loaded nothing and whose cache is empty."""
    monkeypatch.setattr(build, "_loaded", [])
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path / "ops")
    return monkeypatch


def test_no_compiler(fresh):
    fresh.setenv("CXX", "no-such-compiler")
    usable, reason = ops.available()
    assert not usable and "no C++ compiler" in reason and "install" in reason
    with pytest.raises(RuntimeError, match="no C\\+\\+ compiler"):
        ops.accelerate(nn.Conv2D(3, 4, 3))


def test_no_headers(fresh):
    fresh.setattr(build, "find_compiler", lambda: "g++")
    fresh.setattr(Path, "exists", lambda self: False)
    fresh.setattr(build.importlib.metadata, "files", lambda name: None)
    usable, reason = ops.available()
    assert not usable and "pip install" in reason and "onednn-devel" in reason


def test_other_platforms(fresh):
    fresh.setattr(build.sys, "platform", "win32")
    usable, reason = ops.available()
    assert not usable and "Linux" in reason


@needs_ops
def test_broken_compile_leaves_a_log_and_no_library(fresh, tmp_path):
    broken = tmp_path / "sources"
    broken.mkdir()
    for name in (*build.SOURCES, *build.OWN_HEADERS):
        (broken / name).write_text("this is not C++\n")
    fresh.setattr(build, "HERE", broken)
    usable, reason = ops.available()
    log = Path(reason.rsplit(" ", 1)[1])
    assert not usable and "did not compile" in reason and "error" in log.read_text()
    assert not list(tmp_path.rglob("*.so"))


@needs_ops
def test_four_processes_compile_once(tmp_path):
    code = "from paddle_cls import ops; ops.build.SOURCES = ('dropout.cc',); print(ops.available()[0])"  # the quickest
    environment = {**os.environ, "PADDLE_CLS_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE) for _ in range(4)]
    results = [process.communicate() for process in started]
    assert [out.strip() for out, _ in results] == ["True"] * 4
    assert sum("compiling the" in err for _, err in results) == 1


@needs_ops
def test_broken_library_is_rebuilt(fresh):
    """A library that was cut short must not be loaded: that would end the process."""
    compiled = []

    def compile_quickly(compiler: str, headers: Path, target: Path) -> None:
        target.write_bytes(b"library")
        target.with_suffix(".sha256").write_text(build._digest(target))
        compiled.append(target)

    fresh.setattr(build, "_compile", compile_quickly)
    fresh.setattr(build, "_register", lambda library: None)
    assert ops.available() == ops.available() == (True, "") and len(compiled) == 1
    compiled[0].write_bytes(b"lib")
    assert ops.available() == (True, "") and len(compiled) == 2


def test_importing_loads_no_paddle():
    code = "import sys, paddle_cls.ops; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
