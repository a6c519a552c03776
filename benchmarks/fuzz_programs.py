"""Targets of fuzz.py that are whole programs, on some tiny pictures: train.py, --resume, lr_find, grid, report, models."""

import json
import math

from benchmarks.fuzz_calls import Wrong, as_words, program
from benchmarks.fuzz_networks import STATE, forge, part
from benchmarks.fuzz_seeds import DATA, EPOCHS, FAST
from benchmarks.fuzz_targets import PADDLE, PROGRAM, Case, flags, target

SLOW = ("nproc", "device", "onednn", "output_dir", "dataset", "data_dir")      # they would start processes, or write elsewhere
SMALL = ("resnet", "lenet", "resnet_small", "vgg", "mobilenet_v1", "efficientnet_b0", "nasnet_mobile", "se_resnet", "zf5_spp",
         "preact_resnet_cifar", "squeezenet1_1", "shufflenet_v2_x0_25")


def finite(out: str) -> None:
    """Raise Wrong for a last line of figures, which a training prints, one of which is no finite number."""
    last = json.loads(out.strip().splitlines()[-1])
    for figures in (last.get("final") or {}, last.get("best") or {}):
        for name, value in figures.items():
            if isinstance(value, float) and not math.isfinite(value) and name != "val/threshold":
                raise Wrong(f"{name} is {value} with status 0")


def _train(case: Case, *more: str) -> None:
    import paddle

    from paddle_cls.programs import train
    case.copy("pets")
    with paddle.utils.unique_name.guard():
        out = program(train, [*DATA, "--output-dir", "run", *FAST, *EPOCHS, *more])
    if out.rstrip().endswith("}"):
        finite(out)


@target("checkpoint json, resume", 4, PROGRAM)
def _resume(case: Case) -> object:
    forge(case, "last", change=part(case, *STATE))
    _train(case, "--resume", "--max-steps", "3")


@target("config.yaml, resume", 0.5, PROGRAM)
def _config(case: Case) -> object:
    folder = forge(case, "last")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_bytes(case.mutate.encoded(case.mutate.text(text)))
    _train(case, "--resume", "--max-steps", "3")


@target("metrics.jsonl, resume", 0.5, PROGRAM)
def _metrics(case: Case) -> object:
    folder = forge(case, "last")
    lines = [case.mutate.json(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_bytes(b"".join(case.mutate.dumps(line) + b"\n" for line in lines))
    _train(case, "--resume", "--max-steps", "3")


@target("train flags", 2, PROGRAM)
def _flags(case: Case) -> object:
    from paddle_cls.programs.settings.fields import Config
    case.copy("table.csv")
    _train(case, "--max-steps", "2", *flags(case, Config, most=3, without=SLOW))


@target("lr_find flags", 0.5, PROGRAM)
def _lr_find(case: Case) -> object:
    import paddle

    from paddle_cls.programs import lr_find
    from paddle_cls.programs.settings.fields import LrFindConfig
    case.copy("pets")
    with paddle.utils.unique_name.guard():
        program(lr_find, [*DATA, "--output-dir", "out", *FAST, "--steps", "20", *flags(case, LrFindConfig, most=2, without=SLOW)])


@target("report", 0.5, PROGRAM)
def _report(case: Case) -> object:
    from paddle_cls.programs import report
    from paddle_cls.programs.settings.fields import ReportConfig
    case.copy("pets")
    folder = forge(case, "best", change=case.mutate.json if case.mutate.maybe(0.5) else lambda info: info)
    program(report, [folder.name, *flags(case, ReportConfig, most=2, without=("run", "output"))])
    text = (folder / "report" / "figures.json").read_text()
    if "NaN" in text or "Infinity" in text:
        raise Wrong("figures.json is no JSON")


@target("model arguments", 1.5, PADDLE)
def _models(case: Case) -> object:
    from paddle_cls import models
    from paddle_cls.programs import models as listing
    name = case.mutate.choose(SMALL)
    words = ["--model", name, "--image-size", str(max(models.facts(name).smallest, 32))]
    rng, taken = case.mutate.rng, sorted(set(models.model_arguments(name)) - {"image_size"})
    if rng and taken:
        argument = rng.choice(taken)
        value = rng.choice((case.mutate.word(), "0", "1", "-1", "3", "0.5", "1e9", "1000000000", "9" * 20, "true"))
        words += ["--model-args", f"{argument}={value}"]
    program(listing, words)


@target("grid values", 1, PADDLE)
def _grid(case: Case) -> object:
    from paddle_cls.programs import grid
    case.copy("pets")
    words = ["batch_size=4,8", "seed=0,1"]
    argv = [*DATA, *FAST, *EPOCHS]
    if case.mutate.rng:
        words = [case.mutate.text(word) if case.mutate.maybe(0.25) else word for word in words]
    found = grid.axes(as_words(words))
    runs = grid.combinations(found, argv, case.folder / "grid")
    forge(case, "last", change=part(case, *STATE)).rename(case.folder / "x")
    runs[0].config.output_dir.parent.mkdir(parents=True, exist_ok=True)
    (case.folder / "x").rename(runs[0].config.output_dir)
    grid.finished(runs[0].config.output_dir, 2, None)
    grid.write(case.folder / "grid", found, runs, {run.name: "done" for run in runs})
