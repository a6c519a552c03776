"""What a training calls at the end of an epoch or a step: a small protocol, and early stopping as its example.

    class Halve:                                   # any object with one of the two methods, or with both
        def on_epoch_end(self, state):
            return state.metrics["val/loss"] < 0.1             # True: stop here
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError, unknown

if TYPE_CHECKING:
    from paddle import nn

LOWER = ("loss", "error_rate")                     # metrics that are the better the lower


@dataclasses.dataclass(frozen=True)
class State:
    """Where a training stands when it calls. The model is the one that trains: look, do not change it."""

    epoch: int                                     # from 1 on: the one that has ended, or (of a step) the one under way
    step: int                                      # optimizer steps done
    metrics: Mapping[str, float]                   # of the epoch: "train/loss", "val/loss", "val/acc1", "lr", own "val/NAME", ...
    best: Mapping[str, float] | None               # those of the best epoch so far, by val/acc1
    history: Sequence[Mapping[str, float]]         # those of all epochs so far, this one last; of a resumed run too
    model: "nn.Layer"
    output_dir: Path


class Callback:
    """A base for own callbacks, which need not be derived from it: either method may be missing.

    In several processes each has its own object. All stop as soon as one of them asks for it.
    """

    def on_epoch_end(self, state: State) -> bool | None:
        """Called after each evaluation, when its checkpoint is saved. Return True to stop the training."""

    def on_step_end(self, state: State) -> bool | None:
        """Called whenever the loss has been looked at, on a CPU after each step; `state.metrics` has train/* so far only.

        Return True to stop: `last` is saved, and there is no evaluation.
        """


class EarlyStop(Callback):
    """Stop where a metric has not become better for `patience` epochs."""

    def __init__(self, monitor: str = "val/loss", patience: int = 3, *, least: float = 0.0,
                 higher_is_better: bool | None = None) -> None:
        """monitor: a key of `State.metrics`. patience: epochs, at least 1. least: what is no more than that is no gain.

        higher_is_better: None for yes, but for names that end on loss or error_rate. Raises UserError for a patience below 1.
        A resumed run goes on counting where it was.
        """
        if patience < 1:
            raise UserError(f"EarlyStop: patience={patience} must be at least 1")
        self.monitor, self.patience, self.least = monitor, patience, least
        self.higher = not monitor.endswith(LOWER) if higher_is_better is None else higher_is_better

    def check(self, known: Iterable[str]) -> None:
        """Raise UserError unless the monitor is one of the `known` metrics."""
        known = set(known)
        if self.monitor not in known:
            raise UserError(f"EarlyStop: {unknown('metric', self.monitor, known)}")

    def on_epoch_end(self, state: State) -> bool:
        """Return whether the patience is over. Raises UserError for a metric that there is not."""
        self.check(state.metrics)
        best, since = None, 0
        for row in state.history:
            value = row.get(self.monitor)
            if value is None:
                continue
            gain = float("inf") if best is None else value - best if self.higher else best - value
            best, since = (value, 0) if gain > self.least else (best, since + 1)
        return since >= self.patience


def asks_to_stop(callbacks: Sequence[object], moment: str, state: Callable[[], State]) -> bool:
    """Call `moment` (on_epoch_end, on_step_end) of all callbacks that have it; return whether one returns True, NumPy's too."""
    methods = [getattr(callback, moment) for callback in callbacks if hasattr(callback, moment)]
    answers = [method(now) for now in ([state()] if methods else []) for method in methods]
    return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)
