"""What fuzz.py calls without Paddle, a small function for each: it breaks good files in its own folder and reads them.

A target returns where the package has answered, and raises what the package raises, or Wrong for an answer that is none."""

import dataclasses
import json
import os
import random
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.fuzz_calls import Wrong, as_words
from benchmarks.fuzz_mutate import FLOATS, INTS, WORDS, Mutator

LIGHT, PADDLE, PROGRAM = "light", "paddle", "program"          # what a case costs: milliseconds, tens of them, seconds


@dataclasses.dataclass
class Case:
    """One case: its generator, its own empty folder (the working folder), and the folder of the good files."""

    mutate: Mutator
    folder: Path
    good: Path

    def copy(self, name: str, to: str | None = None) -> Path:
        """Return a copy of a good file or folder in the case's folder."""
        source, target = self.good / name, self.folder / (to or name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        return target

    def write(self, name: str, content: bytes) -> Path:
        """Write a file into the case's folder and return it."""
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def number(self) -> int:
        """Return a seed."""
        return self.mutate.rng.randrange(2**31) if self.mutate.rng else 0


class Target(NamedTuple):
    """What is called, how often (its weight among all), and at what cost."""

    call: Callable[[Case], object]
    weight: float
    cost: str


TARGETS: dict[str, Target] = {}


def target(name: str, weight: float, cost: str = LIGHT) -> Callable:
    """Put a function into TARGETS."""
    def put(call: Callable[[Case], object]) -> Callable[[Case], object]:
        TARGETS[name] = Target(call, weight, cost)
        return call
    return put


def pick(rng: random.Random) -> str:
    """Return the name of a target, by their weights."""
    return rng.choices(list(TARGETS), [target.weight for target in TARGETS.values()])[0]


# Values that fields take, beside what is drawn from their types.
GOOD_VALUES = {
    "model": ("resnet", "vgg", "lenet", "resnet_small", "alexnet"), "depth": ("8", "20"),
    "dataset": ("folder", "table", "shapes"), "data_dir": ("pets", "split", "."),
    "table": ("table.csv",), "columns": ("path,label", "path,label,split"), "task": ("neck",),
    "val_split": ("0.2", "2/5"), "augment": ("standard", "crop=4,flip", "randaugment=2x9", "photo,erase=0.1"),
    "freeze": ("body", "2"), "lr_scale": ("fc=0.1",), "class_weights": ("balanced", "cat=2,dog=0.5"), "init": ("tutorial",),
    "model_args": ("scale=0.5", "width=8"), "output_dir": ("out", "run"), "checkpoint": ("run", "run/best.pdparams"),
    "image": ("a.png", "pets", "*.jpg"), "output": ("o.csv",), "run": ("run",), "val_table": ("table.csv",),
    "grid": ("batch_size=16,32", "seed=0,1", "depth=8,20"), "pretrained": ("state2.pdparams", "run"),
}


def flags(case: Case, cls: type, *, most: int = 5, without: tuple[str, ...] = ()) -> list[str]:
    """Return a random command line of a dataclass of settings; without a generator, none. No word holds a NUL."""
    rng = case.mutate.rng
    if rng is None:
        return []
    fields = [field for field in dataclasses.fields(cls) if field.name not in without]
    words: list[str] = []
    for field in rng.sample(fields, rng.randrange(min(most, len(fields)) + 1)):
        flag, kind = f"--{field.name.replace('_', '-')}", typing.get_type_hints(cls)[field.name]
        if kind is bool:
            words.append(rng.choice((flag, flag.replace("--", "--no-", 1))))
            continue
        choices = field.metadata.get("choices") or GOOD_VALUES.get(field.name) or ("1", "3", "0.5", "0")
        value = str(rng.choice(choices))
        if rng.random() < 0.4:
            other = rng.choice(INTS if "int" in str(kind) else FLOATS if "float" in str(kind) else WORDS)
            value = rng.choice((case.mutate.text(value), case.mutate.word(), str(other)))
        words += rng.choice(([flag, value], [f"{flag}={value}"]))
    if words and rng.random() < 0.1:
        place = rng.randrange(len(words))
        words[place] = case.mutate.text(words[place])
    return as_words(words)


@target("settings", 14)
def _settings(case: Case) -> object:
    from paddle_cls.programs import grid, models
    from paddle_cls.programs.settings import command_line, fields
    from paddle_cls.programs.shared import run_folder, setup
    case.copy("table.csv")
    case.copy("pets")
    program = case.mutate.choose(("train.py", "lr_find", "grid", "infer.py", "report", "models"))
    if program in ("train.py", "lr_find"):
        cls = fields.Config if program == "train.py" else fields.LrFindConfig
        found = setup.settings(flags(case, cls), program, "", cls)
        run_folder.check(found)
        setup.refuse_run_flags(found, program)
    elif program == "grid":
        words = ["--grid", "seed=0,1", *flags(case, fields.GridConfig)]
        found, _ = command_line.parse(fields.GridConfig, words, program="grid", description="")
        grid.axes(found.grid)
    elif program == "models":
        command_line.parse(models.ListConfig, flags(case, models.ListConfig), program=program, description="")
    else:
        cls, first = (fields.ReportConfig, ["run"]) if program == "report" else (fields.InferConfig, [])
        command_line.parse(cls, first + flags(case, cls, without=("run",)), program=program, description="")


@target("yaml", 9)
def _yaml(case: Case) -> object:
    import yaml

    from paddle_cls.programs import grid
    from paddle_cls.programs.settings import command_line, fields
    from paddle_cls.programs.shared import setup
    texts = [path.read_text() for path in sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))]
    text, kind = case.mutate.choose(texts), case.mutate.choose((1, 1, 1, 2, 2, 2, 3, 3, 3, 4), 0)
    cls = case.mutate.choose((fields.Config, fields.GridConfig, fields.LrFindConfig))
    if kind == 1:
        text = case.mutate.text(text)
    elif kind == 2:
        content = yaml.safe_load(text) | ({"grid": ["batch_size=16,32", "seed=0,1"]} if cls is fields.GridConfig else {})
        content = case.mutate.json(content)
        text = case.mutate.dumps(content).decode("utf-8", "replace") if case.mutate.maybe(0.5) else yaml.safe_dump(content)
    elif kind == 3:
        drawn = case.mutate.rng.sample(dataclasses.fields(cls), 3)
        text = "".join(f"{field.name}: {case.mutate.dumps(case.mutate.value(field.default)).decode('utf-8', 'replace')}\n"
                       for field in drawn)
    elif kind == 4:                                # a value that stands in itself, or for 9 ** 8 others
        names = [field.name for field in case.mutate.rng.sample(dataclasses.fields(cls), case.mutate.choose((1, 2, 9)))]
        text = f"{names[0]}: &a0 {case.mutate.choose(('0.1', 'x', '[x]', '[*a0]', '{a: *a0}'))}\n"
        text += "".join(f"{name}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i, name in enumerate(names[1:], 1))
    file = case.write("c.yaml", case.mutate.encoded(text))
    command_line.read_yaml(file, cls)
    if cls is fields.GridConfig:
        found, _ = command_line.parse(cls, ["--config", str(file)], program="grid", description="")
        grid.axes(found.grid)
    else:
        setup.settings(["--config", str(file)], "train.py", "", cls)


@target("augment", 4)
def _augment(case: Case) -> object:
    from paddle_cls.data.augment import recipes
    rng, pieces = case.mutate.rng, [*recipes.PIECES, *recipes.RECIPES]
    text = "standard"
    if rng:
        words = []
        for piece in rng.sample(pieces, rng.choice((1, 1, 2, 4))):
            values = [rng.choice((number.default, number.low, number.high, rng.uniform(number.low, number.high), *INTS[:9],
                                  "nan", "-0.0", "-0", "1e-320")) for number in recipes.PIECES.get(piece, ())]
            words.append(piece + ("=" + "x".join(map(str, values)) if values and rng.random() < 0.8 else ""))
        text = ",".join(words)
        text = case.mutate.text(text) if rng.random() < 0.15 else text
    size, sides = case.mutate.choose((16, 1, 2, 5, 64, 224)), (1, 2, 3, 12, 40, 300)
    shape = (case.mutate.choose(sides, 12), case.mutate.choose(sides, 12), 3)
    generator = np.random.default_rng(case.number())
    image = generator.integers(0, 256, shape, np.uint8)
    for answer in (recipes.build(text, size)(image, generator), *recipes.batched(text, size)([image, image], generator)):
        if answer.shape != (size, size, 3) or answer.dtype != np.uint8:
            raise Wrong(f"--augment {text}: {answer.dtype} {answer.shape}")


@target("picture", 9)
def _picture(case: Case) -> object:
    from paddle_cls.data.images.transforms import decode, measure, resize
    source = case.mutate.choose(sorted((case.good / "pictures").iterdir()))
    file = case.write(source.name, case.mutate.bytes(source.read_bytes()))
    size = case.mutate.choose((16, 1, 224, None))
    try:
        sides = measure(file)
    finally:                                       # whatever the one says, the other is to be asked too
        image = decode(file, size)
        resized = resize(image, size or 16)
    if image.dtype != np.uint8 or image.ndim != 3 or resized.shape[2] != 3 or min(sides) < 1:
        raise Wrong(f"{source.name}: {image.dtype} {image.shape}")


@target("pickle", 8)
def _pickle(case: Case) -> object:
    from paddle_cls.formats import safe_pickle
    source = case.good / case.mutate.choose(("state2.pdparams", "state4.pdparams", "state5.pdparams",
                                             "cifar/cifar-10-batches-py/data_batch_1"))
    file = case.write("x.pdparams", case.mutate.pickle(source.read_bytes()))
    safe_pickle.load(file, encoding=case.mutate.choose(("ASCII", "bytes", "latin1")))


@target("cifar", 3)
def _cifar(case: Case) -> object:
    from paddle_cls.data.sets import cifar10
    root = case.copy("cifar")
    file = root / "cifar-10-batches-py" / case.mutate.choose(("data_batch_1", "test_batch"))
    file.write_bytes(case.mutate.pickle(file.read_bytes()))
    cifar10.load("train", root)
    cifar10.load("test", root)


@target("metrics.jsonl", 4)
def _metrics(case: Case) -> object:
    from benchmarks import runs
    from paddle_cls.evaluation import plots
    from paddle_cls.programs import grid
    from paddle_cls.training import log
    lines = (case.good / "metrics.jsonl").read_text().splitlines()
    if case.mutate.rng:
        place = case.mutate.rng.randrange(len(lines))
        lines[place] = case.mutate.dumps(case.mutate.json(json.loads(lines[place]))).decode("utf-8", "replace")
    text = "\n".join(lines) + "\n"
    file = case.write("metrics.jsonl", case.mutate.encoded(case.mutate.text(text) if case.mutate.maybe(0.2) else text))
    case.write("config.yaml", b"seed: 0\n")
    case.write("last.json", b"{}")
    rows = log.read_rows(file)
    plots.curves_chart([row for row in rows if "epoch" in row])
    grid.rows(case.folder)
    if case.mutate.maybe(0.3):
        runs.table([case.folder])


@target("figures.json", 2)
def _figures(case: Case) -> object:

    from paddle_cls.programs import report
    content = json.loads((case.good / "figures.json").read_text())
    os.mkdir(case.folder / "report")
    case.write("report/figures.json", case.mutate.dumps(case.mutate.json(content)))
    report.check_folder(case.folder / "report")
