"""What a checkpoint's .json says: `CheckpointInfo`, which alone reads and writes its keys. `schema` checks their values.

The file's keys are the names of the fields, but for `metrics`, which older versions of this package look for as "figures",
and `stated`, which is "outputs" and is there for a yes-or-no network only. A new key is a field here and nothing else; give it
a default, for older files do not have it. FORMAT changes only where older versions of this package must not read the file.
An exported folder's model.json is made of the same: see `inference.exported`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..errors import NotFinite, UserError
from ..formats.strict_json import parse, shown
from ..version import __version__
from .schema import MOST_CLASSES, Channels, Classes, Count, Metrics, Network, Sums, Text, checked, whole, with_accuracy

AnyInfo = TypeVar("AnyInfo", bound="Sealed")


class Description(BaseModel):
    """What a checkpoint says of its network and of the images that it takes, the same in all checkpoints of a run."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")           # a later version may tell more
    model: Network
    dataset: Text = ""                             # "": not there
    classes: Classes
    stated: Annotated[int, whole(1, MOST_CLASSES)] = Field(0, alias="outputs")   # 0: not there, one for each class
    image_size: Annotated[int, whole(1, 4096)]
    normalization: Channels

    @model_validator(mode="after")
    def _fitting(self) -> "Description":
        count = len(self.classes)
        if self.stated and self.stated != count and (self.stated != 1 or count != 2):
            raise ValueError(f"outputs: {self.stated} must be {count}, one for each class, or 1 for two classes")
        return self

    @classmethod
    def of(cls, model: str, arguments: Mapping[str, Any], *, classes: Sequence[str], image_size: int,
           normalization: Mapping[str, Sequence[float]], dataset: str = "", outputs: int | None = None) -> "Description":
        """Return the description of a network that is about to be trained.

        model, arguments: a name of `models.MODELS` and what its constructor was given. image_size: pixels a side.
        normalization: {"mean", "std"}, a number per channel. outputs: of the network; None: one for each class.
        Raises UserError for what could not be read again.
        """
        stated = {"outputs": outputs} if outputs not in (None, len(classes)) else {}
        return cls.from_dictionary({
            "model": {"name": model, "arguments": arguments}, **({"dataset": dataset} if dataset else {}),
            "classes": list(classes), **stated, "image_size": image_size, "normalization": normalization})

    @staticmethod
    def from_dictionary(content: Mapping[str, Any]) -> "Description":
        """Return the description that a dictionary of a checkpoint's keys gives. Raises UserError as `of` does."""
        return checked(Description, json.loads(json.dumps(content)), "the settings and data",
                       "choose others, for no checkpoint could be read again")

    @property
    def outputs(self) -> int:
        """How many logits the network has: one for each class, or 1 of a yes-or-no network."""
        return self.stated or len(self.classes)

    def to_dictionary(self) -> dict[str, Any]:
        """Return what the .json holds, as `json.dumps` takes it."""
        absent = {name for name in ("dataset", "stated", "version") if not getattr(self, name, True)}
        return self.model_dump(by_alias=True, exclude=absent, warnings=False)    # whole numbers stay whole


