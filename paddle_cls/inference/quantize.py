"""Networks in 8 bits: made of an export in float32 by post-training quantization, and judged beside it.

NNCF measures the range of each layer's numbers on training images (calibration), and rounds weights and activations to 256 steps
of it. Nothing is trained.
"""

import contextlib
import importlib.util
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..data.images.transforms import eval_pixels
from ..data.reader import Split, prefetch
from ..errors import UserError
from ..evaluation import metrics
from ..formats import markdown
from ..system import console
from .engines import Engine, load_openvino

IMAGES = 300                                       # that calibrate: 200 to 1,000 gave the same accuracy
_BATCH = 128                                       # images a call, of which the speed is told
_ROUNDS = 5                                        # of calls whose median is the speed


@dataclass(frozen=True)
class Row:
    """How a network does in one precision."""

    precision: str
    accuracy: float                                # share of right answers, in [0, 1]; of a yes-or-no network at its threshold
    auc: float | None                              # of a yes-or-no network
    bytes: int                                     # of its files
    speed: float                                   # images a second, 128 at a time


def check_installed(*, onnx: bool) -> None:
    """Raise UserError unless what quantizes is installed; onnx: for ONNX files too."""
    needed = {"nncf": "NNCF", **({"onnxruntime": "ONNX Runtime"} if onnx else {})}
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f'--precision int8 needs {" and ".join(missing)}: pip install "paddle_cls[int8]"')


def calibration(split: Split, image_size: int, *, count: int = IMAGES, seed: int = 0) -> np.ndarray:
    """Return `count` images of a split (all, where it has fewer), uint8 (n, image_size, image_size, 3), as they are evaluated.

    split: of training, never of what the network is judged by. Drawn by `seed`: as many of each class, while it has more.
    Raises UserError where the split has none.
    """
    if not len(split):
        raise UserError("--precision int8: no calibration images: the data has no training images")
    order = np.random.default_rng(seed).permutation(len(split))
    turn = np.empty(len(split), np.int64)          # of an image among those of its class
    for label in np.unique(split.labels):
        places = np.flatnonzero(split.labels[order] == label)
        turn[places] = np.arange(len(places))
    return eval_pixels(split.fetch(order[np.argsort(turn, kind="stable")[:count]]), image_size)


def to_int8(network: Path, images: np.ndarray, file: Path) -> None:
    """Write an export in 8 bits: an .xml or .pdmodel as OpenVINO's .xml `file` and its .bin, an .onnx as .onnx.

    network: takes uint8 (N, S, S, 3), any N. images: uint8 (n, S, S, 3), which calibrate. The inputs and outputs stay as they
    are. In ONNX each layer that computes in 8 bits stands between QuantizeLinear and DequantizeLinear, its weights are int8.
    Raises UserError where NNCF is missing, OSError and RuntimeError where a file cannot be read or written.
    """
    onnx = network.suffix == ".onnx"
    check_installed(onnx=onnx)
    with console.libraries_on_stderr(), contextlib.redirect_stdout(sys.stderr):        # NNCF keeps the stdout of its import
        nncf = _loaded()
        with _no_bar():
            (_write_onnx if onnx else _write_openvino)(nncf, network, images, file)


