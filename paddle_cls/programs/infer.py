"""Classify pictures with a trained network: python infer.py --image dog.png

Takes files, folders and globs, or a list in a file; prints the most likely classes with their probabilities as text, JSON or
CSV. Exit status 1 if some pictures could not be read (they are named, the rest is done), 2 if nothing could be done.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from .. import named
from ..errors import UserError, printable, unknown
from ..inference.answer import FORMATS, STREAMED, Answer, csv_header, top, written
from ..system import console, stopping
from ..system.files import replaced, write_text, writing
from .settings.command_line import parse
from .settings.fields import InferConfig
from .shared import console_lines
from .shared.growing import GROWING, Growing, alone
from .shared.pictures import Found, Listed, Picture, Shard, check_output, nothing, progress, tried

if TYPE_CHECKING:
    from ..inference.predictor import Predictor

PROGRAM = "infer.py"


class Sink(Protocol):
    """Where answers go."""

    count: int                                     # answers so far

    def add(self, answer: Answer) -> None:
        """Take an answer."""

    def fail(self, path: Path, text: str) -> None:
        """Keep in mind why a picture has none."""

    def failures(self) -> list[str]:
        """Return what `fail` was told."""

    def close(self) -> None:
        """Write what is left: all answers are there."""


class Kept:
    """Answers that are written all at once, at the end: as a list in JSON, or by a function of the user's."""

    def __init__(self, config: InferConfig, write: Callable[[list[Answer]], str], introduce: Callable[[], None]):
        """write: of FORMATS, or the user's. introduce: says who answers, before the answers on standard output."""
        self.config, self.write, self.introduce = config, write, introduce
        self.count = 0
        self.answers: list[Answer] = []
        self.unread: list[str] = []

    def add(self, answer: Answer) -> None:
        """See Sink."""
        self.answers.append(answer)
        self.count += 1

    def fail(self, path: Path, text: str) -> None:
        """See Sink."""
        self.unread.append(text)

    def failures(self) -> list[str]:
        """See Sink."""
        return self.unread

    def close(self) -> None:
        """See Sink. Raises UserError for what cannot be written, or is no text."""
        text = self.write(self.answers)
        if not isinstance(text, str):
            raise UserError(f"--format {self.config.format}: gives a {type(text).__name__}, not a text")
        if self.config.output:
            with writing(self.config.output):
                write_text(self.config.output, text)
        else:
            self.introduce()
            sys.stdout.write(text)


class Streamed(Kept):
    """Answers that are written as they come, to standard output or into a new file."""

    def __init__(self, config: InferConfig, introduce: Callable[[], None], file: BinaryIO | None):
        """file: None: standard output."""
        super().__init__(config, STREAMED[config.format], introduce)
        self.file = file

    def add(self, answer: Answer) -> None:
        """See Sink."""
        header = csv_header(answer.verdict is not None) if self.config.format == "csv" and not self.count else ""
        text = header + self.write([answer])
        if self.file:
            self.file.write(text.encode("utf-8"))
        else:
            if not self.count:
                self.introduce()
            sys.stdout.write(text)
            console.flush()
        self.count += 1

    def close(self) -> None:
        """See Sink."""


