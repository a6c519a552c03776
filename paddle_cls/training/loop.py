"""One pass of training and one of prediction: batches in, progress or logits out."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from ..data.reader import Batch
from ..errors import NotFinite, UserError
from ..parallel.world import Request, World
from ..system.runtime import evaluating
from .objective import Objective
from .updater import StepSums, Updater


@dataclass
class Totals:
    """Sums over the samples of an epoch so far, over all processes."""

    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    wait: float = 0.0                              # seconds spent waiting for the reader, mean over the processes

    def clear(self) -> None:
        """Begin a new epoch."""
        self.loss = self.correct = self.count = self.wait = 0.0

    def means(self, prefix: str = "") -> dict[str, float]:
        """Return {"loss", "acc1", "error_rate"}, each name behind `prefix`: one division by the number of samples."""
        acc1 = self.correct / self.count
        return {f"{prefix}loss": self.loss / self.count, f"{prefix}acc1": acc1, f"{prefix}error_rate": 1 - acc1}


class Reached(NamedTuple):
    """Where a pass stands when its `Totals` are up to date."""

    step: int                                      # optimizer steps done since the training began
    request: Request                               # what some process asks for, the same in all of them


def train_one_epoch(batches: Iterable[Batch], objective: Objective, updater: Updater, totals: Totals, *, step: int = 0,
                    fetch_every: int = 1, asks: Callable[[], Request] = Request) -> Iterator[Reached]:
    """Train on each batch and yield where the pass stands whenever `totals` is up to date.

    totals: sums of the epoch so far, added to here. step: optimizer steps done before. fetch_every: steps between two looks
    at the loss, each of which waits for the device. asks: what this process asks for; all agree on it as they look.
    A network with auxiliary heads gives (logits, [(weight, logits), ...]) in training: the gradient is that of the loss of all,
    weighted; totals are those of the first. In a batch that `data.augment.mixing` has mixed, the loss is linear in the shares
    of the two labels, and so is being right.
    Raises NotFinite, naming the step, when a loss is not finite. An error of `batches` is raised between two steps, and alone
    after a yield for those that were done.
    """
    world = updater.world
    updater.network.train()
    pending: list[StepSums] = []
    waited = 0.0
    started, broken, ahead = time.perf_counter(), None, iter(batches)
    while True:
        try:
            batch = next(ahead)
        except StopIteration:
            break
        except (UserError, OSError) as error:
            broken = error
            break
        waited += time.perf_counter() - started
        pending.append(updater.step(batch, objective, step))
        step += 1
        if len(pending) >= fetch_every:
            yield Reached(step, _fetch(pending, totals, waited, step, world, asks()))
            pending, waited = [], 0.0
        started = time.perf_counter()
    if pending and (broken is None or world.size == 1):        # the other processes do not fetch now
        yield Reached(step, _fetch(pending, totals, waited, step, world, asks()))
    if broken is not None:
        raise broken


def _fetch(pending: list[StepSums], totals: Totals, waited: float, step: int, world: World, request: Request) -> Request:
    """Add the sums of the last steps to `totals`; return what all processes together ask for."""
    losses = paddle.stack([sums.loss for sums in pending]).numpy()
    correct = float(paddle.stack([sums.correct for sums in pending]).sum())
    count = sum(sums.images for sums in pending)
    numbers, agreed = world.sum_and_agree(np.array([correct, count, waited, *losses], np.float64), request)
    correct, count, waited, *losses = numbers.tolist()
    for number, loss in enumerate(losses, step - len(losses) + 1):
        if not np.isfinite(loss):
            raise NotFinite(f"the loss of step {number} is {loss}")
    totals.loss += sum(losses)
    totals.correct += correct
    totals.count += count
    totals.wait += waited / world.size
    return agreed


def predict(model: nn.Layer, batches: Iterable[Batch], *, world: World | None = None,
            tensor: Callable[[np.ndarray], paddle.Tensor] = paddle.to_tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return (logits float32 (N, C), labels int64 (N,)) of every image of a split, in the split's order.

    In several processes `batches` holds this process's part of each batch; all get the whole answer. tensor: as of `Updater`.
    Raises ValueError where there are no images.
    """
    world = world or World()
    logits, labels, indices = [], [], []
    with evaluating(model):
        for batch in batches:
            if len(batch.labels):
                logits.append(model(tensor(batch.images)).numpy())
            labels.append(batch.labels)
            indices.append(batch.indices)
    if not indices:
        raise ValueError("no samples to evaluate")
    width = world.sum(np.array([logits[0].shape[1] if logits and world.rank == 0 else 0]))
    own = np.concatenate(logits) if logits else np.zeros((0, int(width[0])), np.float32)
    order = np.argsort(world.gather(np.concatenate(indices)), kind="stable")
    return world.gather(own)[order], world.gather(np.concatenate(labels))[order]
