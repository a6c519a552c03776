"""The epochs of a training: steps, evaluation, log, checkpoints, callbacks. From its parts, which know no settings."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..data.dataset import ReadyData
from ..data.reader import Reader, Split, Transform, batches, num_batches, prefetch
from ..errors import UserError
from ..evaluation import binary, metrics
from ..parallel.world import Request
from ..system import stopping
from . import callbacks as calls
from . import loop
from .freezing import Freezer
from .log import Log, Progress, epoch_line, read_rows, watched
from .objective import Objective
from .run import Run
from .updater import Updater

Metric = Callable[[np.ndarray, np.ndarray], float]             # logits float32 (N, C), labels int64 (N,) -> a number


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a training is, and when it does what."""

    epochs: int                                    # whole passes over the training split
    batch_size: int                                # images of a step, over all processes
    eval_batch_size: int = 250                     # images per forward pass of an evaluation
    max_steps: int | None = None                   # ends the training after so many optimizer steps
    log_every: int = 20                            # steps between two rows of the log
    fetch_every: int = 1                           # steps between two looks at the loss
    save_minutes: float = 10.0                     # between two checkpoints inside an epoch

    def steps(self, images: int) -> tuple[int, int]:
        """Return (the optimizer steps of an epoch of so many images, those of the whole training)."""
        each = num_batches(images, self.batch_size)
        whole = self.epochs * each
        return each, whole if self.max_steps is None else min(self.max_steps, whole)


@dataclasses.dataclass(frozen=True)
class Training:
    """The parts of a training."""

    data: ReadyData
    run: Run                                       # model and optimizer, where they stand, and their checkpoints
    objective: Objective
    updater: Updater
    plan: Plan
    read: Callable[..., Reader]                    # (epoch=, start=, stop=) -> reader of this process's parts of the batches
    evaluates: Transform                           # of the images of an evaluation
    freezing: Freezer
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)    # own ones, logged as val/NAME
    callbacks: Sequence[object] = ()               # see `callbacks.Callback`
    draw: Callable[..., dict[str, np.ndarray]] | None = None       # what gives the charts of an evaluation, as `Log` takes it
    graph: Mapping | None = None                   # of the network, for VisualDL: of `graph.describe`
    signals: bool = True                           # answer Ctrl-C and the like: save and leave
    quiet: bool = False                            # no bar and no lines


@dataclasses.dataclass(frozen=True)
class Result:
    """What a training has come to."""

    output_dir: Path                               # the run folder
    step: int                                      # optimizer steps done
    metrics: dict[str, float]                      # of the last evaluation: "val/acc1", "val/loss", "train/loss", "lr", ...
    best: dict[str, float]                         # of the best one, by val/acc1: that of the checkpoint `best`
    history: list[dict[str, float]]                # of all of them
    visualdl: Path | None                          # the folder of this start's charts; None in all processes but the first
    signal: int = 0                                # that ended it before its time, or 0


