"""Networks for inference on a CPU, by our own runner or Paddle Inference: exported once, compared, kept in the cache folder."""

import contextlib
import copy
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import paddle
from paddle import inference, nn

from .. import models, ops
from ..errors import UserError
from ..evaluation import metrics
from ..ops.build import NoCache, Unavailable
from ..ops.runner import Runner
from ..paddle_internals import norm_settings, statistics
from ..system import cache, console, runtime
from ..system.files import hash_of, locked, part_name, writing
from . import plan, trace

KEPT = 8                                           # exports in the cache folder; the one unused for longest goes first
TOLERANCE = 1e-4                                   # largest difference of a probability from the original's
PROGRAMS = ("inference.json", "inference.pdmodel")           # of Paddle 3 and 2
WEIGHTS, PLAN, SUMS = "inference.pdiparams", "plan.npz", "sums"          # sums: sealed, the SHA-256 of each other file
Computation = Callable[[np.ndarray], np.ndarray]             # float32 (N, 3, H, W) -> logits float32 (N, C)


class PaddleInference:
    """An exported network as Paddle Inference computes it, by oneDNN on all cores: a Computation."""

    def __init__(self, folder: Path):
        """folder: what `export` wrote; it is not needed any more afterwards."""
        program = next(folder / name for name in PROGRAMS if (folder / name).exists())
        config = inference.Config(str(program), str(folder / WEIGHTS))
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(runtime.cores())
        config.disable_glog_info()
        with console.libraries_on_stderr():        # Paddle tells stdout that it looks for a oneDNN operator
            self._predictor = inference.create_predictor(config)
        self._lock = threading.Lock()              # input and output have one place each
        self._has_run = False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of `images`, as many as there are."""
        with self._lock:
            entry = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
            entry.reshape(images.shape)
            entry.copy_from_cpu(np.ascontiguousarray(images))
            with contextlib.nullcontext() if self._has_run else console.libraries_on_stderr():     # likewise
                self._predictor.run()
            self._has_run = True
            return self._predictor.get_output_handle(self._predictor.get_output_names()[0]).copy_to_cpu()


def export(model: nn.Layer, image_size: int, folder: Path) -> Computation:
    """Write `model` into `folder` as inference.json (Paddle 2: .pdmodel), inference.pdiparams, plan.npz; return the fastest.

    The input is float32 (N, 3, image_size, image_size) with any N, the output logits. Where batch norm follows a
    convolution in a Sequential it is folded into its weights: Paddle would do so at every start, in up to a second.
    plan.npz is for our own runner, which has a step for most of the networks' operations; without one there is no such file.
    Raises ArithmeticError if a probability differs from the model's by over TOLERANCE, or Paddle Inference fails (2.6 does for
    NASNet), UserError if the model itself gives no number, OSError where nothing can be written.
    """
    plain = copy.deepcopy(model)
    plain.eval()
    ops.restore(plain)
    _fold_norms(plain)
    spec = paddle.static.InputSpec([None, 3, image_size, image_size], "float32", "images")
    plain = paddle.jit.to_static(plain, input_spec=[spec], full_graph=True)
    with console.libraries_on_stderr():
        paddle.jit.save(plain, str(folder / "inference"))
    # an operation without a step, or a Paddle to come that traces otherwise
    with contextlib.suppress(plan.Unsupported, AttributeError, KeyError, TypeError, ValueError):
        weights = {value.name: value.numpy() for value in (*plain.parameters(), *plain.buffers())}
        plan.make(trace.trace(plain), weights, image_size).save(folder / PLAN)
    try:
        engine = PaddleInference(folder)
    except (RuntimeError, ValueError) as error:
        needed = sum(int(np.prod(value.shape)) * 4 for value in plain.parameters())
        if not (folder / WEIGHTS).exists() or (folder / WEIGHTS).stat().st_size < needed:      # the disk is full: Paddle 3
            raise OSError(f"{folder}: what Paddle wrote there is not whole") from None         # says nothing then
        raise ArithmeticError(f"Paddle Inference {paddle.__version__} cannot run this network: "
                              f"{str(error).strip().splitlines()[0]}") from None
    images = np.random.default_rng(0).standard_normal((2, 3, image_size, image_size), np.float32)
    with runtime.evaluating(model):
        logits = model(paddle.to_tensor(images)).numpy()
    if not np.isfinite(logits).all():
        raise UserError("the network's answers are no numbers (NaN or infinity); use another checkpoint")
    expected = metrics.probabilities(logits)
    runner = _runner(folder, tell=True)
    computations: list[Computation] = [engine, runner] if runner else [engine]
    for computation in computations:
        difference = np.abs(metrics.probabilities(computation(images)) - expected).max()
        if not difference <= TOLERANCE:
            raise ArithmeticError(f"the exported network's probabilities differ from the original's by {difference:.2g}")
    return runner or engine


def _runner(folder: Path, *, tell: bool = False) -> Runner | None:
    """Return our own runner of an export; None where the network has no plan, or nothing runs it: tell says so on stderr."""
    if not (folder / PLAN).exists():
        return None
    steps = plan.Plan.load(folder / PLAN)
    try:
        return Runner(steps.code, steps.weights, steps.classes, runtime.cores())
    except Unavailable as error:
        if tell and not isinstance(error, NoCache):          # once, not at each start
            print(f"oneDNN operators are not available: {error}; Paddle Inference computes, slower", file=sys.stderr)
        return None


def _fold_norms(model: nn.Layer) -> None:
    for chain in model.sublayers(include_self=True):
        for (_, conv), (name, norm) in pairwise(chain.named_children()) if isinstance(chain, nn.Sequential) else ():
            if type(conv) is nn.Conv2D and type(norm) is nn.BatchNorm2D:
                mean, variance = statistics(norm)
                scale = norm.weight / paddle.sqrt(variance + norm_settings(norm).epsilon)
                bias = -mean if conv.bias is None else conv.bias - mean
                conv.weight.set_value(conv.weight * scale.reshape([-1, 1, 1, 1]))
                conv.bias = conv.create_parameter([len(scale)], is_bias=True)
                conv.bias.set_value(norm.bias + bias * scale)
                setattr(chain, name, nn.Identity())


def cached_folder(weights: str, about: Mapping, image_size: int) -> Path:
    """Return the folder for an export in the cache: another one for other weights, arguments, code, or Paddle.

    weights: SHA-256 of their file. about: JSON-able, what the network is built from.
    """
    own = [Path(__file__), Path(plan.__file__), Path(trace.__file__)]
    code = [file.read_text(encoding="utf-8") for file in (*own, *sorted(Path(str(models.__file__)).parent.glob("*.py")))]
    text = json.dumps([paddle.__version__, weights, about, image_size, code])
    return cache.root() / "exports" / hashlib.sha256(text.encode()).hexdigest()[:16]


def load_cached(folder: Path) -> Computation | None:
    """Return the fastest computation of the export in `folder`; None where there is none, or it is not as it was written."""
    if not _intact(folder):
        return None
    with contextlib.suppress(OSError):             # a cache that can only be read
        os.utime(folder)
    try:
        return _runner(folder) or PaddleInference(folder)
    except (OSError, RuntimeError, ValueError, KeyError):    # another process has removed it just now
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


def make(folder: Path, model: nn.Layer, image_size: int) -> Computation:
    """Export `model` to `folder`, in the place of what may be there, as a whole or not at all; return the fastest computation.

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
            return _make(folder, model, image_size)
        except OSError as error:
            reason = f"{folder}: cannot be written ({error.strerror or error}); free some space, or {cache.REMEDY}"
    print(f"{reason}; the network is exported again at each start", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=cache.temporary()) as made, writing(made):
        return export(model, image_size, Path(made))


def _make(folder: Path, model: nn.Layer, image_size: int) -> Computation:
    part = part_name(folder.parent)
    part.mkdir(0o700)
    try:
        made = part / folder.name
        engine = export(model, image_size, made)
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