class Sealed(Description):
    """A description in a file of its own, which tells its format, who wrote it, and the checksums of the files and itself.

    The checksum of the description itself stands in `sha256` under OWN. What is derived from this says what else there is.
    """

    FORMAT: ClassVar[int]                          # of the file
    OWN: ClassVar[str]
    REMEDY: ClassVar[str]                          # what a user does about a broken one
    format: Count
    version: Text = ""                             # of the paddle_cls that wrote it; "": before 2026-11-25

    @classmethod
    def from_json(cls: type[AnyInfo], content: bytes, where: object) -> AnyInfo:
        """Return what a .json says, after checking it and its checksum. Raises UserError that names `where`."""
        try:
            info = parse(content)
        except ValueError as error:
            raise UserError(f"{where}: truncated or not JSON ({error}); {cls.REMEDY}") from None
        if not isinstance(info, dict):
            raise UserError(f"{where}: {shown(info)} is not a dictionary; {cls.REMEDY}")
        if "format" not in info:
            raise UserError(f"{where}: format is missing; {cls.REMEDY}")
        found = info["format"]
        if found != cls.FORMAT or found is True:
            remedy = "install a newer paddle_cls" if type(found) is int and found > cls.FORMAT else cls.REMEDY
            raise UserError(f"{where}: written in format {shown(found)}, this version reads {cls.FORMAT}; {remedy}")
        own = info["sha256"].get(cls.OWN) if isinstance(info.get("sha256"), dict) else None
        if own is not None and own != hash_of(info):
            raise UserError(f"{where}: changed since it was saved (checksum differs); {cls.REMEDY}")
        return checked(cls, info, str(where), cls.REMEDY)

    def to_json(self) -> str:
        """Return the text of the .json."""
        return json.dumps(self.to_dictionary(), indent=1)

    def to_dictionary(self) -> dict[str, Any]:
        """Return what the .json holds, as `json.dumps` takes it."""
        first = {name: value for name in ("format", "version") if (value := getattr(self, name))}
        return first | super().to_dictionary()

    def sealed(self: AnyInfo, hashes: Mapping[str, str]) -> AnyInfo:
        """Return the same with the checksums of the other files, {suffix or name: SHA-256}, and its own."""
        return self.model_copy(update={"sha256": {**hashes, self.OWN: hash_of(self.to_dictionary())}})


class CheckpointInfo(Sealed):
    """The content of a checkpoint's .json. Keys of a later version are kept as they are."""

    FORMAT: ClassVar[int] = 1
    OWN: ClassVar[str] = ".json"
    REMEDY: ClassVar[str] = "use another checkpoint"
    epoch: Count                                   # whole passes done
    step: Count                                    # optimizer steps done
    totals: Sums
    metrics: Metrics = Field(alias="figures")      # of the last evaluation; empty before the first
    best: Annotated[Metrics | None, AfterValidator(with_accuracy)]               # of the best one, by val/acc1
    sha256: dict[Text, Text]                       # {suffix: of that file}; ".json": of the other keys here

    @classmethod
    def new(cls, about: Description, *, epoch: int = 0, step: int = 0, totals: Mapping[str, Any] | None = None,
            metrics: Mapping[str, float] | None = None, best: Mapping[str, float] | None = None) -> "CheckpointInfo":
        """Return the description of a checkpoint that is about to be written, without checksums.

        totals: the fields of `schema.Sums`. metrics: of the last evaluation. best: of the best one.
        Raises NotFinite for metrics that are not, UserError for what could not be read again.
        """
        content = {"format": cls.FORMAT, "version": __version__, **about.to_dictionary(), "epoch": epoch, "step": step,
                   "totals": totals or {}, "figures": metrics or {}, "best": best, "sha256": {}}
        try:
            text = json.dumps(content, allow_nan=False)
        except ValueError:
            raise NotFinite("the figures are not finite") from None
        return checked(cls, json.loads(text), "the checkpoint", "no such checkpoint could be read again")

    @property
    def about(self) -> Description:
        """What is the same in all checkpoints of the run."""
        return Description.from_dictionary({key: value for key, value in self.to_dictionary().items() if key in _ABOUT})

    @property
    def threshold(self) -> float | None:
        """The probability of classes[1] over which a yes-or-no network says yes; None for other networks."""
        return self.metrics.get("val/threshold", 0.5) if self.outputs == 1 else None


_ABOUT = {field.alias or name for name, field in Description.model_fields.items()}  # its keys in the .json


def hash_of(info: Mapping[str, Any]) -> str:
    """Return the checksum of what a checkpoint's .json holds, of all its keys but sha256."""
    rest = {key: value for key, value in info.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()
