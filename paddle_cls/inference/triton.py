"""A model repository for Triton Inference Server: folders and names as it wants them, and config.pbtxt.

The backend is ONNX Runtime's: it takes any batch, on CPUs and GPUs. Triton's OpenVINO backend wants a fixed batch.
"""

import json
from pathlib import Path

from .exported import ExportInfo, Tensor

MOST_IMAGES = 32                                   # in a batch
DELAY = 1000                                       # microseconds that a request waits for others to share its batch
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def network_file(name: str) -> str:
    """Return where the ONNX file lies in the repository. name: of the model, as clients ask for it."""
    return f"{name}/1/model.onnx"


def write(folder: Path, info: ExportInfo) -> None:
    """Write config.pbtxt and, where each class has an output, labels.txt beside `info.network`. Raises OSError."""
    place = (folder / info.network).parent.parent
    (place / "config.pbtxt").write_text(config(place.name, info), encoding="utf-8")
    if info.verdict is None:
        (place / "labels.txt").write_text("".join(f"{name}\n" for name in info.classes), encoding="utf-8")


def config(name: str, info: ExportInfo) -> str:
    """Return the text of config.pbtxt. name: of the model."""
    labels = "" if info.verdict else '\n    label_filename: "labels.txt"'
    outputs = ",\n".join([_tensor(info.logits, labels), *([_tensor(info.features)] if info.features else [])])
    return f"""name: {json.dumps(name)}
platform: "onnxruntime_onnx"
max_batch_size: {MOST_IMAGES}
input [
{_tensor(info.images)}
]
output [
{outputs}
]
instance_group [
  {{
    count: 1
    kind: KIND_AUTO
  }}
]
dynamic_batching {{
  max_queue_delay_microseconds: {DELAY}
}}
"""


def _tensor(tensor: Tensor, more: str = "") -> str:
    """Return a tensor without the number of images, which Triton adds."""
    dims = ", ".join(map(str, tensor.shape[1:]))
    return f"  {{\n    name: {json.dumps(tensor.name)}\n    data_type: {_TYPES[tensor.type]}\n    dims: [ {dims} ]{more}\n  }}"
