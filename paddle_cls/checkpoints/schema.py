"""What the values in a checkpoint's .json (`info`), a row of metrics.jsonl and a report's figures.json may be.

Each mistake is told in one line: file, key, the value seen, what is allowed, the remedy.
"""

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from ..errors import UserError
from ..formats.strict_json import parse, shown

MOST_CLASSES, _MOST_TEXT = 100_000, 1_000
_COUNT = 2**53                                     # up to which a float counts without gaps
_CURVES = [f"{split}/{name}" for split in ("train", "val") for name in ("loss", "error_rate")]


def _number(low: float = -math.inf, high: float = math.inf, *, over: float = -math.inf) -> PlainValidator:
    """Accept a finite number in [low, high] that is larger than `over`; whole ones stay whole."""
    def check(value: Any) -> float:
        if type(value) not in (int, float):
            raise ValueError(f"{shown(value)} is not a number")
        if not (abs(value) <= 1.7e308 and low <= value <= high and value > over):
            allowed = f"from {low:g} to {high:g}" if high < math.inf else f"over {over:g}" if over > -math.inf else \
                f"at least {low:g}" if low > -math.inf else ""
            raise ValueError(f"{shown(value)} must be a finite number {allowed}".rstrip())
        return value
    return PlainValidator(check)


def whole(low: int, high: int) -> PlainValidator:
    """Accept a whole number in [low, high]."""
    def check(value: Any) -> int:
        if type(value) is not int:                 # true is an int to Python
            raise ValueError(f"{shown(value)} is not a whole number")
        if not low <= value <= high:
            raise ValueError(f"{shown(value)} must be from {low} to {high}")
        return value
    return PlainValidator(check)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text")
    if not value.strip() or len(value) > _MOST_TEXT:
        raise ValueError(f"{shown(value)} must be a text of 1 to {_MOST_TEXT} characters")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        raise ValueError(f"{shown(value)} has characters that are no text (line ends, controls, half characters)")
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return _text(value)
    return _LIMITED(value)


def _distinct(names: list[str]) -> list[str]:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} are listed; allowed: from 2 to {MOST_CLASSES:,}")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{shown(name)} is there twice")
        seen.add(name)
    return names


def _three(values: list) -> list:
    if len(values) != 3:
        raise ValueError(f"{shown(values)} has {len(values)} numbers; one for each of red, green and blue is needed")
    return values


def _metrics(values: dict) -> dict:
    threshold = values.get("val/threshold", 0.5)
    if not 0 <= threshold <= 1:
        raise ValueError(f"val/threshold: {shown(threshold)} must be from 0 to 1")
    return values


def with_accuracy(values: dict | None) -> dict | None:
    """Accept metrics that hold val/acc1, or None. Raises ValueError."""
    if values is not None and "val/acc1" not in values:
        raise ValueError("val/acc1 is missing")
    return values


def _row(values: dict) -> dict:
    for name in ("step", *(["epoch"] if "epoch" in values else [])):
        if type(values.get(name)) is not int or not 0 <= values[name] <= _COUNT:
            what = f": {shown(values[name])} is not a whole number from 0 on" if name in values else " is missing"
            raise ValueError(f"{name}{what}")
    if "epoch" in values and (missing := [name for name in _CURVES if name not in values]):
        raise ValueError(f"a row with epoch needs {missing[0]} too")
    return values


# An argument of a network; `models` knows narrower bounds. pydantic's own type of func has an argument too many.
_LIMITED: Callable[[Any], Any] = _number(-100_000, 100_000).func       # type: ignore[assignment]
Text = Annotated[str, PlainValidator(_text)]
Finite = Annotated[float, _number()]
Sum = Annotated[float, _number(low=0)]
Count = Annotated[int, whole(0, _COUNT)]
Classes = Annotated[list[Text], AfterValidator(_distinct)]
Metrics = Annotated[dict[Text, Finite], AfterValidator(_metrics)]
Scalar = Annotated[str | int | float | bool | None, PlainValidator(_scalar)]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Network(_Checked):
    """The network: a name of `models.MODELS` and the arguments that its constructor was given."""

    name: Text
    arguments: dict[Text, Scalar]


class Channels(_Checked):
    """What pixels in [0, 1] are normalized by, a number per RGB channel."""

    mean: Annotated[list[Finite], AfterValidator(_three)]
    std: Annotated[list[Annotated[float, _number(over=0)]], AfterValidator(_three)]


class Sums(_Checked):
    """Sums over the images of the epoch under way, as training adds them up."""

    loss: Finite = 0.0
    correct: Sum = 0.0
    count: Sum = 0.0
    wait: Sum = 0.0
    flags: Annotated[list[Finite], Field(exclude=True)] = []   # of older versions: read, never written


class Report(BaseModel):
    """What is needed of a report's figures.json: the names of the files that belong to the report."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")
    files: list[Text]


_ROW = TypeAdapter(Annotated[dict[Text, Finite], AfterValidator(_row)])
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "missing": lambda value: "is missing", "extra_forbidden": lambda value: "has no place here",
    "list_type": lambda value: f"{shown(value)} is not a list", "dict_type": lambda value: f"{shown(value)} is not a "
    "dictionary", "model_type": lambda value: f"{shown(value)} is not a dictionary"}


def checked(kind: type[BaseModel] | TypeAdapter, value: Any, where: str, remedy: str) -> Any:
    """Return `value` as `kind`. Raises UserError: WHERE: KEY: what is wrong; REMEDY."""
    try:
        return kind.validate_python(value) if isinstance(kind, TypeAdapter) else kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    key = "".join(_path(first["loc"]))
    own = (first.get("ctx") or {}).get("error")
    text = str(own) if own else _WORDS.get(first["type"], lambda value: f"{shown(value)}: {first['msg']}")(first["input"])
    raise UserError(f"{where}: {key}{' ' if first['type'] == 'missing' else ': ' if key else ''}{text}; {remedy}")


def _path(places: tuple) -> Iterator[str]:
    for number, place in enumerate(places):
        text = str(place) if isinstance(place, int) or str(place).isprintable() else shown(place)
        yield f"[{text}]" if isinstance(place, int) else f".{text}" if number else text


def read_row(line: bytes, where: object) -> dict:
    """Return a row of a metrics.jsonl. Raises UserError that names `where`."""
    try:
        row = parse(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); delete that line") from None
    return checked(_ROW, row, str(where), "delete that line")


def report_files(content: bytes) -> set[str]:
    """Return the names of the files of a report, by its figures.json; none where that is none."""
    try:
        return set(checked(Report, parse(content), "figures.json", "").files)
    except ValueError:                             # UserError is one
        return set()
