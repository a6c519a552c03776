"""Image classification on PaddlePaddle: the Fluid tutorials as `paddle.nn.Layer`s, and what grew from them.

    from paddle_cls import fit                     # trains a network on images
    from paddle_cls import Predictor               # answers of a trained network

Importing this package loads no Paddle; what needs it is loaded when it is asked for. The folders: `data` (sets, images,
augmentation), `models`, `training`, `checkpoints`, `evaluation`, `inference`, `programs` (the commands), `ops` (compiled
operators), and below them `parallel` (several processes), `formats` (files of strangers) and `system`.
"""

import warnings
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:                                  # what `__getattr__` gives, for type checkers
    from .inference.predictor import Predictor
    from .library import fit
    from .training.callbacks import EarlyStop

__all__ = ["EarlyStop", "Predictor", "__version__", "fit"]

warnings.filterwarnings("ignore", message="No ccache found")     # Paddle's, at its import: of no use to a user


def __getattr__(name: str) -> object:
    """Return what `from paddle_cls import NAME` asks for (PEP 562)."""
    if name == "Predictor":
        from .inference.predictor import Predictor
        return Predictor
    if name in ("fit", "EarlyStop"):
        from .system import runtime
        runtime.prepare()                          # before Paddle is loaded, if it is not yet
        from . import library
        from .training import callbacks
        return {"fit": library.fit, "EarlyStop": callbacks.EarlyStop}[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
