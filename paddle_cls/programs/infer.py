"""Classify pictures with a trained network: python infer.py --image dog.png

Takes files, folders and globs; prints the most likely classes with their probabilities as text, JSON or CSV. Exit status
1 if some pictures could not be read (they are named, the rest is done), 2 if nothing could be done.
"""

import csv
import glob
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import named
from ..errors import UserError, printable, unknown
from ..system import console
from ..system.files import write_text, writing
from .settings.command_line import parse
from .settings.fields import InferConfig
from .shared import console_lines

if TYPE_CHECKING:
    import numpy as np

PROGRAM = "infer.py"
VERDICT = ("verdict", "positive", "probability", "threshold")
FORMULA = tuple("=+-@\t\r\n")                     # with what a spreadsheet takes a cell for a formula
RUN_FILES = {"config.yaml", "figures.json", "metrics.jsonl", "pretrained.txt", "split.csv"}


class Answer(NamedTuple):
    """What is said about one picture."""

    image: str
    top: list[tuple[str, float]]                   # (class, probability), the likeliest or the verdict first: see `top`
    verdict: dict | None                           # of a yes-or-no network: see Predictor.verdict


def main(argv: list[str]) -> int:
    """Classify and print; return the exit status."""
    config, _ = parse(InferConfig, argv, program=PROGRAM, description=__doc__)
    check_format(config.format)
    unread: list[str] = []
    paths = find_images(config.image, unread)
    if config.output:
        check_output(config.output, paths)
    write = FORMATS[config.format] if config.format in FORMATS else named.load(config.format, "--format")
    from tqdm import tqdm

    from ..inference.predictor import Predictor
    predictor = Predictor.from_checkpoint(config.checkpoint, device=config.device, tta=config.tta, model=config.model,
                                          precision=config.precision)
    answers, failures = [], unread
    results = predictor.files(paths, batch_size=config.batch_size)
    for path, result in tqdm(results, total=len(paths), unit="img", disable=None if len(paths) > 1 else True, leave=False):
        if isinstance(result, UserError):
            failures.append(str(result))
        else:
            name = os.fsencode(path).decode("utf-8", "replace")      # a name that is no UTF-8 could not be written
            verdict = predictor.verdict(result)
            said = verdict["verdict"] if verdict else None
            answers.append(Answer(name, top(result, predictor.classes, config.topk, said), verdict))
    if not answers:
        more = f" (and {len(failures) - 1} more files)" if len(failures) > 1 else ""
        raise UserError(failures[0] + more)
    text = write(answers)
    if not isinstance(text, str):
        raise UserError(f"--format {config.format}: gives a {type(text).__name__}, not a text")
    if config.output:
        with writing(config.output):
            write_text(config.output, text)
    console.tell(console_lines.answering(predictor.source, predictor.metrics))
    if not config.output:
        sys.stdout.write(text)
    for failure in failures:
        print(f"{PROGRAM}: not read: {printable(failure)}", file=sys.stderr)
    return 1 if failures else 0


def check_format(name: str) -> None:
    """Raise UserError unless `name` is in FORMATS, or is module:function and the module is there."""
    if name not in FORMATS:
        if not named.is_named(name):
            raise UserError(f"--format: {unknown('value', name, FORMATS)}")
        named.check(name, "--format")


def find_images(places: tuple[str, ...], unread: list[str] | None = None) -> list[Path]:
    """Return the picture files that files, folders (with all below) and globs stand for, each once, in order.

    Folders are searched without hidden files and folders, and without following links to folders. unread: the folders below
    that cannot be looked into are added to it. Raises UserError for a place that is missing or holds no picture.
    """
    if not places:
        raise UserError("--image: which pictures? For example --image dog.png, a folder, or 'photos/*.jpg'")
    found: dict[Path, None] = {}
    for place in places:
        path = Path(place)
        if not place:
            raise UserError("--image '': is empty; name a picture, a folder or a pattern")
        if path.is_dir():
            files = _search(path, unread)
        elif path.exists() and place[-1] not in (os.sep, os.altsep):
            files = [path]
        else:
            files = [Path(name) for name in sorted(glob.glob(place, recursive=True)) if not os.path.isdir(name)]
            if not files:
                what = ("is a file, not a folder" if path.exists() else
                        "no file matches" if glob.has_magic(place) else "no such file or folder")
                raise UserError(f"--image {place}: {what}")
        found.update(dict.fromkeys(files))
    return list(found)


