"""Compiles the operators once per machine, Paddle and source version, and loads them into this process."""

import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from ..errors import UserError
from ..system import cache, orphans
from ..system.files import locked, part_name

HERE = Path(__file__).parent
OWN_HEADERS = ("lanes.h", "onednn.h")
SOURCES = tuple(sorted(file.name for file in HERE.glob("*.cc")))
ONEDNN = "onednn-devel==2025.0.1"  # oneDNN 3.6 headers; they fit the 3.2 of Paddle 2.6 and the 3.6 of Paddle 3.3
_loaded: list[Path] = []


class Unavailable(Exception):
    """The operators cannot be had here; the message says why and what helps, in one line."""


def cache_folder() -> Path:
    """Return where compiled operators are kept, in the cache folder. Raises UserError where there is none."""
    return cache.root() / "ops"


def find_compiler() -> str:
    """Return the command of the C++ compiler, as a shell takes it: $CXX, which may have words such as ccache, or g++.

    Raises Unavailable.
    """
    wanted = os.environ.get("CXX", "").strip() or "g++"
    try:
        words = [wanted] if shutil.which(wanted) else shlex.split(wanted)
    except ValueError as error:
        raise Unavailable(f"CXX={wanted}: {error}; name a C++ compiler") from None
    compiler = shutil.which(words[0]) if words else None
    if compiler is None:
        raise Unavailable("no C++ compiler (g++) found; install one, for instance: apt install g++")
    return shlex.join([compiler, *words[1:]])


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
    """Raise Unavailable on a platform that the operators do not support."""
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
    command = shlex.split(compiler)
    compile_each = [[*command, *flags, *paths, "-c", str(HERE / name), "-o", made]
                    for name, made in zip(SOURCES, objects, strict=True)]
    # Paddle's OpenMP, not the compiler's: two of them in a process would fight for the cores.
    wanted = ("libphi.so", "libphi_core.so", "libcommon.so", "libdnnl.so.3", "libiomp5.so")
    linked = [f"-l:{name}" for name in wanted if (libs / name).exists()]
    link = [*command, "-shared", *objects, "-o", str(out / "ops.so"), f"-L{libs}",
            f"-L{Path(paddle.__file__).parent / 'base'}", "-Wl,--no-as-needed", "-l:libpaddle.so", *linked]
    return compile_each, link


def _compile(compiler: str, headers: Path, target: Path) -> None:
    """Compile and link in a new folder, then move the result to target. Raises Unavailable; the log stays."""
    print(f"paddle_cls: compiling the oneDNN operators, once, about 10 s: {target}", file=sys.stderr, flush=True)
    log, part = target.with_suffix(".log"), part_name(target.parent)
    part.mkdir(0o700)
    try:
        cache.remove(log)
        with open(log, "x", encoding="utf-8") as output:
            _run(_commands(compiler, headers, part), {"stdout": output, "stderr": output,
                                                      "env": {**os.environ, "TMPDIR": str(part)}}, log)
        made = part / "ops.so"
        made.chmod(0o700)
        for name in (target, target.with_suffix(".sha256")):
            if not name.is_file() or name.is_symlink():
                cache.remove(name)
        target.with_suffix(".sha256").write_text(_digest(made, target.name))
        os.replace(made, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(commands: tuple[list[list[str]], list[str]], where: dict, log: Path) -> None:
    compile_each, link = commands
    running = []
    try:
        for command in compile_each:
            running.append(orphans.start_group(command, **where))
        failed = sum(process.wait() != 0 for process in running)
        if not failed:
            running.append(orphans.start_group(link, **where))
            failed = running[-1].wait()
    finally:
        for process in running:                    # Ctrl-C: no compiler works on for nobody
            process.terminate()
            process.wait()
    if failed:
        raise Unavailable(f"they did not compile; the compiler's messages are in {log}")


def _digest(library: Path, name: str = "") -> str:
    """Return the seal of a library that is to have `name`, which nobody can make without the user's key. Raises OSError."""
    with cache.opened(library) as file:
        return cache.seal_of(f"operators 1 {name or library.name}", file, cache_folder().parent, make=True)


def _intact(library: Path) -> bool:
    """Return whether this user has compiled the library. A stranger's would run its own code; a truncated one would crash."""
    try:
        with cache.opened(library.with_suffix(".sha256")) as file:
            recorded = file.read(cache.SEAL + 1)
        return recorded == _digest(library).encode()
    except OSError:
        return False


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
    compiler, headers = find_compiler(), find_headers()
    try:
        folder = cache_folder()
        if not cache.lasts():
            raise Unavailable(f"there is no folder to keep them in; set HOME, or name one with {cache.VARIABLE}")
        cache.private(folder)
    except UserError as error:
        raise Unavailable(str(error)) from None
    except OSError as error:
        raise Unavailable(f"{folder}: cannot be written ({error.strerror or error}); {cache.REMEDY}") from None
    target = folder / f"ops-{_key(compiler)}.so"
    try:
        with locked(target.with_suffix(".lock"), wait=True):
            if not _intact(target):
                _compile(compiler, headers, target)
        _register(target)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be used: {error}") from error
    return target
