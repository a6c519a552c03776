"""Engines: what computes an exported network on a CPU. All speak one protocol: pixels in, logits and features out."""

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import UserError, unknown
from ..system import console, runtime

MOST, PIXELS = 32, 8 * 224 * 224                   # of a chunk: images, and pixels in all
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}          # of the computation; OpenVINO's names for them
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


def chunk_of(image_size: int) -> int:
    """Return how many images of that size are computed at a time, a power of two: 32 small ones, 8 of 224 pixels, 1 of 600."""
    chunk = MOST
    while chunk > 1 and chunk * image_size**2 > PIXELS:
        chunk //= 2
    return chunk


class Engine(Protocol):
    """An exported network, ready to answer; safe in threads."""

    name: str                                      # what computes, for a user

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Return the outputs for `pixels` uint8 (N, size, size, 3), RGB, of any N from 1 on."""
        ...


class OpenVINO:
    """An exported network as OpenVINO computes it on all cores.

    It is compiled for fixed shapes, one image and a chunk of some, each when it is first needed: that is quicker than for any
    number. A chunk is small enough that what the layers write stays near the processor. Threads may run on any core: pinned
    ones (OpenVINO's default) wait where something else computes on theirs, and took twice the time even on an idle machine.
    """

    def __init__(self, file: Path, *, precision: str = "float32"):
        """file: an .onnx, .xml (with its .bin) or .pdmodel; it is not needed any more afterwards.

        Raises UserError for an unknown precision and one that the processor has no instructions for, RuntimeError where
        OpenVINO cannot read the file.
        """
        check_precision(precision)
        self._core = load_openvino().Core()
        self._core.set_property({"ENABLE_MMAP": False})          # a file that is cut short meanwhile would end the process
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError("--precision bfloat16: this processor has no bfloat16 instructions; leave out --precision")
        self.name = f"OpenVINO ({precision})"
        self._hint = PRECISIONS[precision]
        self._network = self._core.read_model(file)
        self._requests: dict[int, Any] = {}        # images: the network compiled for so many
        self._lock = threading.Lock()              # a second caller would only share the cores

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """See Engine."""
        pixels, chunk = np.ascontiguousarray(pixels), chunk_of(pixels.shape[1])
        whole, parts = len(pixels) // chunk * chunk, []
        with self._lock:
            for start in range(0, whole, chunk):
                parts.append(self._run(pixels[start:start + chunk]))
            rest = pixels[whole:]
            if len(rest) > chunk // 2:             # quicker than one by one
                filled = np.concatenate([rest, np.zeros((chunk - len(rest), *rest.shape[1:]), np.uint8)])
                parts.append([array[:len(rest)] for array in self._run(filled)])
            else:
                parts += [self._run(rest[place:place + 1]) for place in range(len(rest))]
        logits, *features = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Outputs(logits, features[0] if features else None)

    def _run(self, pixels: np.ndarray) -> list[np.ndarray]:
        if len(pixels) not in self._requests:
            network = self._network.clone()
            network.reshape([len(pixels), *network.input(0).partial_shape[1:]])
            self._requests[len(pixels)] = self._core.compile_model(network, "CPU", {
                "INFERENCE_PRECISION_HINT": self._hint, "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(runtime.cores()),
                "ENABLE_CPU_PINNING": "NO"}).create_infer_request()
        return [array.copy() for array in self._requests[len(pixels)].infer({0: pixels}, share_inputs=True).values()]


class PaddleInference:
    """An exported network as Paddle Inference computes it, by oneDNN on all cores: where OpenVINO has no wheel."""

    name = "Paddle Inference"

    def __init__(self, file: Path, *, precision: str = "float32"):
        """file: an inference.json or .pdmodel, with the .pdiparams beside it; they are not needed any more afterwards.

        Raises UserError for another precision than float32, RuntimeError or ValueError where Paddle cannot run the program.
        """
        if precision != "float32":
            raise UserError(f"--precision {precision}: needs OpenVINO; pip install openvino, or leave out --precision")
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
