"""Where a checkpoint is that a user names. Loads no Paddle."""

import contextlib
import os
import stat
from pathlib import Path

from ..errors import UserError
from .storage import SUFFIXES, exists, hidden


def locate(path_or_run: Path | None, root: Path = Path("output")) -> Path:
    """Return a checkpoint's path without suffix.

    path_or_run: a .pdparams, .pdopt or .json, the path without suffix, or a run folder (its best, else its last); None: the
    newest run below `root`. Raises UserError if there is none.
    """
    if path_or_run is None:
        runs = _runs(root)
        if not runs:
            raise UserError(f"no checkpoint under {root}/; train one first: python train.py --model resnet --depth 20, or "
                            f"name one with --checkpoint")
        path_or_run = max(runs, key=lambda run: runs[run])
    path_or_run = Path(path_or_run)
    if path_or_run.is_dir():
        for name in ("best", "last"):
            if exists(path_or_run / name):
                return path_or_run / name
        raise UserError(f"{path_or_run}: no checkpoint (best.json or last.json) in this folder")
    bare = path_or_run.with_suffix("") if path_or_run.suffix in (*SUFFIXES, ".json") else path_or_run
    if not exists(bare):
        alone = f"{path_or_run} has no {bare.name}.json beside it, which says what model it is" if path_or_run.exists() else \
            f"{path_or_run}: no such checkpoint"
        raise UserError(f"{alone}; --checkpoint takes a .pdparams written by train.py, or a run folder")
    return bare


def _runs(root: Path) -> dict[Path, float]:
    """Return {run folder below `root`: when its newest file was changed}. What cannot be looked at is passed over."""
    found, marks = {}, {"last.json", hidden(Path("last"), ".json").name}
    for folder, _, names in os.walk(root):
        times = {}
        for name in names if marks & set(names) else ():
            with contextlib.suppress(OSError):                 # a link to nothing, or renamed while we look
                state = os.stat(os.path.join(folder, name))
                if stat.S_ISREG(state.st_mode):
                    times[name] = state.st_mtime
        if marks & times.keys():
            found[Path(folder)] = max(times.values())
    return found
