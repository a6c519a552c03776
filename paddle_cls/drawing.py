"""VisualDL and matplotlib, loaded such that no home folder, variable or matplotlibrc of the user's can make them fail."""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_READ = ("HOME", "MPLBACKEND", "MATPLOTLIBRC", "MPLCONFIGDIR")         # variables, while the two are being loaded


def log_writer() -> type:
    """Return VisualDL's LogWriter."""
    with _apart("visualdl"):
        from visualdl import LogWriter
    return LogWriter


def load_matplotlib() -> None:
    """Load matplotlib with its own defaults; called before anything else imports it."""
    with _apart("matplotlib"):
        from matplotlib.backends import backend_agg  # noqa: F401 (with it what looks for fonts)


@contextlib.contextmanager
def _apart(module: str) -> Iterator[None]:
    """Set aside in the block, in which `module` is loaded, what the user's settings could spoil.

    That is MPLBACKEND and every matplotlibrc, also one in the working folder; and where nothing can be written into the
    home folder, as in a container that runs as another user, HOME is a folder that is not kept.
    """
    if module in sys.modules:
        yield
        return
    before = {name: os.environ.pop(name, None) for name in _READ}
    here = None
    with contextlib.suppress(FileNotFoundError):   # the working folder may be gone
        here = os.getcwd()
    empty = tempfile.mkdtemp(prefix="paddle_cls-")
    atexit.register(shutil.rmtree, empty, ignore_errors=True)
    try:
        if before["HOME"] is not None:
            os.environ["HOME"] = before["HOME"]
        if not _can_write_home():
            os.environ["HOME"] = os.environ["MPLCONFIGDIR"] = empty
        os.environ["MATPLOTLIBRC"] = os.devnull
        os.chdir(empty)
        yield
    finally:
        if here is not None:
            os.chdir(here)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _can_write_home() -> bool:
    home = Path(os.path.expanduser("~"))           # "~" where the user has none
    if not home.is_absolute() or not home.is_dir():
        return False
    try:
        (home / ".visualdl").mkdir(exist_ok=True)  # as VisualDL does
        with tempfile.TemporaryFile(dir=home / ".visualdl") as file:
            file.write(bytes(4096))
    except OSError:
        return False
    return True
