"""From a network to the files that other programs compute: ONNX, OpenVINO's, Paddle Inference's."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import nn

from .. import ops
from ..data.images.transforms import Normalization
from ..errors import UserError
from .engines import WEIGHTS, load_openvino

if TYPE_CHECKING:
    import onnx

OPSET = 17                                         # of ONNX: the oldest that has all that the networks need, for old runtimes
INPUT, OUTPUTS = "images", ("logits", "features")  # names in the ONNX file
_PROGRAMS = (".json", ".pdmodel")                  # of Paddle 3 and 2


class Whole(nn.Layer):
    """A network with its normalization: pixels uint8 (N, H, W, 3) -> logits float32 (N, C), features float32 (N, F)."""

    def __init__(self, network: nn.Layer, normalization: Normalization):
        """network: is not changed. Without `forward_features` the logits are the only output."""
        super().__init__()
        self.network = copy.deepcopy(network)
        ops.restore(self.network)
        self.eval()
        mean, std = (255 * np.array(values, "float32").reshape(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
        self.register_buffer("mean", paddle.to_tensor(mean, place=paddle.CPUPlace()))
        self.register_buffer("factor", paddle.to_tensor(1 / std, place=paddle.CPUPlace()))

    def forward(self, pixels: paddle.Tensor) -> paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor]:
        """Return (logits, features), or logits alone."""
        images = paddle.transpose(pixels, [0, 3, 1, 2]).astype("float32")
        images = (images - self.mean) * self.factor            # (N, 3, H, W)
        if not hasattr(self.network, "forward_features"):
            return self.network(images)
        features = self.network.forward_features(images)
        self.network.forward_features = lambda _: features     # the logits are made of the same, not of another run
        return self.network(images), features


def to_paddle(whole: Whole, image_size: int, folder: Path) -> Path:
    """Write inference.json (Paddle 2: .pdmodel) and inference.pdiparams into `folder`; return the first. Raises OSError."""
    spec = paddle.static.InputSpec([None, image_size, image_size, 3], "uint8", INPUT)
    paddle.jit.save(paddle.jit.to_static(whole, input_spec=[spec], full_graph=True), str(folder / "inference"))
    needed = sum(int(np.prod(value.shape)) * 4 for value in whole.parameters())
    weights = folder / f"inference{WEIGHTS}"
    if not weights.exists() or weights.stat().st_size < needed:          # the disk is full: Paddle 3 says nothing then
        raise OSError(f"{folder}: what Paddle wrote there is not whole")
    return next(folder / f"inference{suffix}" for suffix in _PROGRAMS if (folder / f"inference{suffix}").exists())


def to_onnx(program: Path, file: Path) -> None:
    """Write what `to_paddle` wrote as `file`, in ONNX. Raises UserError where it cannot be converted."""
    if program.suffix != ".json":
        raise UserError(f"an export to ONNX needs Paddle 3; this is Paddle {paddle.__version__}: pip install -U paddlepaddle")
    try:
        import paddle2onnx
    except ImportError:
        raise UserError("an export to ONNX needs paddle2onnx: pip install paddle2onnx") from None
    import onnx
    # not its default, "polygraphy", which installs packages while it runs
    paddle2onnx.export(str(program), str(program.with_suffix(WEIGHTS)), str(file), OPSET, optimize_tool="None")
    if not file.exists():                          # it prints errors instead of raising them
        raise UserError("paddle2onnx cannot convert this network; its message stands above")
    model = onnx.load(file)
    _rename(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def _rename(model: "onnx.ModelProto") -> None:
    """Give the outputs names of their own, instead of paddle2onnx's."""
    names = {output.name: OUTPUTS[place] for place, output in enumerate(model.graph.output)}
    for output in model.graph.output:
        output.name = names[output.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def to_openvino(source: Path, file: Path) -> None:
    """Write an .onnx, or a .pdmodel of Paddle 2, as OpenVINO's .xml `file` and its .bin. Raises OSError, RuntimeError."""
    openvino = load_openvino()
    network = openvino.Core().read_model(source)
    for place, output in enumerate(network.outputs):
        output.tensor.set_names({OUTPUTS[place]})
    openvino.save_model(network, file, compress_to_fp16=False)
