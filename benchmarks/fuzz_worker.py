"""One process of fuzz.py: it runs cases one after the other, each in an empty folder, and says what came of them.

A write outside the process's own folder, a connection and a program that would be started are refused, as a system would.
"""

import contextlib
import ctypes
import dataclasses
import faulthandler
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPARE = 6 << 30                                    # bytes of addresses that cases may take: never the machine's
REFUSED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.getaddrinfo")
_own: list[str] = []                               # folders that may be written to


class Hang(BaseException):
    """A case takes longer than allowed. No Exception, that nobody takes it for something else."""


@dataclasses.dataclass
class Result:
    """What came of a case. outcome: answer, refusal, or a finding's kind; place: of a finding, such as KeyError@plots.py:168."""

    case: int
    target: str
    outcome: str
    place: str = ""
    message: str = ""
    seconds: float = 0.0                           # without those in which it waited for a processor
    growth: int = 0                                # bytes of memory at most, over those at the start
    trace: str = ""

    @property
    def finding(self) -> bool:
        """Whether it is neither an answer nor a refusal."""
        return self.outcome not in ("answer", "refusal")


def targets() -> dict:
    """Return all targets, by name."""
    import benchmarks.fuzz_data
    import benchmarks.fuzz_harm
    import benchmarks.fuzz_networks
    import benchmarks.fuzz_programs  # noqa: F401
    from benchmarks.fuzz_targets import TARGETS
    return TARGETS


def chosen(seed: int, number: int) -> tuple[str, random.Random]:
    """Return (the target of a case, the generator of all that follows)."""
    from benchmarks.fuzz_targets import pick
    targets()
    rng = random.Random(f"{seed}/{number}")
    return pick(rng), rng


def settle(folder: Path) -> None:
    """Make this process one that harms nobody: settings of the environment, limits, the hook that refuses."""
    for name in ("home", "tmp", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in [name for name in os.environ if name.startswith(("PADDLE_TRAINER", "PADDLE_CLS"))]:
        del os.environ[name]
    os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"), PADDLE_CLS_CACHE=str(folder / "cache"),
                      MPLCONFIGDIR=str(folder / "home"), CXX="/nonexistent/c++", OMP_NUM_THREADS="1", KMP_BLOCKTIME="0")
    tempfile.tempdir = None
    sys.path[:0] = [str(ROOT)]
    sys.dont_write_bytecode = True
    from paddle_cls.system import runtime
    runtime.prepare()
    sys.addaudithook(_refuse)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)               # dies with the process that started it: PR_SET_PDEATHSIG


def _refuse(event: str, arguments: tuple) -> None:
    """The audit hook: raise PermissionError for what reaches beyond the process's own folder."""
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            _inside(path)
    elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree"):
        _inside(arguments[0])
    elif event in ("os.rename", "os.link"):
        _inside(arguments[0])
        _inside(arguments[1])
    elif event == "os.symlink":
        _inside(arguments[1])
    elif _own and event in REFUSED:
        raise PermissionError(1, "not allowed in a fuzzed process", str(arguments[0]))


def _inside(path: object) -> None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return                                     # an open file
    name = os.fsdecode(path)
    whole = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(name))), os.path.basename(name))
    if _own and not any(whole.startswith(own) for own in _own):
        raise PermissionError(13, "outside of the fuzzer's folder", name)


