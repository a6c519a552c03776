"""Several machines that train together: what must be equal on all, and the message when one is lost."""

import ctypes
import os
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from .world import World

# Settings that may differ: places on each machine's own disks, and what a process computes by.
OWN = {"data_dir", "table", "val_table", "output_dir", "pretrained", "checkpoint", "device", "nproc", "onednn", "save_minutes"}
WAIT = 3                                           # seconds that who started this process has to say what has died
_reported = threading.Lock()
_kept: list = []                                   # what C++ calls must stay in memory


def check_alike(world: World, settings: Mapping[str, object], classes: Sequence[str], labels: Mapping[str, np.ndarray],
                step: int) -> None:
    """Raise UserError in every process unless all have the same version, settings, data and steps done.

    Otherwise they would wait for each other for ever, or train on different data. settings: name -> value, of which OWN may
    differ. labels: of each split, by its name.
    """
    common = {name: value for name, value in sorted(settings.items()) if name not in OWN}
    sources = sorted(Path(__file__).parent.parent.rglob("*.py"))
    marks = {name: zlib.crc32(content) for name, content in (
        ("version of the package", b"".join(file.read_bytes() for file in sources)),
        ("settings", str(common).encode()), ("classes", str(tuple(classes)).encode()),
        ("labels", b"".join(part.tobytes() for part in labels.values())))}
    values = {**marks, **{f"number of {split} images": len(part) for split, part in labels.items()},
              "number of steps done (last.json in the run folder)": step}
    everyone = world.gather(np.array([list(values.values())], np.float64))
    for place, name in enumerate(values):
        numbers = everyone[:, place].astype(int).tolist()
        if len(set(numbers)) > 1:
            told = "" if name in marks else ": " + ", ".join(f"process {rank}: {n:,}" for rank, n in enumerate(numbers))
            raise UserError(f"the machines do not have the same {name}{told}; give all of them the same command, data, package "
                            f"and run folder (docs/several_machines.md)")


def is_lost_exchange(error: RuntimeError) -> bool:
    """Return whether an exchange failed because another process has died or cannot be reached any more."""
    return any(word in str(error) for word in ("gloo", "NCCL", "nccl"))


def tell_loss(program: str, folder: Path, cause: object) -> None:
    """Say in one line, once, that another process is lost, unless who started us ends us first: it knows best what has died.

    folder: the run folder, to go on from. cause: what gloo or NCCL says.
    """
    time.sleep(WAIT)
    if _reported.acquire(blocking=False):          # the main thread and gloo's both notice
        text = " ".join(str(cause).split()).split("] ", 1)[-1]               # without Paddle's own source file
        print(f"{program}: error: another process of this training has ended or cannot be reached ({text}); go on with "
              f"--resume --output-dir {folder} on every machine", file=sys.stderr, flush=True)


def watch(program: str, folder: Path) -> None:
    """Have this process end with that line and status 1 where gloo's own thread loses a connection.

    It throws there what nobody can catch: C++ would abort the process with a page of its stack.
    """
    try:
        library = ctypes.CDLL("libstdc++.so.6")
        set_terminate, exception_type = library._ZSt13set_terminatePFvvE, library.__cxa_current_exception_type
    except (OSError, AttributeError):              # another C++ library: then it aborts
        return
    set_terminate.restype = exception_type.restype = ctypes.c_void_p
    before = None

    @ctypes.CFUNCTYPE(None)
    def end() -> None:
        kind = exception_type()
        if kind and b"gloo" in ctypes.cast(kind, ctypes.POINTER(ctypes.c_char_p))[1]:  # a type_info: (table, name)
            tell_loss(program, folder, "gloo: connection lost")
            os._exit(1)
        if before:
            ctypes.CFUNCTYPE(None)(before)()
        os.abort()

    before = set_terminate(end)
    _kept.append(end)
