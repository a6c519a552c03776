"""Compiled operators: nothing that the user has not compiled is loaded, cut compiles leave nothing, odd compilers and caches."""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from test_hosts import alive

from paddle_cls import ops
from paddle_cls.ops import build
from paddle_cls.system import cache

needs_operators = pytest.mark.skipif(not ops.available()[0], reason="no compiled operators here")


@pytest.fixture
def registered() -> list[bytes]:
    """The libraries that were loaded."""
    return []


@pytest.fixture
def own(monkeypatch, tmp_path, registered) -> Path:
    """The operators' folder, still missing, of a process that has loaded nothing. Nothing is compiled or loaded really."""
    def compiled(commands: tuple, where: dict, log: Path) -> None:
        Path(commands[1][commands[1].index("-o") + 1]).write_text("ours")

    monkeypatch.setattr(build, "_loaded", [])
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "cache_folder", lambda: cache.root() / "ops")
    monkeypatch.setattr(build, "_register", lambda library: registered.append(library.read_bytes()))
    monkeypatch.setattr(build, "_run", compiled)
    return tmp_path / "cache" / "ops"


def planted(folder: Path) -> Path:
    library, = folder.glob("*.so")
    library.write_bytes(b"hostile")
    return library


def instead(path: Path, plant) -> None:
    path.unlink()
    plant(path)


ATTACKS = {
    "planted .so": planted,
    "planted .so with its checksum": lambda folder: planted(folder).with_suffix(".sha256").write_text(
        hashlib.sha256(b"hostile").hexdigest()),
    "no seal": lambda folder: planted(folder).with_suffix(".sha256").unlink(),
    "seal empty": lambda folder: planted(folder).with_suffix(".sha256").write_text(""),
    "seal a FIFO": lambda folder: instead(planted(folder).with_suffix(".sha256"), os.mkfifo),
    "another key": lambda folder: (folder.parent / cache.KEY).write_bytes(bytes(32)),
    "cut": lambda folder: os.truncate(next(folder.glob("*.so")), 2),
    "a link": lambda folder: instead(planted(folder), lambda path: path.symlink_to("/dev/zero")),
    "a FIFO": lambda folder: instead(planted(folder), os.mkfifo),
    "a folder": lambda folder: instead(planted(folder), os.mkdir),
    "the log a FIFO": lambda folder: instead(planted(folder).with_suffix(".log"), os.mkfifo),
}


@needs_operators
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_a_library_that_the_user_has_not_compiled_is_not_loaded(own, registered, attack, capsys):
    assert ops.available() == (True, "") and registered == [b"ours"]
    assert ops.available() == (True, "") and capsys.readouterr().err.count("compiling the oneDNN operators") == 1
    attack(own)
    assert ops.available() == (True, "") and registered == [b"ours"] * 3
    assert capsys.readouterr().err.count("compiling the oneDNN operators") == 1
    assert {path.suffix for path in own.iterdir()} == {".so", ".sha256", ".log"}


@needs_operators
def test_a_library_of_another_version_is_not_loaded_under_this_ones_name(own, registered):
    ops.available()
    library, = own.glob("*.so")
    assert build._intact(library)
    for path in list(own.iterdir()):
        path.rename(own / f"ops-0{path.suffix}")
    assert not build._intact(own / "ops-0.so")


@needs_operators
def test_a_library_in_a_folder_where_others_may_write_is_not_loaded(own, registered):
    ops.available()
    own.chmod(0o777)
    assert ops.available() == (False, f"{own}: others may write there; chmod 700 it, or name another folder with "
                                      f"PADDLE_CLS_CACHE")
    assert len(registered) == 1


@needs_operators
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_library_in_a_folder_of_another_user_is_not_loaded(own, registered):
    ops.available()
    os.chown(own, 4242, 4242)
    assert ops.available() == (False, f"{own}: belongs to user 4242; name another folder with PADDLE_CLS_CACHE")
    assert len(registered) == 1


@needs_operators
@pytest.mark.parametrize("module, step", [(build, "_run"), (build, "_digest"), (os, "replace"), (os, "chmod")],
                         ids=["compile", "seal", "replace", "chmod"])