def _search(place: Path, unread: list[str] | None) -> list[Path]:
    from ..data.images.files import entries, is_folder
    from ..data.images.transforms import EXTENSIONS
    files, folders, problems = [], [str(place)], []
    while folders:
        folder = folders.pop()
        try:
            inside = entries(folder)
        except OSError as error:
            problems.append(f"{folder}: cannot be looked into: {error.strerror}")
            continue
        for entry in inside:
            if is_folder(entry):
                folders += [] if entry.is_symlink() else [entry.path]
            elif entry.name.lower().endswith(EXTENSIONS):
                files.append(Path(entry.path))
    if not files:
        nothing = f"no pictures in this folder ({', '.join(EXTENSIONS)})"
        raise UserError(f"--image {place}: {problems[0] if problems else nothing}")
    if unread is not None:
        unread += sorted(problems)
    return sorted(files)


def check_output(output: Path, pictures: Sequence[Path]) -> None:
    """Raise UserError if the answer cannot be written there, or would replace a picture, part of a run, or no plain file."""
    from ..data.images.transforms import EXTENSIONS
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; name a file in it")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}; make it first")
    there = os.path.lexists(output)
    if there and (output.is_symlink() or not output.is_file()):
        raise UserError(f"--output {output}: is no plain file; name another, or leave out --output to write to standard output")
    if there and (output.suffix.lower() in EXTENSIONS or any(_same(output, picture) for picture in pictures)):
        raise UserError(f"--output {output}: is a picture; name another file")
    weights = output.suffix == ".json" and output.with_suffix(".pdparams").exists()
    if weights or output.suffix in (".pdparams", ".pdopt") or (there and output.name in RUN_FILES):
        raise UserError(f"--output {output}: belongs to a checkpoint or a run; name another file")


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def top(probabilities: "np.ndarray", classes: list[str], count: int, verdict: str | None = None) -> list[tuple[str, float]]:
    """Return the `count` most likely (class, probability), the likeliest first. probabilities: float64 (C,).

    verdict: the class that a yes-or-no network answers; it comes first, though at another threshold than 0.5 it need not
    be the likelier one.
    """
    ranked = sorted(zip(classes, probabilities.tolist(), strict=True), key=lambda pair: (pair[0] != verdict, -pair[1]))
    return ranked[:count]


def as_text(answers: list[Answer]) -> str:
    """Return a paragraph a picture; of a yes-or-no network the verdict, its probability of a yes and the threshold.

    What would steer a terminal is escaped in names.
    """
    return "".join(f"{printable(answer.image)}\n" + _lines(answer) for answer in answers)


def _lines(answer: Answer) -> str:
    if answer.verdict is None:
        return "".join(f"  {p:6.1%}  {printable(name)}\n" for name, p in answer.top)
    return printable("  {verdict} (probability of {positive} {probability:.3f}, threshold {threshold:.3f})".format(
        **answer.verdict)) + "\n"


def as_json(answers: list[Answer]) -> str:
    """Return a list of {"image", "top": [{"class", "probability"}]} and the parts of the verdict, if there is one."""
    return json.dumps([{"image": image, "top": [{"class": name, "probability": p} for name, p in best], **(verdict or {})}
                       for image, best, verdict in answers], indent=1, ensure_ascii=False) + "\n"


def as_csv(answers: list[Answer]) -> str:
    """Return lines of image,rank,class,probability; of a yes-or-no network image,verdict,positive,probability,threshold.

    A name that a spreadsheet would take for a formula (FORMULA) gets a ' before it; what would steer a terminal is escaped.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    verdicts = any(answer.verdict for answer in answers)
    writer.writerow(["image", *VERDICT] if verdicts else ["image", "rank", "class", "probability"])
    for image, best, verdict in answers:
        if verdict:
            cells = (verdict[key] for key in VERDICT)
            writer.writerow([_cell(image), *(f"{cell:.6f}" if isinstance(cell, float) else _cell(cell) for cell in cells)])
        else:
            writer.writerows([_cell(image), rank, _cell(name), f"{p:.6f}"] for rank, (name, p) in enumerate(best, 1))
    return out.getvalue()


def _cell(name: str) -> str:
    return "'" * name.startswith(FORMULA) + printable(name)


# name: what writes the answers. From outside: FORMATS["mine"] = function, or --format module:function.
FORMATS: dict[str, Callable[[list[Answer]], str]] = {"text": as_text, "json": as_json, "csv": as_csv}
