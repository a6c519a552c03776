"""What several test files share: fake data, one checkpoint, and the scripts called inside the test's process."""

import contextlib
import ctypes
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fake_answers import Colours
from fakes import Server, write_checkpoint, write_cifar

from paddle_cls.data.sets import cifar10
from paddle_cls.ops import build
from paddle_cls.system import cache, runtime, stopping
from paddle_cls.system.entry import reported

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))                      # train.py and infer.py are no part of the package
os.environ.setdefault("KMP_BLOCKTIME", "0")        # waiting threads sleep: spinning ones keep other test workers from computing
runtime.prepare()                                  # before any test file loads Paddle
sys.modules.setdefault("openvino_telemetry", None)           # see engines.load_openvino: tests tell nobody of it either
os.environ.update(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
_CACHE = tempfile.TemporaryDirectory()             # exports of the tests' networks do not belong into the user's cache
_USERS = cache.root()                              # but compiling takes 10 s: the tests share the user's operators
os.environ["PADDLE_CLS_CACHE"] = _CACHE.name
build.cache_folder = lambda: _USERS / "ops"
stopping._overdue = lambda number: None            # a second after a signal that a test sends itself it would end all tests


def with_operators(folder: Path) -> None:
    """Give a cache folder the user's operators, for processes that a test starts."""
    if (_USERS / "ops").is_dir() and (_USERS / cache.KEY).exists():
        shutil.copytree(_USERS / "ops", folder / "ops", ignore=shutil.ignore_patterns("*.lock", "*.log", ".*"))
        shutil.copy(_USERS / cache.KEY, folder)


with_operators(Path(_CACHE.name))


@pytest.fixture(autouse=True)
def memory_is_given_back():
    """Give freed memory back to Linux where a test worker holds much of it: the largest networks of the zoo leave gigabytes."""
    yield
    if sys.platform == "linux" and psutil.Process().memory_info().rss > 1.5e9:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def one_thread():
    """Compute in one thread, as tests run side by side: an exported network, of the test before, sets MKL's to all cores."""
    if "paddle" in sys.modules:
        sys.modules["paddle"].base.core.set_num_threads(1)


@dataclass
class Outcome:
    """What a script left: its exit status and what it wrote."""

    status: int
    out: str
    err: str


@contextlib.contextmanager
def caller(capture):
    """Have a function (script module, arguments) -> Outcome inside the block, which runs a script's `main` as a shell does."""
    import paddle

    def run(script, *arguments: object) -> Outcome:
        capture.readouterr()
        names = paddle.utils.unique_name.guard()   # parameters are named as in a new process
        with pytest.raises(SystemExit) as ended, names, reported(script.PROGRAM):
            sys.exit(script.main([str(argument) for argument in arguments]))
        return Outcome(ended.value.code, *capture.readouterr())

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in before.items():         # train.py sets its own
        signal.signal(number, handler)


@pytest.fixture
def call(capfd):
    """Return the function of `caller`; it sees what libraries write past Python too."""
    with caller(capfd) as run:
        yield run


@pytest.fixture
def call_in_memory(capsys):
    """Return the function of `caller`; it needs no file for what it sees."""
    with caller(capsys) as run:
        yield run


@pytest.fixture(scope="session")
def cifar_root(tmp_path_factory) -> Path:
    """A folder with fake CIFAR-10 batches of 4 images each; not to be changed."""
    return write_cifar(tmp_path_factory.mktemp("cifar"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A run folder with best and last checkpoints of an untrained ResNet-8 for CIFAR-10's classes; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("runs") / "cifar10_resnet")


@pytest.fixture
def here(tmp_path, monkeypatch, run_folder, cifar_root) -> Path:
    """The working folder: data/ (CIFAR-10), new/ (empty), run/ (a run), file (a text), cache/ (empty)."""
    for name in ("new", "cache/cifar10"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("a text\n")
    (tmp_path / "data").symlink_to(cifar_root)
    shutil.copytree(run_folder, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(cifar10.URL_VARIABLE, "http://127.0.0.1:9/cifar.tar.gz")        # nobody answers there
    monkeypatch.delenv(cifar10.SHA256_VARIABLE, raising=False)
    return tmp_path


@pytest.fixture
def refused(call, here):
    """Return a function (script, message, arguments) that asserts that a script refuses its arguments.

    That is: status 2, one line on stderr with `message` (a pattern) in it, nothing on stdout that looks like a trace, and
    every file and folder below `here` as it was before, but for exports in the cache and the key that seals them.
    """
    def content() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in here.rglob("*")
                if "exports" not in path.parts and path.name != cache.KEY}

    def check(script, message: str, *arguments: object) -> None:
        before = content()
        done = call(script, *arguments)
        assert done.err.startswith(f"{script.PROGRAM}: error: ") and done.err.count("\n") == 1
        assert re.search(message, done.err), done.err
        assert done.status == 2 and "Traceback" not in done.out
        assert content() == before
    return check


@pytest.fixture
def colours(monkeypatch) -> Colours:
    """The network that answers in this process, whatever checkpoint is named; its classes are colours."""
    from paddle_cls.inference import predictor
    made = Colours()
    monkeypatch.setattr(predictor.Predictor, "from_checkpoint", lambda *_, **__: made)
    return made


@pytest.fixture
def closed(monkeypatch) -> str:
    """A folder p/closed in the working folder that nobody may look into, not even root."""
    def refuse(path, real=os.scandir):
        if str(path) == "p/closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)
    os.makedirs("p/closed")
    monkeypatch.setattr(os, "scandir", refuse)
    return "p/closed"


@pytest.fixture
def server():
    """A server on this machine that serves one file; see its class."""
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