def queued(pid: object = "self") -> float:
    """Return the seconds that a process has waited for a processor, which say nothing of what it does. 0 where nobody tells."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _memory() -> tuple[int, int]:
    """Return (memory in bytes now, the most since the last call). Zeros where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
        now, most = (int(text.partition(f"{name}:")[2].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return now, most
    except (OSError, ValueError, IndexError):
        return 0, 0


def run(seed: int, number: int, folder: Path, good: Path, *, seconds: float = 20, name: str = "", mutated: bool = True) -> Result:
    """Run one case; its files stay in folder/case. name: the target, instead of the one that belongs to the number."""
    from benchmarks.fuzz_calls import Wrong
    from benchmarks.fuzz_mutate import Mutator
    from benchmarks.fuzz_targets import Case
    from paddle_cls.errors import UserError
    found, rng = chosen(seed, number)
    name = name or found
    place = folder / "case"
    for each in ("case", "cache", "tmp", "home"):  # what one case leaves is nothing to the next
        shutil.rmtree(folder / each, ignore_errors=True)
        (folder / each).mkdir()
    os.chdir(place)
    result, error = Result(number, name, "answer"), None
    _own[:] = [os.path.realpath(folder), "/dev/", f"/proc/{os.getpid()}/"]
    before, _ = _memory()

    started, waited = time.monotonic(), queued()

    def spent() -> float:
        return time.monotonic() - started - (queued() - waited)

    def late(*_: object) -> None:
        if spent() >= seconds:                     # not so where other programs have the processors
            raise Hang(f"over {seconds:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)             # again and again, for who takes it for something else
    try:
        targets()[name].call(Case(Mutator(rng if mutated else None), place, good))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except (UserError, OSError, SystemExit) as refused:          # as `reported` has it
        signal.setitimer(signal.ITIMER_REAL, 0)
        result.outcome, result.message = "refusal", str(refused)[:300]
    except Hang as hang:
        signal.setitimer(signal.ITIMER_REAL, 0)
        result.outcome, error = "hang", hang
    except Wrong as wrong:
        signal.setitimer(signal.ITIMER_REAL, 0)
        result.outcome, error = "wrong answer", wrong
    except BaseException as other:
        signal.setitimer(signal.ITIMER_REAL, 0)
        result.outcome, error = "exception", other
    result.seconds = spent()
    result.growth = max(0, _memory()[1] - before)
    if error:
        result.place = f"{type(error).__name__}@{where(error) if result.outcome != 'wrong answer' else name}"
        result.message = " ".join(str(error).split())[:300]
        result.trace = "".join(traceback.format_exception(error))[-6000:]
    os.chdir(folder)
    return result


def where(error: BaseException) -> str:
    """Return file:line of the package where an error came from, else of the last frame there is."""
    frames = traceback.extract_tb(error.__traceback__)
    package = [frame for frame in frames if _ours(frame.filename)]
    if not frames:
        return "?"
    last = (package or [frame for frame in frames if frame.filename != __file__] or list(frames))[-1]
    file = Path(last.filename)
    name = file.name if file.name not in ("__init__.py", "__main__.py") else f"{file.parent.name}/{file.name}"
    return f"{name}:{last.lineno}"


def _ours(file: str) -> bool:
    path = Path(file)
    return ROOT in path.parents and (path.parent == ROOT or (ROOT / "paddle_cls") in path.parents)


def serve(pipe: Connection, seed: int, folder: Path, good: Path, seconds: float) -> None:
    """Run the cases whose numbers come through the pipe until it is closed, or says "make", for the good files."""
    settle(folder)
    trace = open(folder / "trace", "w")            # noqa: SIM115  (as long as the process)
    with open(folder / "output", "w") as output:   # what libraries write past Python, too
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    limited = False
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            order = pipe.recv()
            if order[0] == "make":
                from benchmarks import fuzz_seeds
                fuzz_seeds.make(good, paddle=order[1])
                pipe.send("made")
                continue
            _, number, name, mutated, heavy = order
            if not limited or (heavy and "paddle" not in sys.modules):
                _warm(heavy)
                limited = True
            faulthandler.enable(trace)
            trace.seek(0)
            trace.truncate()
            faulthandler.dump_traceback_later(seconds + 1, file=trace)
            result = run(seed, number, folder, good, seconds=seconds, name=name, mutated=mutated)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(result)


def _warm(heavy: bool) -> None:
    """Load what cases need, so that no case is charged with it; then limit the addresses."""
    import cv2  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import openpyxl  # noqa: F401
    import pandas
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    pandas.DataFrame()
    if heavy:
        import paddle

        from benchmarks import fuzz_networks
        paddle.disable_signal_handler()
        fuzz_networks.prepare()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if sys.platform == "linux" else SPARE
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, resource.getrlimit(resource.RLIMIT_AS)[1]))
