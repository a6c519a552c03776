"""Engines: what computes an exported network on a CPU. All speak one protocol: pixels in, logits and features out."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import UserError, unknown
from ..system import runtime

CHUNK = 8                                          # images that one processor computes at a time
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}          # of the computation; OpenVINO's names for them
WEIGHTS = ".pdiparams"                             # beside a program of Paddle's


def check_precision(precision: str) -> None:
    """Raise UserError unless `precision` is in PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(unknown("precision", precision, PRECISIONS))


class Outputs(NamedTuple):
    """What a network gives some images."""

    logits: np.ndarray                             # float32 (N, C)
    features: np.ndarray | None                    # float32 (N, F), the last layer before the head; None: it has no such


class Engine(Protocol):
    """An exported network, ready to answer; safe in threads."""

    name: str                                      # what computes, for a user

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """Return the outputs for `pixels` uint8 (N, size, size, 3), RGB, of any N from 1 on."""
        ...


class OpenVINO:
    """An exported network as OpenVINO computes it on all cores.

    One image is computed by all cores together. Of more, each core computes CHUNK at a time: their numbers stay in its cache,
    and the cores need not wait for each other.
    """

    def __init__(self, file: Path, *, precision: str = "float32"):
        """file: an .onnx, .xml (with its .bin) or .pdmodel; it is not needed any more afterwards.

        Raises UserError for an unknown precision and one that the processor has no instructions for, RuntimeError where
        OpenVINO cannot read the file.
        """
        import openvino
        if precision not in PRECISIONS:
            raise UserError(unknown("precision", precision, PRECISIONS))
        self._library, self._core, self._cores = openvino, openvino.Core(), runtime.cores()
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError("--precision bfloat16: this processor has no bfloat16 instructions; leave out --precision")
        self.name = f"OpenVINO ({precision})"
        self._file, self._hint = file, PRECISIONS[precision]
        self._network = self._core.read_model(file)
        self._one: Callable[[np.ndarray], list[np.ndarray]] | None = None
        self._chunks: Any = None                   # an AsyncInferQueue
        self._lock = threading.Lock()              # a second caller would only share the cores

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """See Engine."""
        pixels = np.ascontiguousarray(pixels)
        whole = len(pixels) // (CHUNK * self._cores) * (CHUNK * self._cores)
        with self._lock:
            parts = self._in_chunks(pixels[:whole]) if whole else []
            parts += [self._alone(pixels[place:place + 1]) for place in range(whole, len(pixels))]
        logits, *features = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Outputs(logits, features[0] if features else None)

    def _compiled(self, images: int, **options: str) -> Any:
        network = self._network.clone()            # of fixed shape, which is quicker than one of any
        network.reshape([images, *network.input(0).partial_shape[1:]])
        return self._core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": self._hint, **options})

    def _alone(self, pixels: np.ndarray) -> list[np.ndarray]:
        if self._one is None:
            request = self._compiled(1, PERFORMANCE_HINT="LATENCY").create_infer_request()
            self._one = lambda image: [array.copy() for array in request.infer({0: image}, share_inputs=True).values()]
        return self._one(pixels)

    def _in_chunks(self, pixels: np.ndarray) -> list[list[np.ndarray]]:
        if self._chunks is None:
            cores = str(self._cores)
            self._chunks = self._library.AsyncInferQueue(
                self._compiled(CHUNK, NUM_STREAMS=cores, INFERENCE_NUM_THREADS=cores), self._cores)
        parts: list[list[np.ndarray]] = [[] for _ in range(len(pixels) // CHUNK)]

        def keep(request: Any, number: int) -> None:
            parts[number] = [request.get_output_tensor(place).data.copy() for place in range(len(request.model_outputs))]

        self._chunks.set_callback(keep)
        for number in range(len(parts)):
            self._chunks.start_async({0: pixels[CHUNK * number:CHUNK * (number + 1)]}, number)
        self._chunks.wait_all()
        return parts


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
        self._predictor = inference.create_predictor(config)
        self._lock = threading.Lock()              # inputs and outputs have one place each

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """See Engine."""
        with self._lock:
            entry = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
            entry.reshape(pixels.shape)
            entry.copy_from_cpu(np.ascontiguousarray(pixels))
            self._predictor.run()
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
