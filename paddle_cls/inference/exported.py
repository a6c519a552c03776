"""Exported networks: a folder with the network's files and model.json, which says how to ask it and what its answers mean.

Reading one and answering from it needs neither Paddle nor the code of the network. `model.json` holds the checksum of each file
and its own; `ExportInfo` alone knows its keys. What is inside the network: the normalization, so its input are bytes.
"""

import contextlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from ..checkpoints.info import CheckpointInfo, Sealed
from ..checkpoints.schema import Metrics, Text, checked
from ..errors import UserError
from ..formats.strict_json import MOST_BYTES, shown
from ..system import runtime
from ..system.files import hash_of, read_bytes, write_text
from ..version import __version__
from .engines import ENGINES, TARGETS, Engine, OpenVINO, PaddleInference, check_precision

MODEL_JSON = "model.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


class Tensor(_Part):
    """An input or an output of the network; -1 stands for any number of images."""

    name: Text
    type: Text                                     # NumPy's word for it
    shape: list[int]


class Fit(_Part):
    """How a picture becomes image_size x image_size pixels; see `data.images.transforms.resize`."""

    side: Literal["shorter"] = "shorter"           # the one that is brought to image_size
    filter: Literal["bilinear, antialiased"] = "bilinear, antialiased"
    crop: Literal["centre"] = "centre"


class Verdict(_Part):
    """What a yes-or-no network says: `positive` where the probability is over the threshold."""

    positive: Text
    negative: Text


def _inside(names: dict[str, str]) -> dict[str, str]:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise ValueError(f"{shown(name)} is no file of the folder")
    return names


class ExportInfo(Sealed):
    """The content of model.json. Keys of a later version are kept as they are."""

    FORMAT: ClassVar[int] = 1
    OWN: ClassVar[str] = MODEL_JSON
    REMEDY: ClassVar[str] = "export the run again"
    target: Text                                   # of engines.TARGETS
    precision: Text
    network: Text                                  # the file that an engine takes, seen from the folder
    images: Tensor                                 # the input: RGB, 0 to 255, not normalized
    logits: Tensor
    features: Tensor | None = None                 # the last layer before the head
    fit: Fit = Fit()
    threshold: float | None = None                 # the probability of `positive` over which a yes-or-no network says yes
    verdict: Verdict | None = None
    metrics: Metrics                               # of the checkpoint's evaluation; empty where there was none
    checkpoint: Text                               # SHA-256 of its weights
    sha256: Annotated[dict[Text, Text], AfterValidator(_inside)]     # {file, seen from the folder: its SHA-256}

    @model_validator(mode="after")
    def _whole(self) -> "ExportInfo":
        if (self.threshold is None) != (self.outputs != 1) or (self.verdict is None) != (self.outputs != 1):
            raise ValueError("threshold and verdict: belong to a network of one output, and to no other")
        if self.precision not in TARGETS.get(self.target, ()):
            raise ValueError(f"target and precision: {shown(self.target)} in {shown(self.precision)} is not known")
        if self.images.shape != [-1, self.image_size, self.image_size, 3] or self.images.type != "uint8":
            raise ValueError(f"images: must be uint8 (-1, {self.image_size}, {self.image_size}, 3)")
        return self

    @classmethod
    def new(cls, info: CheckpointInfo, *, target: str, precision: str, network: str,
            tensors: Mapping[str, tuple[str, list[int]]]) -> "ExportInfo":
        """Return the description of the export of a checkpoint, without checksums.

        network: the file that an engine takes, seen from the folder. tensors: (type, shape) of "images", "logits" and, where the
        network has them, "features". Raises UserError for what could not be read again.
        """
        yes_or_no = info.threshold is not None
        words = {"positive": info.classes[1], "negative": info.classes[0]}
        return checked(cls, {
            "format": cls.FORMAT, "version": __version__, **info.about.to_dictionary(), "target": target, "precision": precision,
            "network": network, **{name: {"name": name, "type": kind, "shape": shape} for name, (kind, shape) in tensors.items()},
            "threshold": info.threshold, "verdict": words if yes_or_no else None, "metrics": info.metrics,
            "checkpoint": info.sha256[".pdparams"], "sha256": {}}, "the export", "choose another name")

    def to_dictionary(self) -> dict[str, Any]:
        """Return what model.json holds, as `json.dumps` takes it."""
        return {key: value for key, value in super().to_dictionary().items() if value is not None}


