"""From a network to the files that other programs compute: ONNX, OpenVINO's, Paddle Inference's."""

import copy
import errno
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import nn

from .. import ops
from ..data.images.transforms import Normalization
from ..errors import UserError
from ..system import console
from .engines import WEIGHTS, load_openvino
from .pooling import make_exact

if TYPE_CHECKING:
    import onnx

OPSET = 17                                         # of ONNX: the oldest that has all that the networks need, for old runtimes
INPUT, OUTPUTS = "images", ("logits", "features")  # names in the ONNX file
_PROGRAMS = (".json", ".pdmodel")                  # of Paddle 3 and 2
# Methods of a network that the logits and the features both come from; each is computed once where it is given the images.
_SHARED = ("forward_features", "forward_map")
# Bytes of a number, by Paddle's kinds in a file of weights: bool, int16, int32, int64, float16, float32, float64, uint8, int8.
_SIZES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1}


class Whole(nn.Layer):
    """A network with its normalization: pixels uint8 (N, H, W, 3) -> logits float32 (N, C), features float32 (N, F)."""

    def __init__(self, network: nn.Layer, normalization: Normalization):
        """network: is not changed. Without `forward_features` the logits are the only output."""
        super().__init__()
        self.network = copy.deepcopy(network)
        ops.restore(self.network)
        make_exact(self.network)
        self.eval()
        mean, std = (255 * np.array(values, "float32").reshape(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
        self.register_buffer("mean", paddle.to_tensor(mean, place=paddle.CPUPlace()))
        self.register_buffer("factor", paddle.to_tensor(1 / std, place=paddle.CPUPlace()))

    def forward(self, pixels: paddle.Tensor) -> paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor]:
        """Return (logits, features), or logits alone."""
        images = paddle.transpose(pixels.astype("float32"), [0, 3, 1, 2])      # Paddle 2 does not transpose bytes
        images = (images - self.mean) * self.factor            # (N, 3, H, W)
        if not hasattr(self.network, "forward_features"):
            return self.network(images)
        originals = {name: getattr(self.network, name) for name in _SHARED if hasattr(self.network, name)}
        for name, original in originals.items():
            setattr(self.network, name, _once(original, images))
        logits = self.network(images)
        features = self.network.forward_features(images)
        for name in originals:
            delattr(self.network, name)
        return logits, features


def _once(method: Callable[..., paddle.Tensor], images: paddle.Tensor) -> Callable[..., paddle.Tensor]:
    """Return `method`, which computes once what it is asked for the tensor `images` alone, and each time all else."""
    known: list[paddle.Tensor] = []

    def call(given: paddle.Tensor, *arguments: object, **options: object) -> paddle.Tensor:
        if given is not images or arguments or options:
            return method(given, *arguments, **options)
        if not known:
            known.append(method(given))
        return known[0]
    return call


def to_paddle(whole: Whole, image_size: int, folder: Path) -> Path:
    """Write inference.json (Paddle 2: .pdmodel) and inference.pdiparams into `folder`; return the first.

    Raises OSError where the folder cannot be written or the disk is full, UserError for code of the user's that returns more
    than a tensor.
    """
    spec = paddle.static.InputSpec([None, image_size, image_size, 3], "uint8", INPUT)
    traced = paddle.jit.to_static(whole, input_spec=[spec], full_graph=True)
    with console.libraries_on_stderr():
        if len(paddle.utils.flatten(traced.forward.concrete_program.outputs)) > len(OUTPUTS):
            raise UserError(f"{type(whole.network).__name__}: forward and forward_features must return one tensor each")
        paddle.jit.save(traced, str(folder / "inference"))
    weights = folder / f"inference{WEIGHTS}"
    found = [folder / f"inference{suffix}" for suffix in _PROGRAMS if (folder / f"inference{suffix}").exists()]
    if not found or not _is_whole(weights):        # Paddle 3 says nothing of a full disk
        raise OSError(errno.ENOSPC, "Paddle could write only a part of it", str(weights))
    return found[0]


def _is_whole(weights: Path) -> bool:
    """Return whether a .pdiparams ends where its last tensor ends.

    Of each tensor it has two versions, the number of LoD levels (0), the size of a description, that, and the numbers.
    """
    head = struct.Struct("<IQIi")
    try:
        with weights.open("rb") as file:
            size = file.seek(0, 2)
            place = 0
            while place < size:
                file.seek(place)
                *_, described = head.unpack(file.read(head.size))
                place += head.size + described + _bytes_of(file.read(described))
    except (FileNotFoundError, struct.error, IndexError):
        return False
    return place == size > 0


def _bytes_of(description: bytes) -> int:
    """Return how many bytes a tensor's numbers take, by its description: protobuf's fields 1, the kind, and 2, each length."""
    kind, numbers, place = -1, 1, 0
    while place < len(description):
        field, value, shift = description[place], 0, 0
        while True:
            place += 1
            value |= (description[place] & 127) << shift
            shift += 7
            if description[place] < 128:
                break
        place += 1
        kind, numbers = (value, numbers) if field == 8 else (kind, numbers * value)
    return numbers * _SIZES[kind]


def to_onnx(program: Path, file: Path, *, apart: bool = False) -> None:
    """Write what `to_paddle` wrote as `file`, in ONNX. Raises UserError where it cannot be converted, OSError at a full disk.

    apart: convert in a process of its own, in 3 s more: for a network that is code of the user's. At an operation that it does
    not know, paddle2onnx ends the process.
    """
    try:
        with console.libraries_on_stderr():
            import paddle2onnx
    except ImportError:                            # or it is one for another Paddle
        remedy = f"pip install paddle2onnx{'==1.3.1' if paddle.__version__.startswith('2.') else ''}"
        raise UserError(f"an export to ONNX needs paddle2onnx, one for Paddle {paddle.__version__}: {remedy}") from None
    import onnx
    if apart:
        content = _converted_apart(program)
    else:
        with console.libraries_kept():             # its progress; as bytes: what writes a file installs packages for that
            content = paddle2onnx.export(str(program), str(program.with_suffix(WEIGHTS)), None, OPSET, verbose=False,
                                         enable_onnx_checker=False)
    model = onnx.load_from_string(content)
    _rename(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UserError(f"paddle2onnx converts this network into something that is no ONNX: {error}") from None
    onnx.save(model, file)


def _converted_apart(program: Path) -> bytes:
    code = ("import sys, paddle2onnx; content = paddle2onnx.export(*sys.argv[1:3], None, int(sys.argv[4]), verbose=True, "
            "enable_onnx_checker=False); open(sys.argv[3], 'wb').write(content)")
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        made = Path(folder) / "network.onnx"
        done = subprocess.run([sys.executable, "-c", code, program, program.with_suffix(WEIGHTS), made, str(OPSET)],
                              capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            return made.read_bytes()
    lines = f"{done.stdout}\n{done.stderr}".splitlines()
    told = [line for mark in ("not supported", "[ERROR]", "Error: ") for line in lines if mark in line]
    raise UserError(f"paddle2onnx cannot convert this network: {told[0] if told else f'exit status {done.returncode}'}")


def _rename(model: "onnx.ModelProto") -> None:
    """Give the outputs names of their own, instead of paddle2onnx's."""
    names = {output.name: OUTPUTS[place] for place, output in enumerate(model.graph.output)}
    for output in model.graph.output:
        output.name = names[output.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def to_openvino(source: Path, file: Path) -> None:
    """Write an .onnx, or a .pdmodel of Paddle 2, as OpenVINO's .xml `file` and its .bin.

    Raises RuntimeError where OpenVINO cannot read it, OSError at a full disk.
    """
    openvino = load_openvino()
    network = openvino.Core().read_model(source)
    for place, output in enumerate(network.outputs):
        output.tensor.set_names({OUTPUTS[place]})
    try:
        openvino.save_model(network, file, compress_to_fp16=False)
    except RuntimeError:                           # "basic_ios::clear: iostream error"
        raise OSError(errno.ENOSPC, "OpenVINO could write only a part of it", str(file)) from None


def to_file(program: Path, file: Path, *, apart: bool = False) -> None:
    """Write what `to_paddle` wrote as an .onnx or .xml `file`, or move it there, with its weights, where `file` is of its kind.

    Paddle 2's is read by OpenVINO itself. apart: see `to_onnx`. Raises as both ways do.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == program.suffix:
        os.replace(program, file)
        os.replace(program.with_suffix(WEIGHTS), file.with_suffix(WEIGHTS))
        return
    source = program
    if program.suffix == ".json" or file.suffix == ".onnx":
        source = program.with_suffix(".onnx")
        to_onnx(program, source, apart=apart)
    if file.suffix == ".onnx":
        os.replace(source, file)
    else:
        to_openvino(source, file)