def _loaded() -> ModuleType:
    """Return NNCF. Unless NNCF_CI is set when it is loaded, it tells its makers on the Internet how it is used."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextlib.contextmanager
def _no_bar() -> Iterator[None]:
    """Draw NNCF's bars inside the block only on a terminal; they are rich's, on its shared console."""
    import rich
    shared = rich.get_console()
    before, shared.quiet = shared.quiet, shared.quiet or not sys.stderr.isatty()
    try:
        yield
    finally:
        shared.quiet = before


def _quantized(nncf: ModuleType, network: Any, images: np.ndarray, as_input: Callable[[np.ndarray], Any]) -> Any:
    """Return a network in 8 bits. Both choices were measured, on ResNet-32 and resnet_small.

    PERFORMANCE: activations are symmetric, which is as quick as "mixed" or quicker, and as accurate. MINMAX: a range holds all
    that was seen. The default, the mean of the images' ranges, cuts off more: it moved the logits about twice as far.
    """
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    return nncf.quantize(network, nncf.Dataset(images, as_input), subset_size=len(images),
                         preset=nncf.QuantizationPreset.PERFORMANCE,
                         advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges))


def _write_openvino(nncf: ModuleType, network: Path, images: np.ndarray, file: Path) -> None:
    openvino = load_openvino()
    made = _quantized(nncf, openvino.Core().read_model(network), images, lambda image: image[None])
    openvino.save_model(made, file, compress_to_fp16=False)


def _write_onnx(nncf: ModuleType, network: Path, images: np.ndarray, file: Path) -> None:
    import onnx
    model = _folded(network, file.with_suffix(".folded"))
    name = model.graph.input[0].name
    made = _quantized(nncf, model, images, lambda image: {name: image[None]})
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, file)


def _folded(network: Path, scratch: Path) -> Any:
    """Return an ONNX model, its batch norms in the weights of their convolutions: NNCF leaves them in float32 otherwise."""
    import onnx
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC         # uses ONNX's operators alone
    options.log_severity_level = 3                 # errors
    options.optimized_model_filepath = str(scratch)
    try:
        onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        model = onnx.load(scratch)
    finally:
        scratch.unlink(missing_ok=True)
    used = [opset for opset in model.opset_import if not opset.domain]         # it lists its own too
    del model.opset_import[:]
    model.opset_import.extend(used)
    return model


def compare(engines: Mapping[str, tuple[Engine, int]], split: Split, image_size: int, threshold: float | None) -> list[Row]:
    """Return how a network does on a split in several precisions, a row each.

    engines: {precision: (what computes it, the bytes of its files)}. threshold: the probability over which a yes-or-no network
    says yes, else None. The speed is of all in turns, the median of some calls, so that one that is disturbed does not count.
    """
    parts = [np.arange(start, min(start + _BATCH, len(split))) for start in range(0, len(split), _BATCH)]
    reader = prefetch(lambda: (eval_pixels(split.fetch(part), image_size) for part in parts), 1)
    logits: dict[str, list[np.ndarray]] = {precision: [] for precision in engines}
    for pixels in reader():
        for precision, (engine, _) in engines.items():
            logits[precision].append(engine(pixels).logits)
    first = eval_pixels(split.fetch(parts[0]), image_size)
    speeds = _speeds({precision: engine for precision, (engine, _) in engines.items()},
                     np.resize(first, (_BATCH, *first.shape[1:])))
    return [_row(precision, np.concatenate(logits[precision]), split.labels, threshold, size, speeds[precision])
            for precision, (_, size) in engines.items()]


def _row(precision: str, logits: np.ndarray, labels: np.ndarray, threshold: float | None, size: int, speed: float) -> Row:
    accuracy = float((metrics.predictions(logits, threshold) == labels).mean())
    binary = metrics.classification(logits, labels).binary if logits.shape[1] == 1 else None
    return Row(precision, accuracy, binary["auc"] if binary else None, size, speed)


def _speeds(engines: Mapping[str, Engine], pixels: np.ndarray) -> dict[str, float]:
    """Return the images a second of each."""
    seconds: dict[str, list[float]] = {precision: [] for precision in engines}
    for turn in range(_ROUNDS + 1):
        for precision, engine in engines.items():
            start = time.perf_counter()
            engine(pixels)
            if turn:                               # in the first turn an engine may compile the network for this batch
                seconds[precision].append(time.perf_counter() - start)
    return {precision: len(pixels) / statistics.median(times) for precision, times in seconds.items()}


def table(rows: list[Row]) -> str:
    """Return the rows as a table in Markdown; speeds also as multiples of the first row's."""
    titles = ["precision", "accuracy", *["AUC"] * (rows[0].auc is not None), "MB", f"images/s, {_BATCH} at a time", "speed"]
    return markdown.table([titles, *([
        row.precision, f"{row.accuracy:.4f}", *([] if row.auc is None else [f"{row.auc:.4f}"]), f"{row.bytes / 1e6:.2f}",
        f"{row.speed:.0f}", f"{row.speed / rows[0].speed:.2f}x"] for row in rows)])


def check_loss(rows: list[Row], max_loss: float) -> None:
    """Raise UserError where a row's accuracy is more than `max_loss` points (hundredths) below the first row's."""
    base = rows[0]
    for row in rows[1:]:
        loss = round(100 * (base.accuracy - row.accuracy), 6)
        if not loss <= max_loss:
            auc = "" if base.auc is None else f", the AUC from {base.auc:.4f} to {row.auc:.4f}"
            raise UserError(f"--precision {row.precision}: the accuracy on the validation images falls from {base.accuracy:.4f} "
                            f"to {row.accuracy:.4f}{auc}: {loss:.2f} points, and {max_loss:g} are allowed; allow more with "
                            f"--max-loss, or export in float32")
