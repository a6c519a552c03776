"""What users name as `module:name`, such as `--model mymodule:Net`: code of their own, found and imported in this one place.

Importing runs the module's code. So only the user's own word may lead here (a flag, a --config file, a call), never what a
checkpoint or a run folder says: those may be a stranger's.
"""

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import UserError, unknown


def is_named(text: str) -> bool:
    """Return whether a text means code of the user's own: whether it has a colon."""
    return ":" in text


def check(text: str, where: str) -> None:
    """Raise UserError unless `text` has the form module:name and the module is there. Imports nothing.

    where: what an error begins with, such as "--model".
    """
    module, _, name = text.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{where} {text}: is not of the form module:name, such as mymodule:Net")
    _look_here()
    first = module.partition(".")[0]
    if first not in sys.modules and importlib.util.find_spec(first) is None:
        raise UserError(f"{where} {text}: {_missing(first)}")


def load(text: str, where: str) -> Callable[..., Any]:
    """Return what `text`, "module:name", means: a function or class of a module in the working folder or installed.

    Raises UserError, which begins with `where`, where there is no such module or name, where it cannot be called, and where
    importing the module fails: then it names the line of that.
    """
    check(text, where)
    module, _, name = text.partition(":")
    found = _imported(module, f"{where} {text}")
    if not hasattr(found, name):
        names = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"{where} {text}: {unknown(f'name in {_file(found)}:', name, names)}")
    value = getattr(found, name)
    if not callable(value):
        raise UserError(f"{where} {text}: is a {type(value).__name__}, not a function or class")
    return value


def resolve(place: object, where: str) -> Callable[..., Any]:
    """Return the function or class that was put into a table of names from outside: itself, or "module:name" of it.

    where: what an error begins with, such as "MODELS['mine']". Raises UserError as `load` does, and for anything else.
    """
    if isinstance(place, str) and is_named(place):
        return load(place, where)
    if not callable(place):
        raise UserError(f"{where} = {place!r}: is neither a function or class nor 'module:name' of one")
    return place


def _look_here() -> None:
    """Let modules of the working folder be found. The folder comes last: a file in it never hides an installed module."""
    folder = os.getcwd()
    if not {folder, ""} & set(sys.path):
        sys.path.append(folder)
    importlib.invalidate_caches()                  # a file may be new


def _missing(module: str) -> str:
    here = {path.stem for path in Path.cwd().iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    close = difflib.get_close_matches(module, here, n=1)
    return f"no module {module!r} in the working folder or installed" + (f"; did you mean {close[0]!r}?" if close else "")


def _imported(module: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:       # whatever the user's module raises: it is named with its line
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{where}: {_missing(error.name)}") from None
        raise UserError(f"{where}: importing it fails at {_line(error, module)}: {type(error).__name__}: {error}") from error


def _line(error: BaseException, module: str) -> str:
    """Return FILE:LINE of an error: the last line of the user's own code that led to it, where there is one."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename != __file__ and "importlib" not in frame.filename]
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    last = (own or frames)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else module


def _file(module: ModuleType) -> str:
    return module.__file__ or module.__name__