def train(parts: Training) -> Result:
    """Train until the plan is done, a callback asks to stop, or (with `signals`) a signal came; return what came out.

    Raises NotFinite where a loss or a weight is no number, UserError for a metric that gives none, and what the reader, the
    callbacks and the metrics raise; for the reader's UserError and OSError `last` is saved before.
    """
    run, plan, world, data = parts.run, parts.plan, parts.updater.world, parts.data
    per_epoch, last = plan.steps(len(data.train))
    shown = world.rank == 0 and not parts.quiet
    for callback in parts.callbacks:
        if isinstance(callback, calls.EarlyStop):  # before the first step, not after an epoch
            callback.check(_names(parts))
    history = _rows(run)
    log = Log(run.folder, run.step, run.epoch, active=world.rank == 0, draw=parts.draw)
    if parts.graph and world.rank == 0:
        log.graph(parts.graph)
    steps_are_called = any(hasattr(callback, "on_step_end") for callback in parts.callbacks)

    def state(figures: Mapping[str, float], epoch: int) -> calls.State:
        return calls.State(epoch, run.step, figures, run.best, tuple(history), run.model, run.folder)

    def result(signal: int = 0) -> Result:
        return Result(run.folder, run.step, dict(run.metrics), dict(run.best or {}), history,
                      log.folder if world.rank == 0 else None, signal)

    bar: Progress | None = None

    def told() -> None:
        if bar:
            bar.close(f"stopped by a signal after step {run.step}; {run.resume_hint}")

    stop = stopping.Stop(told, alone=world.size == 1) if parts.signals else stopping.Unheard()
    with stop, run.rescued(fetched=plan.fetch_every == 1 or world.size == 1):
        while run.unfinished(last):
            frozen = parts.freezing.start_epoch(run.epoch)
            if frozen and shown:
                print(frozen, flush=True)
            bar = Progress(f"epoch {run.epoch + 1}/{plan.epochs}", len(data.train), run.totals, active=shown)
            first = run.epoch * per_epoch
            reader = parts.read(epoch=run.epoch, start=run.step - first, stop=last - first)
            stop.defer()
            for step, request in loop.train_one_epoch(
                    reader(), parts.objective, parts.updater, run.totals, step=run.step, fetch_every=plan.fetch_every,
                    asks=lambda: Request(run.save_due(plan.save_minutes), stop.wanted())):
                run.step = step
                means = run.totals.means("train/")
                log.every(plan.log_every, run.step, {"lr": parts.updater.schedule(run.step - 1), **means})
                ends = steps_are_called and world.any(
                    calls.asks_to_stop(parts.callbacks, "on_step_end", partial(state, means, run.epoch + 1)))
                if request.signal or request.save or ends:
                    run.save("last")
                if request.signal:
                    stop.tell()
                    return result(request.signal)
                if ends:
                    bar.close(f"stopped by a callback after step {run.step}; {run.resume_hint}")
                    log.close()
                    return result()
                bar.show(run.totals)               # last: a terminal that is gone keeps nothing from being saved
            timing = bar.timing(run.totals)        # of the steps, not of the saving
            run.save("last")
            stop.allow()                           # nothing of the epoch can be lost any more
            logits, labels = _predict(parts, data.val)
            threshold = binary.choose_threshold(*_predict(parts, data.holdout)) if data.holdout else None
            epoch = run.epoch + 1
            figures = {"step": run.step, "epoch": epoch, "lr": parts.updater.schedule(run.step - 1),
                       **run.totals.means("train/"), **metrics.classification(logits, labels, threshold=threshold).flat("val/")}
            figures |= dict(own_metrics(parts.metrics, logits, labels, figures))
            log.scalars(run.step, {**figures, **timing})       # before the checkpoint: a kill between repeats, not loses, it
            run.end_epoch(figures, whole=run.step == first + per_epoch)
            history.append(figures)
            ends = bool(parts.callbacks) and world.any(
                calls.asks_to_stop(parts.callbacks, "on_epoch_end", partial(state, figures, epoch)))
            with world.first():                    # charts of many images take seconds, and gloo waits for 30 only
                log.pictures(run.step, data.val.images, logits, labels, data.classes, run.model.parameters(),
                             threshold=threshold, last=ends or run.step >= last)
            bar.close(epoch_line(plan.epochs, run.metrics, run.best or figures, timing))
            if ends:
                if shown and run.step < last:
                    print(f"stopped by a callback after epoch {epoch}", flush=True)
                break
    log.close()
    return result()


def _names(parts: Training) -> list[str]:
    """Return the metrics that an epoch can have, by those of an evaluation of the first two classes."""
    data = parts.data
    logits = np.zeros((2, data.outputs), np.float32)
    judged = metrics.classification(logits, np.arange(2), threshold=0.5 if data.holdout else None).flat("val/")
    return ["step", "epoch", "lr", "train/loss", "train/acc1", "train/error_rate", *judged,
            *(f"val/{name}" for name in parts.metrics)]


def _rows(run: Run) -> list[dict]:
    """Return the metrics of the epochs that a run has behind it. Raises UserError for a metrics.jsonl that is broken."""
    return [row for row in read_rows(run.folder / "metrics.jsonl")
            if "epoch" in row and row["step"] <= run.step and row["epoch"] <= run.epoch]


def _predict(parts: Training, split: Split) -> tuple[np.ndarray, np.ndarray]:
    world = parts.updater.world
    reader = batches(split, parts.plan.eval_batch_size, parts.evaluates, rank=world.rank, world=world.size)
    read = watched(prefetch(reader)(), "evaluation", len(split), active=world.rank == 0 and not parts.quiet)
    return parts.run.predict(read, parts.updater.tensor)


def own_metrics(own: Mapping[str, Metric], logits: np.ndarray, labels: np.ndarray,
                taken: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield ("val/NAME", value) of a user's metrics. logits: float32 (N, C) or (N, 1); labels: int64 (N,).

    Raises UserError for a name in `taken`, and for a value that is no finite number.
    """
    for name, function in own.items():
        if f"val/{name}" in taken:
            raise UserError(f"metrics: {name!r} is a metric of the package already; choose another name")
        value = function(logits, labels)
        if not isinstance(value, numbers.Real | np.ndarray) or np.ndim(value) or not math.isfinite(value):
            raise UserError(f"metrics: {name!r} gave {value!r:.100}; it must return a finite number")
        yield f"val/{name}", float(value)