def main(argv: list[str]) -> int:
    """Classify and print; return the exit status."""
    config, _ = parse(InferConfig, argv, program=PROGRAM, description=__doc__)
    check_format(config.format)
    places = find(config)
    pictures = Shard(places, config.shard)
    if config.output:
        check_output(config.output, places.named)
    with contextlib.ExitStack() as stack:
        growing = None
        if config.output and config.format in GROWING:
            stack.enter_context(alone(config.output))
            growing = Growing(config.output, config.format, resume=config.resume)
        write = FORMATS[config.format] if config.format in FORMATS else named.load(config.format, "--format")
        from ..inference.predictor import Predictor
        predictor = Predictor.from_checkpoint(config.checkpoint, device=config.device, tta=config.tta, model=config.model,
                                              precision=config.precision)

        def introduce() -> None:
            console.tell(console_lines.answering(predictor.source, predictor.metrics))

        if growing:
            sink: Sink = growing
        elif config.format in STREAMED:
            sink = Streamed(config, introduce, stack.enter_context(_new(config.output)) if config.output else None)
        else:
            sink = Kept(config, write, introduce)
        classify(config, predictor, pictures, sink)
        failures = [*places.unread, *sink.failures()]
        if not sink.count:
            none = f"--shard {config.shard}: there are too few pictures for this part; use fewer parts" if config.shard else \
                f"--list {config.list}: names no picture"
            raise UserError(nothing(failures) if failures else none)
        sink.close()
    if config.output:
        introduce()
    for failure in failures:
        print(f"{PROGRAM}: not read: {printable(failure)}", file=sys.stderr)
    return 1 if failures else 0


def check_format(name: str) -> None:
    """Raise UserError unless `name` is in FORMATS, or is module:function and the module is there."""
    if name not in FORMATS:
        if not named.is_named(name):
            raise UserError(f"--format: {unknown('value', name, FORMATS)}")
        named.check(name, "--format")


def find(config: InferConfig) -> Found | Listed:
    """Return the pictures that are named. Raises UserError, also for flags that make nothing of each other."""
    if config.resume and not (config.output and config.format in GROWING):
        raise UserError(f"--resume: goes with --output FILE and --format {' or '.join(GROWING)}: those grow in a file")
    if config.list and config.image:
        raise UserError(f"--list {config.list}: names the pictures, and --image does too; leave out one of the two")
    if config.list:
        return Listed(config.list)
    if not config.image:
        raise UserError("--image: which pictures? For example --image dog.png, a folder, or 'photos/*.jpg'")
    return Found(config.image)


@contextlib.contextmanager
def _new(output: Path) -> Iterator[BinaryIO]:
    with writing(output), replaced(output) as file:
        yield file


def classify(config: InferConfig, predictor: "Predictor", pictures: Shard, sink: Sink) -> None:
    """Give `sink` the answers to all pictures, or what is wrong with them, in order; of a file that grows the missing ones."""
    from ..data.reader import prefetch
    growing = sink if isinstance(sink, Growing) else None
    wanted: Iterable[Picture] = pictures
    if growing:
        done = growing.go_on(settings(config, predictor), verdicts=predictor.threshold is not None,
                             rows=min(config.topk, len(predictor.classes)))
        wanted = (picture for picture in pictures if growing.awaits(done, picture.path))

    def stopped() -> None:
        bar.close()
        if growing and growing.count:
            console.tell(f"stopped: {growing.count:,} pictures are answered in {growing.file}; the same command with --resume "
                         f"goes on")

    # In a thread of their own: so this one answers a signal at once, whatever is computed.
    results = prefetch(lambda: tried(partial(predictor.files, batch_size=config.batch_size), wanted), config.batch_size)()
    seen = not config.output and config.format in STREAMED and sys.stdout.isatty()           # the answers themselves move there
    with (progress(results, pictures, done=sink.count, quiet=seen) as bar,
          stopping.Stop(stopped) if growing else contextlib.nullcontext()):
        for path, result in bar:
            if isinstance(result, str):
                sink.fail(path, result)
            else:
                verdict = predictor.verdict(result)
                said = verdict["verdict"] if verdict else None
                sink.add(Answer(written(path), top(result, predictor.classes, config.topk, said), verdict))


def settings(config: InferConfig, predictor: "Predictor") -> dict[str, object]:
    """Return what must be the same for answers in one file, by the names of the flags."""
    return {"checkpoint": predictor.checksum, "threshold": predictor.threshold, "image": list(config.image),
            "list": config.list and str(config.list), "shard": config.shard, "topk": config.topk, "tta": config.tta,
            "precision": config.precision, "format": config.format}