def test_a_cut_compile_leaves_nothing_that_is_loaded(own, registered, monkeypatch, module, step):
    cache.seal("a", b"")                           # the key is there
    with monkeypatch.context() as patch:
        patch.setattr(module, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ops.available()
    assert registered == [] and not list(own.glob("*.so")) and not list(own.glob(".paddle_cls-*"))
    assert ops.available() == (True, "") and registered == [b"ours"]


@needs_operators
@pytest.mark.parametrize("given", ["file", "/proc/none"])
def test_without_a_cache_the_reason_names_the_variable(own, monkeypatch, given, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    monkeypatch.setenv("PADDLE_CLS_CACHE", given)
    with pytest.raises(build.Unavailable, match=r"/ops: cannot be written \((Not a directory|No such file or directory)\); name "
                                            r"another folder with PADDLE_CLS_CACHE$"):
        build.load()


@needs_operators
def test_nothing_is_compiled_for_a_home_that_does_not_last(own, monkeypatch, capsys):
    monkeypatch.setattr(cache, "lasts", lambda: False)
    assert ops.available() == (False, "there is no folder to keep them in; set HOME, or name one with PADDLE_CLS_CACHE")
    assert capsys.readouterr().err == "" and not own.exists()


@needs_operators
@pytest.mark.parametrize("text, words", [
    ("{env} A=1 g++", ["{env}", "A=1", "g++"]), ("  ", ["{g}"]), ("", ["{g}"]), ("g++ -g", ["{g}", "-g"]),
    ("'{space}' -g", ["{space}", "-g"]), ("{space}", ["{space}"])])
def test_the_compiler_may_be_a_command_of_several_words(monkeypatch, tmp_path, text, words):
    space = tmp_path / "with space" / "g++"
    space.parent.mkdir()
    space.symlink_to(shutil.which("g++"))
    names = {"env": shutil.which("env"), "g": shutil.which("g++"), "space": str(space)}
    monkeypatch.setenv("CXX", text.format(**names))
    compiler = build.find_compiler()
    assert shlex.split(compiler) == [word.format(**names) for word in words]
    compile_each, link = build._commands(compiler, tmp_path, tmp_path)
    for command in (*compile_each, link):
        assert command[:len(words)] == shlex.split(compiler)
    assert subprocess.run([*shlex.split(compiler), "--version"], capture_output=True).returncode == 0


@pytest.mark.parametrize("text, reason", [("g++ '", "CXX=g++ ': No closing quotation; name a C++ compiler"),
                                          ("no-such --flag", "no C++ compiler (g++) found; install one, for instance: apt")])
def test_what_is_no_compiler(monkeypatch, text, reason):
    monkeypatch.setenv("CXX", text)
    with pytest.raises(build.Unavailable) as error:
        build.find_compiler()
    assert str(error.value).startswith(reason)


@needs_operators
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_compiler_outlives_the_program(tmp_path, number):
    """Nor what it has started, as g++ starts cc1plus. The signal comes to the program alone, as kill sends it."""
    code = "import signal; signal.signal(2, signal.default_int_handler); from paddle_cls import ops\n"       # whoever ignores it
    code += "ops.build.SOURCES = ('dropout.cc',); print(ops.available())"
    environment = {**os.environ, "PADDLE_CLS_CACHE": str(tmp_path / "cache"), "CXX": str(tmp_path / "slow")}
    (tmp_path / "slow").write_text(f"#!/bin/sh\ncd {tmp_path}\nsleep 600 &\necho $$ $! > part\nmv part started\nwait\n")
    (tmp_path / "slow").chmod(0o700)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    try:
        assert process.wait(10) == -number
    finally:
        process.kill()
    compilers = [int(name) for name in (tmp_path / "started").read_text().split()]
    while left := [name for name in compilers if alive(name)]:
        assert time.monotonic() < end, left
        time.sleep(0.02)
    if number == signal.SIGINT:
        assert [path.suffix for path in (tmp_path / "cache" / "ops").iterdir()] == [".log"]
