"""matplotlib, loaded such that no variable and no matplotlibrc of the user's can make it fail."""

import contextlib
import logging
import os
import sys
import tempfile

_READ = ("MPLBACKEND", "MATPLOTLIBRC")             # variables, while matplotlib is being loaded


def load() -> None:
    """Load matplotlib with its own defaults; to be called before anything imports it, and while nothing else is being read.

    MPLBACKEND and every matplotlibrc are set aside meanwhile. One in the working folder comes before all others, so that
    this process leaves the folder for a moment.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # VisualDL shows what is logged, such as a new list of fonts
    if "matplotlib" in sys.modules:
        return
    before = {name: os.environ.pop(name, None) for name in _READ}
    here = None
    with contextlib.suppress(FileNotFoundError):   # the working folder may be gone
        here = os.getcwd()
    try:
        with tempfile.TemporaryDirectory(prefix="paddle_cls-", ignore_cleanup_errors=True) as empty:
            os.environ["MATPLOTLIBRC"] = os.devnull
            os.chdir(empty)
            try:
                import matplotlib.backends.backend_agg  # noqa: F401 (with it what looks for fonts)
            finally:
                os.chdir(here or os.sep)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
