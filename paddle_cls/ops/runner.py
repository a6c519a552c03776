"""Runs a plan (see plan.py) by the compiled operators' library: a whole network in one call."""

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from . import build

KEPT = 2                                           # numbers of images whose primitives are kept; each has its own weights


class Runner:
    """A network's inference: float32 (N, 3, H, W) -> logits float32 (N, C), by oneDNN on `threads` processors."""

    def __init__(self, code: np.ndarray, weights: Sequence[np.ndarray], classes: int, threads: int):
        """code, weights, classes: of a `plan.Plan`. Raises build.Unavailable where the library cannot be had."""
        self._code, self._weights, self._classes, self._threads = code, list(weights), classes, threads
        self._library = _library()
        self._networks: OrderedDict[tuple, int] = OrderedDict()
        self._lock = threading.Lock()              # a network has one place for what it computes

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of `images`, as many as there are. Raises RuntimeError where oneDNN cannot."""
        images = np.ascontiguousarray(images, np.float32)
        logits = np.empty((len(images), self._classes), np.float32)
        with self._lock:
            network = self._network(images.shape)
            if self._library.paddle_cls_network_run(network, images.ctypes.data, logits.ctypes.data, self._threads):
                raise RuntimeError(self._problem())
        return logits

    def _network(self, shape: tuple[int, ...]) -> int:
        if shape not in self._networks:
            if len(self._networks) == KEPT:
                self._library.paddle_cls_network_delete(self._networks.popitem(last=False)[1])
            places = (ctypes.c_void_p * len(self._weights))(*(weight.ctypes.data for weight in self._weights))
            network = self._library.paddle_cls_network_new(self._code.ctypes.data, len(self._code), places,
                                                           (ctypes.c_int64 * 4)(*shape), self._classes, self._threads)
            if not network:
                raise RuntimeError(self._problem())
            self._networks[shape] = network
        self._networks.move_to_end(shape)
        return self._networks[shape]

    def _problem(self) -> str:
        return self._library.paddle_cls_network_problem().decode()

    def __del__(self) -> None:
        for network in getattr(self, "_networks", {}).values():
            self._library.paddle_cls_network_delete(network)


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build.load()))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.paddle_cls_network_problem.restype = ctypes.c_char_p
    library.paddle_cls_network_new.restype = pointer
    library.paddle_cls_network_new.argtypes = [pointer, count, pointer, pointer, count, ctypes.c_int]
    library.paddle_cls_network_run.argtypes = [pointer, pointer, pointer, ctypes.c_int]
    library.paddle_cls_network_delete.argtypes = [pointer]
    return library
