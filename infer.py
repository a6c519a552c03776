"""Classify pictures with a trained network: python infer.py --image dog.png

Takes files, folders and globs; prints the most likely classes with their probabilities as text, JSON or CSV. Exit status
1 if some pictures could not be read (they are named, the rest is done), 2 if nothing could be done.
"""

if __name__ == "__main__":
    from paddle_cls import stopping
    stopping.begin()                               # before what takes time to load

import csv
import glob
import io
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from paddle_cls import runtime
from paddle_cls.config import InferConfig
from paddle_cls.errors import UserError, reported
from paddle_cls.files import write_text, writing
from paddle_cls.settings import parse

PROGRAM = "infer.py"
VERDICT = ("verdict", "positive", "probability", "threshold")


class Answer(NamedTuple):
    """What is said about one picture."""

    image: str
    top: list[tuple[str, float]]                   # (class, probability), the likeliest first
    verdict: dict | None                           # of a yes-or-no network: see Predictor.verdict


def main(argv: list[str]) -> int:
    """Classify and print; return the exit status."""
    config, _ = parse(InferConfig, argv, program=PROGRAM, description=__doc__)
    if config.output and config.output.is_dir():
        raise UserError(f"--output {config.output}: is a folder; name a file in it")
    if config.output and not config.output.parent.is_dir():
        raise UserError(f"--output {config.output}: there is no folder {config.output.parent}; make it first")
    paths = find_images(config.image)
    runtime.prepare()
    runtime.load_paddle()
    from tqdm import tqdm

    from paddle_cls.predictor import Predictor
    predictor = Predictor.from_checkpoint(config.checkpoint, device=config.device, tta=config.tta)
    answers, failures = [], []
    results = predictor.files(paths, batch_size=config.batch_size)
    for path, result in tqdm(results, total=len(paths), unit="img", disable=None if len(paths) > 1 else True, leave=False):
        if isinstance(result, UserError):
            failures.append(str(result))
        else:
            name = os.fsencode(path).decode("utf-8", "replace")      # a name that is no UTF-8 could not be written
            answers.append(Answer(name, top(result, predictor.classes, config.topk), predictor.verdict(result)))
    if not answers:
        more = f" (and {len(failures) - 1} more files)" if len(failures) > 1 else ""
        raise UserError(failures[0] + more)
    text = FORMATS[config.format](answers)
    if config.output:
        with writing(config.output):
            write_text(config.output, text)
    else:
        sys.stdout.write(text)
    for failure in failures:
        print(f"{PROGRAM}: not read: {failure}", file=sys.stderr)
    return 1 if failures else 0


def find_images(places: tuple[str, ...]) -> list[Path]:
    """Return the picture files that files, folders (with all below) and globs stand for, each once, in order.

    Raises UserError for a place that is missing or holds no picture.
    """
    from paddle_cls.data.transforms import EXTENSIONS
    if not places:
        raise UserError("--image: which pictures? For example --image dog.png, a folder, or 'photos/*.jpg'")
    found: dict[Path, None] = {}
    for place in places:
        path = Path(place)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
            if not files:
                raise UserError(f"--image {place}: no pictures in this folder ({', '.join(EXTENSIONS)})")
        elif path.exists():
            files = [path]
        else:
            files = [Path(name) for name in sorted(glob.glob(place, recursive=True)) if Path(name).is_file()]
            if not files:
                what = "no file matches" if glob.has_magic(place) else "no such file or folder"
                raise UserError(f"--image {place}: {what}")
        found.update(dict.fromkeys(files))
    return list(found)


def top(probabilities, classes: list[str], count: int) -> list[tuple[str, float]]:
    """Return the `count` most likely (class, probability), the likeliest first. probabilities: float64 (C,)."""
    ranked = sorted(zip(classes, probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
    return ranked[:count]


def as_text(answers: list[Answer]) -> str:
    """Return a paragraph a picture; of a yes-or-no network the verdict, its probability of a yes and the threshold."""
    return "".join(f"{answer.image}\n" + _lines(answer) for answer in answers)


def _lines(answer: Answer) -> str:
    if answer.verdict is None:
        return "".join(f"  {p:6.1%}  {name}\n" for name, p in answer.top)
    return "  {verdict} (probability of {positive} {probability:.3f}, threshold {threshold:.3f})\n".format(**answer.verdict)


def as_json(answers: list[Answer]) -> str:
    """Return a list of {"image", "top": [{"class", "probability"}]} and the parts of the verdict, if there is one."""
    return json.dumps([{"image": image, "top": [{"class": name, "probability": p} for name, p in best], **(verdict or {})}
                       for image, best, verdict in answers], indent=1, ensure_ascii=False) + "\n"


def as_csv(answers: list[Answer]) -> str:
    """Return lines of image,rank,class,probability; of a yes-or-no network image,verdict,positive,probability,threshold."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    verdicts = any(answer.verdict for answer in answers)
    writer.writerow(["image", *VERDICT] if verdicts else ["image", "rank", "class", "probability"])
    for image, best, verdict in answers:
        if verdict:
            writer.writerow([image, *(f"{v:.6f}" if isinstance(v, float) else v for v in (verdict[k] for k in VERDICT))])
        else:
            writer.writerows([image, rank, name, f"{p:.6f}"] for rank, (name, p) in enumerate(best, 1))
    return out.getvalue()


FORMATS = {"text": as_text, "json": as_json, "csv": as_csv}

if __name__ == "__main__":
    with reported(PROGRAM):
        sys.exit(main(sys.argv[1:]))
