"""The network itself as an engine: on a GPU, for code of the user's, and where no export of it can be had."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..data.images.transforms import Normalization
from ..errors import UserError
from ..system import runtime
from .engines import Outputs

if TYPE_CHECKING:
    from paddle import Tensor, nn

# Held while a network is built, exported or computes by dygraph: Paddle's device, its programs and a network's mode are shared.
PADDLE = threading.RLock()


class Dygraph:
    """A network that Paddle computes layer by layer: an Engine. It gives no features with the logits; `features` does."""

    def __init__(self, network: Callable[[], "nn.Layer"], normalization: Normalization, *, device: str | None = None,
                 precision: str = "float32", source: object = "checkpoint"):
        """network: returns it, built at need. device: a name of `runtime.device_for`; None: wherever Paddle computes.

        source: what an error names. Raises UserError for bfloat16 on a CPU, where Paddle has float32 alone.
        """
        if precision != "float32" and device in (None, "cpu"):
            raise UserError(f"--precision {precision}: Paddle itself computes this network, and on a CPU in float32 only; leave "
                            f"out --precision")
        self.name = f"Paddle ({precision})"
        self._network, self._normalization, self._device, self._source = network, normalization, device, source
        self._precision = None if precision == "float32" else precision

    def __call__(self, pixels: np.ndarray) -> Outputs:
        """See Engine."""
        return Outputs(self._run("__call__", pixels), None)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return the last layer before the head, float32 (N, F). Raises UserError for a network that does not tell it."""
        return self._run("forward_features", pixels)

    def _run(self, method: str, pixels: np.ndarray) -> np.ndarray:
        import paddle
        with PADDLE, runtime.on_device(self._device):
            network = self._network()
            function: Callable[[Tensor], Tensor] | None = getattr(network, method, None)
            if function is None:
                raise UserError(f"{self._source}: its network, {type(network).__name__}, has no method forward_features(images), "
                                f"which returns the last layer before the head; add one")
            context, _ = runtime.mixed_precision(self._precision, "cpu" if self._device in (None, "cpu") else "gpu")
            with runtime.evaluating(network), context():
                return function(paddle.to_tensor(self._normalization(pixels))).astype("float32").numpy()
