"""matplotlib: loaded such that no variable and no matplotlibrc of the user's can make it fail; its fonts and its pixels."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..formats import fonts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def families(names: Iterable[str]) -> list[str]:
    """Return the fonts for some names, in the order in which matplotlib looks for a letter. Raises UserError for a broken one.

    Beside its own that is one with Chinese letters, where a name has them; see `fonts.for_names`.
    """
    from matplotlib import font_manager
    own = list(font_manager.FontProperties().get_family())
    file = fonts.for_names(names)
    if file is None:
        return own
    try:
        name = font_manager.FontProperties(fname=str(file)).get_name()
        if all(entry.name != name for entry in font_manager.fontManager.ttflist):
            font_manager.fontManager.addfont(str(file))
    except (RuntimeError, OSError) as error:       # FreeType's
        raise UserError(f"{file}: no font that can be read: {error}; name another with {fonts.VARIABLE}") from None
    return [*own, name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Draw without matplotlib's line for each letter that no font has: `fonts.for_names` has told the remedy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def pixels(figure: "Figure") -> np.ndarray:
    """Return a figure as uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    canvas = FigureCanvasAgg(figure)
    with _quiet():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def figure_png(figure: "Figure", dpi: int = 130) -> bytes:
    """Return a figure as PNG."""
    out = io.BytesIO()
    with _quiet():
        figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()


def png(picture: np.ndarray) -> bytes:
    """Return a picture uint8 (H, W, 3) as PNG."""
    from PIL import Image
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()
