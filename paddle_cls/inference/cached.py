"""Exports for this machine's own answers: made once, compared with the original, kept in the cache folder.

To find and load one loads no Paddle; to make one does.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import models
from ..data.images.transforms import Normalization
from ..errors import UserError
from ..evaluation import metrics
from ..system import cache, console, runtime
from ..system.files import hash_of, locked, part_name, writing
from .engines import ENGINES, TOLERANCE, Engine, has_openvino

if TYPE_CHECKING:
    from paddle import nn

KEPT = 8                                           # exports in the cache folder; the one unused for longest goes first
NETWORK = "network"                                # the name of its file, before the suffix
SUMS = "sums"                                      # sealed, the SHA-256 of each other file


def export(network: "nn.Layer", normalization: Normalization, image_size: int, folder: Path,
           precision: str = "float32") -> Engine:
    """Write `network` into `folder` for the best engine that this machine has; return that engine.

    Where OpenVINO is missing, or cannot compute the network, stderr says so and the engine is Paddle Inference.
    Raises ArithmeticError if a probability differs from the network's by over TOLERANCE, or no engine computes the network,
    UserError if the network itself gives no number, OSError where nothing can be written.
    """
    import paddle

    from . import convert
    pixels = np.random.default_rng(0).integers(0, 256, (2, image_size, image_size, 3), np.uint8)
    with runtime.evaluating(network):
        logits = network(paddle.to_tensor(normalization(pixels))).numpy()
    if not np.isfinite(logits).all():
        raise UserError("the network's answers are no numbers (NaN or infinity); use another checkpoint")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work, console.libraries_on_stderr():
        program = convert.to_paddle(convert.Whole(network, normalization), image_size, Path(work))
        file = _for_openvino(program, folder)
        if not file:
            file = folder / f"{NETWORK}{program.suffix}"
            convert.to_file(program, file)
    try:
        engine = ENGINES[file.suffix](file)
        answers = engine(pixels).logits
    except (RuntimeError, ValueError) as error:
        raise ArithmeticError(f"{file.name}: cannot be computed: {str(error).strip().splitlines()[0]}") from None
    difference = np.abs(metrics.probabilities(answers) - metrics.probabilities(logits)).max()
    if not difference <= TOLERANCE:
        raise ArithmeticError(f"the exported network's probabilities differ from the original's by {difference:.2g}")
    return engine if precision == "float32" else ENGINES[file.suffix](file, precision=precision)


def _for_openvino(program: Path, folder: Path) -> Path | None:
    """Write what OpenVINO reads, and return its file; None, after a line on stderr, where that is impossible."""
    from . import convert
    if not has_openvino():
        print("OpenVINO is not installed (pip install openvino); Paddle Inference computes, slower", file=sys.stderr)
        return None
    file = folder / f"{NETWORK}.xml"
    try:
        convert.to_file(program, file)
    except (UserError, RuntimeError) as error:
        print(f"OpenVINO cannot have this network ({str(error).strip().splitlines()[0]}); Paddle Inference computes, slower",
              file=sys.stderr)
        return None
    return file


def folder_for(weights: str, about: Mapping, image_size: int, normalization: Normalization) -> Path:
    """Return the folder for an export in the cache: another one for other weights, arguments, code, or versions.

    weights: SHA-256 of their file. about: JSON-able, what the network is built from.
    """
    here = Path(__file__).parent
    own = [here / "cached.py", here / "convert.py", here / "pooling.py", *sorted(Path(str(models.__file__)).parent.glob("*.py"))]
    code = [file.read_text(encoding="utf-8") for file in own]
    versions = [runtime.version_of("openvino"), runtime.version_of("paddlepaddle-gpu", "paddlepaddle")]
    text = json.dumps([weights, about, image_size, [*normalization.mean, *normalization.std], versions, code])
    return cache.root() / "exports" / hashlib.sha256(text.encode()).hexdigest()[:16]


def load(folder: Path, precision: str = "float32") -> Engine | None:
    """Return the engine of the export in `folder`; None where there is none, or it is not as it was written.

    Raises UserError for a precision that this machine does not have.
    """
    if not _intact(folder):
        return None
    with contextlib.suppress(OSError):             # a cache that can only be read
        os.utime(folder)
    try:
        file = next(file for file in sorted(folder.iterdir()) if file.suffix in ENGINES)
        return ENGINES[file.suffix](file, precision=precision)
    except (OSError, RuntimeError, StopIteration):           # another process has removed it just now
        return None


def _sums(folder: Path) -> dict[str, str] | None:
    """Return the checksums of an export's files by name, which this user's own process has written; None for other folders."""
    try:
        cache.check(folder)
        with cache.opened(folder / SUMS) as file:
            content = cache.unseal(_label(folder), file.read(1 << 16))
    except (OSError, UserError):
        return None
    return None if content is None else json.loads(content)


def _label(folder: Path) -> str:
    return f"export 1 {folder.name}"


def _intact(folder: Path) -> bool:
    sums = _sums(folder)
    try:
        return sums is not None and {*os.listdir(folder)} == {*sums, SUMS} and all(
            stat.S_ISREG(os.lstat(folder / name).st_mode) and hash_of(folder / name) == sums[name] for name in sums)
    except OSError:
        return False


def make(folder: Path, network: "nn.Layer", normalization: Normalization, image_size: int,
         precision: str = "float32") -> Engine:
    """Export `network` to `folder`, in the place of what may be there, as a whole or not at all; return its engine.

    Where the folder cannot be written or is not private, stderr says so and the export lives in a temporary one until it is
    loaded. Raises UserError where that is impossible too, and both errors of `export`.
    """
    try:
        cache.private(folder.parent)
    except OSError as error:
        reason = f"{folder}: cannot be written ({error.strerror or error}); {cache.REMEDY}"
    except UserError as error:
        reason = str(error)
    else:
        try:
            return _make(folder, network, normalization, image_size, precision)
        except OSError as error:
            reason = f"{folder}: cannot be written ({error.strerror or error}); free some space, or {cache.REMEDY}"
    print(f"{reason}; the network is exported again at each start", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=cache.temporary()) as made, writing(made):
        return export(network, normalization, image_size, Path(made) / NETWORK, precision)


def _make(folder: Path, network: "nn.Layer", normalization: Normalization, image_size: int, precision: str) -> Engine:
    part = part_name(folder.parent)
    part.mkdir(0o700)
    try:
        made = part / folder.name
        engine = export(network, normalization, image_size, made, precision)
        made.chmod(0o700)
        sums = json.dumps({file.name: hash_of(file) for file in made.iterdir()})
        (made / SUMS).write_bytes(cache.seal(_label(folder), sums.encode()))
        with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
            if not _intact(folder):                # or another process made it meanwhile, and a third may be reading it
                cache.remove(folder)
                os.replace(made, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _forget_oldest(folder.parent)
    return engine


def _forget_oldest(folder: Path) -> None:
    """Remove the exports used longest ago, and nothing else that may lie in `folder` or in them."""
    ours = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):         # another process may be doing the same
            if (sums := _sums(path)) is not None:
                ours.append((path.stat().st_mtime, path, sums))
    for _, old, sums in sorted(ours, key=lambda entry: entry[0])[:-KEPT]:
        with contextlib.suppress(OSError):
            for name in (*sums, SUMS):             # the sums last: they tell that it is ours
                (old / name).unlink(missing_ok=True)
            old.rmdir()
