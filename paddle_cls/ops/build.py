"""Compiles the operators once per machine, Paddle and source version, and loads them into this process."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
OWN_HEADERS = ("lanes.h", "network.h", "onednn.h", "plan.h")
SOURCES = ("conv.cc", "norm.cc", "pool.cc", "dropout.cc", "runner.cc")
ONEDNN = "onednn-devel==2025.0.1"  # oneDNN 3.6 headers; they fit the 3.2 of Paddle 2.6 and the 3.6 of Paddle 3.3
_loaded: list[Path] = []


class Unavailable(Exception):
    """The operators cannot be had here; the message says why and what helps, in one line."""


def cache_folder() -> Path:
    """Return where compiled operators are kept: under XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddle_cls" / "ops"


def find_compiler() -> str:
    """Return the C++ compiler: $CXX or g++. Raises Unavailable."""
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    if compiler is None:
        raise Unavailable("no C++ compiler (g++) found; install one, for instance: apt install g++")
    return compiler


def find_headers() -> Path:
    """Return the folder that holds oneapi/dnnl/dnnl.hpp. Raises Unavailable."""
    folders = [Path(sys.prefix, "include"), Path(sysconfig.get_path("data"), "include")]
    try:
        for file in importlib.metadata.files("onednn-devel") or []:
            if file.parts[-3:] == ("oneapi", "dnnl", "dnnl.hpp"):
                folders.insert(0, Path(file.locate()).resolve().parents[2])
    except importlib.metadata.PackageNotFoundError:
        pass
    for folder in [*folders, Path("/usr/local/include"), Path("/usr/include")]:
        if (folder / "oneapi" / "dnnl" / "dnnl.hpp").exists():
            return folder
    raise Unavailable(f"no oneDNN headers found; install them with: pip install --no-deps {ONEDNN}")


def check_platform() -> None:
    """Raise Unavailable on what the operators are not made for."""
    if not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"):
        raise Unavailable(f"they are for Linux on x86-64, and this is {platform.system()} on {platform.machine()}")


def _cpu() -> str:
    """Return what -march=native depends on: the processor's model and abilities."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("model", "flags", "vendor_id"))}))


def _key(compiler: str) -> str:
    import paddle

    text = [paddle.__version__, paddle.__file__, sys.version, compiler, _cpu(), Path(__file__).read_text()]
    text += [(HERE / name).read_text() for name in (*SOURCES, *OWN_HEADERS)]
    return hashlib.sha256("\0".join(text).encode()).hexdigest()[:16]


def _commands(compiler: str, headers: Path, out: Path) -> tuple[list[list[str]], list[str]]:
    """Return the commands that compile each source, and the one that links them to out/ops.so."""
    import paddle

    include, libs = Path(paddle.sysconfig.get_include()), Path(paddle.sysconfig.get_lib())
    flags = ["-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-fopenmp", "-w",
             "-DPADDLE_WITH_CUSTOM_KERNEL"]
    paths = [f"-I{path}" for path in (headers, include, include / "third_party")]
    objects = [str(out / f"{name}.o") for name in SOURCES]
    compile_each = [[compiler, *flags, *paths, "-c", str(HERE / name), "-o", made]
                    for name, made in zip(SOURCES, objects, strict=True)]
    # Paddle's OpenMP, not the compiler's: two of them in a process would fight for the cores.
    wanted = ("libphi.so", "libphi_core.so", "libcommon.so", "libdnnl.so.3", "libiomp5.so")
    linked = [f"-l:{name}" for name in wanted if (libs / name).exists()]
    link = [compiler, "-shared", *objects, "-o", str(out / "ops.so"), f"-L{libs}",
            f"-L{Path(paddle.__file__).parent / 'base'}", "-Wl,--no-as-needed", "-l:libpaddle.so", *linked]
    return compile_each, link


def _compile(compiler: str, headers: Path, target: Path) -> None:
    """Compile and link in a new folder, then move the result to target. Raises Unavailable; the log stays."""
    print(f"paddle_cls: compiling the oneDNN operators, once, about 10 s: {target}", file=sys.stderr, flush=True)
    log = target.with_suffix(".log")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, open(log, "w", encoding="utf-8") as output:
        commands, link = _commands(compiler, headers, Path(folder))
        running = [subprocess.Popen(command, stdout=output, stderr=output) for command in commands]
        failed = sum(process.wait() != 0 for process in running)
        if failed or subprocess.run(link, stdout=output, stderr=output, check=False).returncode:
            raise Unavailable(f"they did not compile; the compiler's messages are in {log}")
        made = Path(folder) / "ops.so"
        target.with_suffix(".sha256").write_text(_digest(made))
        os.replace(made, target)


def _digest(library: Path) -> str:
    return hashlib.sha256(library.read_bytes()).hexdigest()


def _intact(library: Path) -> bool:
    """Return whether library is what was compiled: loading one that was cut short would end the process."""
    recorded = library.with_suffix(".sha256")
    return library.exists() and recorded.exists() and recorded.read_text() == _digest(library)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold path as this machine's lock: of the processes that start together, one compiles."""
    import fcntl  # not on Windows, where check_platform has ended it before

    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _register(library: Path) -> None:
    from paddle.utils.cpp_extension.extension_utils import load_op_meta_info_and_register_op

    load_op_meta_info_and_register_op(str(library))
    _loaded.append(library)


def load() -> Path:
    """Make the operators known to Paddle in this process, compiling them where needed; return their library's file.

    Raises Unavailable.
    """
    if _loaded:
        return _loaded[0]
    check_platform()
    compiler, headers, folder = find_compiler(), find_headers(), cache_folder()
    target = folder / f"ops-{_key(compiler)}.so"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_suffix(".lock")):
            if not _intact(target):
                _compile(compiler, headers, target)
        _register(target)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be used: {error}") from error
    return target