def is_export(place: Path) -> bool:
    """Return whether `place` is the folder of an export, or its model.json."""
    with contextlib.suppress(OSError):             # of a name that is too long, which `locate` tells
        return (place / MODEL_JSON).is_file() or (place.name == MODEL_JSON and place.is_file())
    return False


def seal(folder: Path, info: ExportInfo) -> ExportInfo:
    """Write model.json beside the files in `folder`; return `info` with the checksums of all. Raises OSError."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    whole = info.sealed({file.relative_to(folder).as_posix(): hash_of(file) for file in files})
    write_text(folder / MODEL_JSON, whole.to_json() + "\n")
    return whole


def read(place: Path) -> ExportInfo:
    """Return what the model.json of an export says, after checking it and each file. Raises UserError.

    place: the folder, or the model.json in it.
    """
    folder = folder_of(place)
    info = describe(folder)
    for name, checksum in info.sha256.items():
        if name != MODEL_JSON:
            try:
                found = hash_of(folder / name)
            except FileNotFoundError:
                raise UserError(f"{folder / name}: missing; export the run again") from None
            except OSError as error:
                raise UserError(f"{folder / name}: cannot be read: {error.strerror or error}; export the run again") from None
            if found != checksum:
                raise UserError(f"{folder / name}: truncated or changed since it was exported (checksum differs); export the run "
                                f"again")
    return info


def describe(folder: Path) -> ExportInfo:
    """Return what the model.json in `folder` says, after checking it and its checksum, but not the files. Raises UserError."""
    file = folder / MODEL_JSON
    try:
        info = ExportInfo.from_json(read_bytes(file, MOST_BYTES), file)
    except FileNotFoundError:
        raise UserError(f"{folder}: no export ({MODEL_JSON}) in this folder; paddle-cls export RUN writes one") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}; export the run again") from None
    for name in (MODEL_JSON, info.network):
        if name not in info.sha256:
            raise UserError(f"{file}: sha256: {shown(name)} is missing; export the run again")
    return info


def files_of(folder: Path) -> set[str]:
    """Return the files of the export in `folder`, as seen from there; none where there is no export, or a broken one."""
    try:
        return set(describe(folder).sha256)
    except UserError:
        return set()


def folder_of(place: Path) -> Path:
    """Return the folder of an export that `is_export` has found."""
    return place.parent if place.name == MODEL_JSON and place.is_file() else place


def engine(place: Path, info: ExportInfo, precision: str = "float32") -> Engine:
    """Return what computes an export that `read` has checked, in its own precision.

    place: as `read` takes it. precision: bfloat16: in that, an export of float32. Raises UserError for a precision that the
    export or the processor does not have, and where the engine is missing or fails.
    """
    check_precision(precision)
    folder = folder_of(place)
    chosen = info.precision if precision == "float32" else precision
    if chosen != info.precision and info.precision != "float32":
        raise UserError(f"--precision {precision}: {folder} was exported in {info.precision}; leave that out")
    file = folder / info.network
    if file.suffix not in ENGINES:
        raise UserError(f"{folder / MODEL_JSON}: network: {shown(info.network)} is no kind of file that is known; export the run "
                        f"again")
    if chosen == "bfloat16" and ENGINES[file.suffix] is PaddleInference:
        raise UserError(f"--precision {precision}: {folder} is of Paddle's own kind, which computes in float32; leave that out, "
                        f"or export the run --to openvino")
    library, package = ("openvino", "openvino") if ENGINES[file.suffix] is OpenVINO else ("paddle", "paddlepaddle")
    if importlib.util.find_spec(library) is None:
        raise UserError(f"{folder}: its network needs {package}, which is not installed; pip install {package}")
    if file.suffix == ".json" and runtime.version_of("paddlepaddle-gpu", "paddlepaddle").startswith("2."):      # it would crash
        raise UserError(f"{folder}: its network needs Paddle 3; pip install -U {package}, or export the run again with Paddle 2")
    try:
        made = ENGINES[file.suffix](file, precision="float32" if chosen == "int8" else chosen)
        # compiles it: an older engine may lack an operator
        numbers = made(np.zeros((1, info.image_size, info.image_size, 3), np.uint8)).logits.shape
        if numbers != (1, info.outputs):
            raise ValueError(f"gives logits of shape {numbers} for an image, where {MODEL_JSON} says {info.outputs}")
        return made
    except UserError:
        raise
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{file}: cannot be computed: {str(error).strip().splitlines()[-1]}; pip install -U {package}, or export "
                        f"the run again") from None
