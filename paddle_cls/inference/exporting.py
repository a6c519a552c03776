"""Writes an exported folder, and compares what was written with the network. See `exported` for what such a folder holds."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ..checkpoints.info import CheckpointInfo
from ..data.images.transforms import Normalization
from ..evaluation import metrics
from ..models import is_own
from ..system import runtime
from . import convert, exported, quantize, triton
from .engines import TOLERANCE, Engine, load_openvino
from .exported import ExportInfo

BATCHES = (1, 3, 32)                               # sizes of those that are compared
_PART = 12                                         # images that the network computes at a time


def write(folder: Path, network: nn.Layer, info: CheckpointInfo, *, target: str, name: str) -> ExportInfo:
    """Write the export of a checkpoint into `folder`, which is empty, in float32; return what its model.json says.

    name: of the model on a Triton server, see `model_name`. Raises UserError where the network cannot be converted, OSError and
    RuntimeError where something cannot be written.
    """
    normalization = Normalization(info.normalization.mean, info.normalization.std)
    work = folder / ".work"                        # on the disk of the export, and gone with it after an error
    work.mkdir()
    program = convert.to_paddle(convert.Whole(network, normalization), info.image_size, work)
    file = _FILES[target](folder, program, name)
    convert.to_file(program, file, apart=is_own(info.model.name))
    shutil.rmtree(work)
    tensors = {"images": ("uint8", [-1, info.image_size, info.image_size, 3]), "logits": ("float32", [-1, info.outputs])}
    if hasattr(network, "forward_features"):
        blank = np.zeros((1, info.image_size, info.image_size, 3), np.uint8)
        tensors["features"] = ("float32", [-1, *_features(network, normalization, blank).shape[1:]])
    return _finish(folder, ExportInfo.new(info, target=target, precision="float32", tensors=tensors,
                                          network=file.relative_to(folder).as_posix()))


def lower(plain: Path, info: ExportInfo, folder: Path, *, precision: str, images: np.ndarray) -> ExportInfo:
    """Write an export of float32, in `plain`, into `folder` in another precision; return what its model.json says.

    images: to calibrate int8 on, uint8 (n, S, S, 3). Raises UserError, OSError and RuntimeError as `write` does.
    """
    source, file = plain / info.network, folder / info.network
    file.parent.mkdir(parents=True, exist_ok=True)
    if precision == "int8":
        quantize.to_int8(source, images, file)
    else:
        _to_bfloat16(source, file)
    return _finish(folder, info.model_copy(update={"precision": precision}))


def restate(folder: Path, metrics: Mapping[str, float]) -> None:
    """Have model.json tell what was measured of this export, and of nothing else, by the names of a checkpoint's metrics."""
    info = exported.read(folder)
    exported.seal(folder, info.model_copy(update={"metrics": dict(metrics)}))


def _finish(folder: Path, info: ExportInfo) -> ExportInfo:
    if info.target == "triton":
        triton.write(folder, info)
    return exported.seal(folder, info)


def _to_bfloat16(source: Path, file: Path) -> None:
    """Write OpenVINO's .xml `source` with weights of 16 bits, and with the wish for bfloat16 in it, which any program obeys."""
    openvino = load_openvino()
    network = openvino.Core().read_model(source)
    network.set_rt_info("bf16", ["runtime_options", "INFERENCE_PRECISION_HINT"])
    openvino.save_model(network, file, compress_to_fp16=True)


# target: (folder, Paddle's program, name of the model) -> the file that an engine takes
_FILES: dict[str, Callable[[Path, Path, str], Path]] = {
    "onnx": lambda folder, program, name: folder / "network.onnx",
    "openvino": lambda folder, program, name: folder / "network.xml",
    "paddle": lambda folder, program, name: folder / f"network{program.suffix}",
    "triton": lambda folder, program, name: folder / triton.network_file(name)}


def model_name(text: str) -> str:
    """Return a name that a server, an address and a file system take."""
    return re.sub(r"[^\w.-]", "_", text, flags=re.ASCII).strip(".") or "network"


def _features(network: nn.Layer, normalization: Normalization, pixels: np.ndarray) -> np.ndarray:
    with runtime.evaluating(network):
        return network.forward_features(paddle.to_tensor(normalization(pixels))).numpy()


def compare(engine: Engine, network: nn.Layer, normalization: Normalization, pixels: np.ndarray) -> float:
    """Return the largest difference of a probability between an export and its network, over batches of several sizes.

    pixels: uint8 (sum(BATCHES), S, S, 3). Features are compared too. Raises ArithmeticError for differences over TOLERANCE.
    """
    parts = [pixels[start:start + _PART] for start in range(0, len(pixels), _PART)]
    with runtime.evaluating(network):
        logits = np.concatenate([network(paddle.to_tensor(normalization(part))).numpy() for part in parts])
    features = None
    if hasattr(network, "forward_features"):
        features = np.concatenate([_features(network, normalization, part) for part in parts])
    wanted, largest, place = metrics.probabilities(logits), 0.0, 0
    for count in BATCHES:
        part = slice(place, place + count)
        place += count
        found = engine(pixels[part])
        differences = {"probabilities": np.abs(metrics.probabilities(found.logits) - wanted[part]).max()}
        if features is not None:
            assert found.features is not None, "a network with features has a second output"
            differences["features"] = np.abs(found.features - features[part]).max() / max(1.0, np.abs(features).max())
        for what, difference in differences.items():
            if not difference <= TOLERANCE:        # NaN too
                raise ArithmeticError(f"the export's {what} differ from the network's by {difference:.2g} in a batch of {count}, "
                                      f"and {TOLERANCE:g} is allowed")
        largest = max(largest, float(differences["probabilities"]))
    return largest
