"""Engines: what computes an exported network on a CPU. All speak one protocol: pixels in, logits and features out."""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import UserError, unknown
from ..system import console, runtime

COUNTS = (32, 8, 1)                                # images that are computed together
PIXELS = 4 * 224 * 224                             # of those images, at most, a core
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}          # of the computation; OpenVINO's names for them
TOLERANCE = 1e-4                                   # largest difference of a probability; of a feature: of the largest feature
WEIGHTS = ".pdiparams"                             # beside a program of Paddle's
# what an exported folder is made for: the precisions that it can hold
TARGETS: Mapping[str, tuple[str, ...]] = {"onnx": ("float32", "int8"), "openvino": ("float32", "bfloat16", "int8"),
                                          "paddle": ("float32",), "triton": ("float32", "int8")}


def check_precision(precision: str) -> None:
    """Raise UserError unless `precision` is in PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(unknown("precision", precision, PRECISIONS))


class Outputs(NamedTuple):
    """What a network gives some images."""

    logits: np.ndarray                             # float32 (N, C)
    features: np.ndarray | None                    # float32 (N, F), the last layer before the head; None: it has no such


def load_openvino() -> Any:
    """Return the module openvino; import it nowhere else.

    OpenVINO tells a server of its maker's that it was imported, and so does NNCF: not from here. Without their package
    openvino_telemetry both leave that out, so Python is told that there is none.
    """
    sys.modules.setdefault("openvino_telemetry", None)         # type: ignore[arg-type]
    import openvino
    return openvino


def check_process() -> None:
    """Raise UserError in a process that was forked from one with an engine: its threads are missing, no answer would come."""
    if os.getpid() != _first_process():
        raise UserError("a process that was forked from one with a Predictor cannot answer; start it by multiprocessing's "
                        "\"spawn\", or make the first Predictor in it")


@functools.cache
def _first_process() -> int:
    return os.getpid()


def portions(images: int, image_size: int, cores: int) -> list[int]:
    """Return the numbers of COUNTS that so many images of one size are computed in, the largest first; the last may be larger.

    What the layers of one portion write should stay near the cores: 32 images at once are the quickest at 32 pixels, 8 at 224.
    """
    found = []
    for count in COUNTS:
        if count == 1 or count * image_size**2 <= PIXELS * cores:
            found += [count] * (images // count)
            images %= count
            if count == COUNTS[-2] and images > count // 2:        # some places stay empty: quicker than one by one
                return [*found, count]
    return found


class Engine(Protocol):
    """An exported network, ready to answer; safe in threads."""

    name: str                                      # what computes, for a user

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Return the outputs for `pixels` uint8 (N, size, size, 3), RGB, N >= 1. Raises ValueError for another size."""
        ...


class OpenVINO:
    """An exported network as OpenVINO computes it on all cores.

    It is compiled for fixed numbers of images (`portions`), each when it is first needed: that is quicker than for any number.
    Threads may run on any core: pinned ones (OpenVINO's default) wait where something else computes on theirs.
    """

    def __init__(self, file: Path, *, precision: str = "float32"):
        """file: an .onnx, .xml (with its .bin) or .pdmodel; it is not needed any more afterwards.

        Raises UserError for an unknown precision and one that the processor has no instructions for, RuntimeError where
        OpenVINO cannot read the file.
        """
        check_precision(precision)
        check_process()
        self._core = load_openvino().Core()
        self._core.set_property({"ENABLE_MMAP": False})          # a file that is cut short meanwhile would end the process
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError("--precision bfloat16: this processor has no bfloat16 instructions; leave out --precision")
        self.name = f"OpenVINO ({precision})"
        self._hint, self._cores = PRECISIONS[precision], runtime.cores()
        self._network = self._core.read_model(file)
        self._compiled: dict[int, _Compiled] = {}
        self._lock = threading.Lock()              # a second caller would only share the cores

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """See Engine."""
        assert pixels.dtype == np.uint8 and pixels.ndim == 4
        check_process()
        parts, done = [], 0
        with self._lock:
            for count in portions(len(pixels), pixels.shape[1], self._cores):
                parts.append(self._run(count, pixels[done:done + count]))
                done += count
        logits, *features = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Outputs(logits, features[0] if features else None)

    def _run(self, count: int, pixels: np.ndarray) -> list[np.ndarray]:
        compiled = self._compiled.get(count) or self._compile(count)
        if pixels.shape[1:] != compiled.pixels.shape[1:]:      # NumPy would stretch one of 1 pixel
            raise ValueError(f"takes images of shape {compiled.pixels.shape[1:]}, not {pixels.shape[1:]}")
        compiled.pixels[:len(pixels)] = pixels
        compiled.request.infer({}, share_outputs=True)
        return [output[:len(pixels)].copy() for output in compiled.outputs]

    def _compile(self, count: int) -> "_Compiled":
        network = self._network.clone()
        network.reshape([count, *network.input(0).partial_shape[1:]])
        request = self._core.compile_model(network, "CPU", {
            "INFERENCE_PRECISION_HINT": self._hint, "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(self._cores),
            "ENABLE_CPU_PINNING": "NO"}).create_infer_request()
        outputs = [request.get_output_tensor(place).data for place in range(len(network.outputs))]
        self._compiled[count] = _Compiled(request, request.get_input_tensor().data, outputs)
        return self._compiled[count]


class _Compiled(NamedTuple):
    """A network for a fixed number of images, with the places of its input and outputs: quicker than to hand arrays over."""

    request: Any
    pixels: np.ndarray
    outputs: list[np.ndarray]


class PaddleInference:
    """An exported network as Paddle Inference computes it, by oneDNN on all cores: where OpenVINO has no wheel."""

    name = "Paddle Inference"

    def __init__(self, file: Path, *, precision: str = "float32"):
        """file: an inference.json or .pdmodel, with the .pdiparams beside it; they are not needed any more afterwards.

        Raises UserError for another precision than float32, RuntimeError or ValueError where Paddle cannot run the program.
        """
        if precision != "float32":
            raise UserError(f"--precision {precision}: needs OpenVINO; pip install openvino, or leave out --precision")
        check_process()
        runtime.load_paddle()
        from paddle import inference
        config = inference.Config(str(file), str(file.with_suffix(WEIGHTS)))
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(runtime.cores())
        config.disable_glog_info()
        with console.libraries_on_stderr():        # Paddle tells stdout that it looks for a oneDNN operator
            self._predictor = inference.create_predictor(config)
        self._lock = threading.Lock()              # inputs and outputs have one place each
        self._has_run = False

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """See Engine."""
        check_process()
        with self._lock:
            entry = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
            entry.reshape(pixels.shape)
            entry.copy_from_cpu(np.ascontiguousarray(pixels))
            with contextlib.nullcontext() if self._has_run else console.libraries_on_stderr():     # likewise
                self._predictor.run()
            self._has_run = True
            logits, *features = (self._predictor.get_output_handle(name).copy_to_cpu()
                                 for name in self._predictor.get_output_names())
        return Outputs(logits, features[0] if features else None)


# suffix of an exported network's file: what computes it
ENGINES: Mapping[str, Callable[..., Engine]] = {
    ".xml": OpenVINO, ".onnx": OpenVINO, ".pdmodel": PaddleInference, ".json": PaddleInference}


def has_openvino() -> bool:
    """Return whether OpenVINO is installed, without loading it."""
    import importlib.util
    return importlib.util.find_spec("openvino") is not None
