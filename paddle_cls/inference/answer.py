"""Answers: what a network says about one picture, and how that is written as text, JSON, JSON lines or CSV."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import printable

if TYPE_CHECKING:
    import numpy as np

VERDICT = ("verdict", "positive", "probability", "threshold")
FORMULA = tuple("=+-@\t\r\n")                     # with what a spreadsheet takes a cell for a formula


class Answer(NamedTuple):
    """What is said about one picture."""

    image: str
    top: list[tuple[str, float]]                   # (class, probability), the likeliest or the verdict first: see `top`
    verdict: dict | None                           # of a yes-or-no network: see Predictor.verdict


def top(probabilities: "np.ndarray", classes: Sequence[str], count: int, verdict: str | None = None) -> list[tuple[str, float]]:
    """Return the `count` most likely (class, probability), the likeliest first. probabilities: float64 (C,).

    verdict: the class that a yes-or-no network answers; it comes first, though at another threshold than 0.5 it need not
    be the likelier one.
    """
    ranked = sorted(zip(classes, probabilities.tolist(), strict=True), key=lambda pair: (pair[0] != verdict, -pair[1]))
    return ranked[:count]


def written(path: str | Path) -> str:
    """Return the name of a file as an answer gives it: bytes that are no UTF-8 could not be written."""
    return os.fsencode(path).decode("utf-8", "replace")


def as_text(answers: Iterable[Answer]) -> str:
    """Return a paragraph a picture; of a yes-or-no network the verdict, its probability of a yes and the threshold.

    What would steer a terminal is escaped in names.
    """
    return "".join(f"{printable(answer.image)}\n" + _lines(answer) for answer in answers)


def _lines(answer: Answer) -> str:
    if answer.verdict is None:
        return "".join(f"  {p:6.1%}  {printable(name)}\n" for name, p in answer.top)
    return printable("  {verdict} (probability of {positive} {probability:.3f}, threshold {threshold:.3f})".format(
        **answer.verdict)) + "\n"


def _plain(answer: Answer) -> dict[str, Any]:
    return {"image": answer.image, "top": [{"class": name, "probability": p} for name, p in answer.top], **(answer.verdict or {})}


def as_json(answers: Iterable[Answer]) -> str:
    """Return a list of {"image", "top": [{"class", "probability"}]} and the parts of the verdict, if there is one."""
    return json.dumps([_plain(answer) for answer in answers], indent=1, ensure_ascii=False) + "\n"


def as_jsonl(answers: Iterable[Answer]) -> str:
    """Return a line for each picture: an object as in the list of `as_json`."""
    return "".join(json.dumps(_plain(answer), ensure_ascii=False) + "\n" for answer in answers)


def csv_header(verdicts: bool) -> str:
    """Return the first line of a CSV. verdicts: whether the answers are those of a yes-or-no network."""
    return csv_line(["image", *VERDICT] if verdicts else ["image", "rank", "class", "probability"])


def csv_rows(answers: Iterable[Answer]) -> str:
    """Return the lines of some answers behind the header; each of a picture's classes, or its verdict, is one line."""
    lines = []
    for image, best, verdict in answers:
        if verdict:
            parts = (verdict[key] for key in VERDICT)
            lines.append(csv_line([cell(image), *(f"{part:.6f}" if isinstance(part, float) else cell(part) for part in parts)]))
        else:
            lines += [csv_line([cell(image), rank, cell(name), f"{p:.6f}"]) for rank, (name, p) in enumerate(best, 1)]
    return "".join(lines)


def as_csv(answers: Sequence[Answer]) -> str:
    """Return lines of image,rank,class,probability; of a yes-or-no network image,verdict,positive,probability,threshold.

    A name that a spreadsheet would take for a formula (FORMULA) gets a ' before it; what would steer a terminal is escaped.
    """
    return csv_header(any(answer.verdict for answer in answers)) + csv_rows(answers)


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV, with quotes where they are needed."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def cell(name: str) -> str:
    """Return a name as a CSV gives it, without line ends and without what a spreadsheet would run."""
    return "'" * name.startswith(FORMULA) + printable(name)


# name: what writes all answers. From outside: FORMATS["mine"] = function, or --format module:function.
FORMATS: dict[str, Callable[[list[Answer]], str]] = {"text": as_text, "json": as_json, "jsonl": as_jsonl, "csv": as_csv}
# Of these, name: what writes some answers behind others, so that they need not be kept in memory. A CSV has a header before them.
STREAMED: Mapping[str, Callable[[Iterable[Answer]], str]] = {"text": as_text, "jsonl": as_jsonl, "csv": csv_rows}
