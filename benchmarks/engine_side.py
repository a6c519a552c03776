"""One side of benchmarks/engines.py: a process that computes a network by one engine for as long as it is asked to.

PYTHON engine_side.py KIND ROOT. Reads lines of JSON: the first, {"model", "arguments", "image_size", "folder", "precision"},
names the network and is answered with {"version"} once it is there; each other, {"images": N, "calls": K}, with {"logits" of N
images of noise, "seconds" a call}. Loads what its kind needs, nothing else: the peers need not have Paddle.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = sys.argv[2]                      # the package of that folder is measured

import numpy as np

Compute = Callable[[np.ndarray], np.ndarray]       # uint8 (N, H, W, 3) -> logits float32 (N, C)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def file_of(asked: dict) -> Path:
    """Return where the network lies as ONNX; "ours" writes it."""
    return Path(asked["folder"]) / f"{asked['model']}_{asked['image_size']}.onnx"


def built(asked: dict):
    """Return the network, a Paddle layer; of the same seed in every process."""
    from paddle_cls.system import runtime
    runtime.prepare()
    runtime.load_paddle()
    import paddle

    from paddle_cls.models import build_model, model_arguments
    from paddle_cls.paddle_internals import forget_statistics, norms
    size = asked["image_size"]
    paddle.seed(0)
    sized = {"image_size": size} if "image_size" in model_arguments(asked["model"]) else {}
    net = build_model(asked["model"], 10, **asked["arguments"], **sized)
    found = [norm for _, norm in norms(net)]
    for norm in found:                             # statistics that fit the weights, as after training
        forget_statistics(norm)
    if found:
        with paddle.no_grad():
            net(paddle.to_tensor(np.random.default_rng(0).standard_normal((16, 3, size, size), np.float32)))
    net.eval()
    return net


def ours(asked: dict) -> Compute:
    """This package's engine; writes the ONNX file where there is none."""
    from paddle_cls.inference.engines import OpenVINO
    if not file_of(asked).exists():
        import tempfile

        from paddle_cls.data.images.transforms import Normalization
        net = built(asked)
        np.savez(file_of(asked).with_suffix(".npz"),
                 **{f"weights/{name}": value.numpy() for name, value in net.state_dict().items()})
        from paddle_cls.inference import convert
        with tempfile.TemporaryDirectory() as folder:
            program = convert.to_paddle(convert.Whole(net, Normalization(MEAN, STD)), asked["image_size"], Path(folder))
            convert.to_onnx(program, Path(folder, "whole.onnx"))
            Path(folder, "whole.onnx").rename(file_of(asked))
    engine = OpenVINO(file_of(asked), precision=asked["precision"])
    return lambda pixels: engine(pixels).logits


def before(asked: dict) -> Compute:
    """The way before this engine: the package's own runner, or Paddle Inference, with its normalization in NumPy and OpenCV."""
    import tempfile
    net = built(asked)
    from paddle_cls.data.images.transforms import Normalization
    from paddle_cls.data.images.views import eval_views
    from paddle_cls.inference import export
    with tempfile.TemporaryDirectory() as folder:
        compute = export.export(net, asked["image_size"], Path(folder))
    return lambda pixels: compute(eval_views(pixels, asked["image_size"], Normalization(MEAN, STD), "none")[0])


def onnxruntime(asked: dict) -> Compute:
    """ONNX Runtime as it comes, with the file that ours wrote."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file_of(asked)), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["logits"], {session.get_inputs()[0].name: pixels})[0]


def torch(asked: dict) -> Compute:
    """PyTorch eager, channels_last, weights and activations in the precision; the weights are in the file that ours wrote."""
    import torch

    from benchmarks import torch_peer
    dtype = getattr(torch, asked["precision"])
    net = torch_peer.build(asked["model"], file_of(asked).with_suffix(".npz")).eval().to(dtype, memory_format=torch.channels_last)
    mean, std = (255 * torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))

    def compute(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std           # channels_last by itself
            return net(images.to(dtype)).float().numpy()
    return compute


def version(kind: str) -> str:
    """Return the name and version of what computes."""
    if kind == "onnxruntime":
        import onnxruntime
        return f"ONNX Runtime {onnxruntime.__version__}"
    if kind == "before":
        import paddle
        return f"Paddle {paddle.__version__}"
    if kind == "torch":
        import torch
        return f"PyTorch {torch.__version__}"
    from paddle_cls.inference.engines import load_openvino
    return f"OpenVINO {load_openvino().__version__.split('-')[0]}"


def main() -> None:
    """Answer line by line; what goes wrong ends the process."""
    kind, out = sys.argv[1], os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                                  # what libraries print goes to stderr
    asked = json.loads(input())
    compute = {"ours": ours, "before": before, "onnxruntime": onnxruntime, "torch": torch}[kind](asked)
    print(json.dumps({"version": version(kind)}), file=out, flush=True)
    for line in sys.stdin:
        wanted, size = json.loads(line), asked["image_size"]
        pixels = np.random.default_rng(0).integers(0, 256, (wanted["images"], size, size, 3), np.uint8)
        logits = compute(pixels)
        compute(pixels)
        start = time.perf_counter()
        for _ in range(wanted["calls"]):
            compute(pixels)
        seconds = (time.perf_counter() - start) / wanted["calls"]
        print(json.dumps({"seconds": seconds, "logits": logits.tolist()}), file=out, flush=True)


if __name__ == "__main__":
    main()
