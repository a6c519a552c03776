"""The command `paddle-cls`, also `python -m paddle_cls`: lists the programs, and runs one, such as `paddle-cls train --help`."""

import importlib
import sys
from typing import Any

# name: (module of `programs`, what it does)
PROGRAMS = {
    "train": ("train", "train a network on images"),
    "infer": ("infer", "classify pictures with a trained network"),
    "features": ("features", "write what a trained network sees in pictures, as numbers"),
    "report": ("report", "judge a trained network, as one HTML page"),
    "export": ("export", "write a trained network for other programs"),
    "grid": ("grid", "train once for each combination of settings"),
    "lr-find": ("lr_find", "look for a good learning rate"),
    "check": ("check_data", "look closely at pictures of one's own"),
    "models": ("models", "list the networks"),
    "draw-shapes": ("draw_shapes", "write ten pictures of the data set `shapes`"),
}


def run(name: str, called: str, arguments: list[str] | None = None) -> None:
    """Run a program, and exit. called: its name in messages. arguments: None: all of the command line.

    `sys.argv` stays as it is: several processes of a training are started by it once more.
    """
    from .system import stopping
    stopping.install()                             # before what takes time to load
    from .system.entry import reported
    with reported(called):
        module: Any = importlib.import_module(f".programs.{PROGRAMS[name][0]}", __package__)
        module.PROGRAM = called
        sys.exit(module.main(sys.argv[1:] if arguments is None else arguments))


def main() -> None:
    """Run the program that the first argument names; without one, list them."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in PROGRAMS:
        run(name, f"paddle-cls {name}", sys.argv[2:])
    from . import __version__
    if name in ("-h", "--help"):
        width = max(map(len, PROGRAMS))
        print("usage: paddle-cls PROGRAM ...    (paddle-cls PROGRAM --help lists its settings)\n")
        print(*(f"  {known:{width}}  {text}" for known, (_, text) in PROGRAMS.items()), sep="\n")
    elif name in ("-V", "--version"):
        print(f"paddle_cls {__version__}")
    else:
        from .errors import UserError, unknown
        from .system.entry import reported
        with reported("paddle-cls"):
            raise UserError(unknown("program", name, PROGRAMS))


if __name__ == "__main__":
    main()
