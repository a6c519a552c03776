"""One pass of training and one of prediction: a model, an iterable of batches, and plain arguments."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..data.reader import Batch
from ..errors import NotFinite, UserError
from ..parallel.world import World
from ..system.runtime import evaluating, seed_step
from .optimizers import EMA, Schedule, trainable


@dataclass
class Totals:
    """Sums over the samples of an epoch so far, over all processes."""

    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    wait: float = 0.0                              # seconds spent waiting for the reader, mean over the processes
    flags: list[float] = field(default_factory=list)                 # of the last fetch: see train_one_epoch

    def clear(self) -> None:
        """Begin a new epoch."""
        self.loss = self.correct = self.count = self.wait = 0.0

    def means(self, prefix: str = "") -> dict[str, float]:
        """Return {"loss", "acc1", "error_rate"}, each name behind `prefix`: one division by the number of samples."""
        acc1 = self.correct / self.count
        return {f"{prefix}loss": self.loss / self.count, f"{prefix}acc1": acc1, f"{prefix}error_rate": 1 - acc1}


def sample_losses(logits: paddle.Tensor, labels: paddle.Tensor, label_smoothing: float = 0.0,
                  class_weights: paddle.Tensor | None = None) -> paddle.Tensor:
    """Return the training loss of each sample, float32 (N,).

    logits (N, C): softmax cross entropy; logits (N, 1): binary cross entropy of a sigmoid. labels int64 (N,).
    label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2015, section 7).
    class_weights: float32 (classes,), a factor of a sample's loss by its label.
    """
    classes = logits.shape[1]
    logits = logits.astype("float32")
    if classes == 1:
        targets = labels.astype("float32") * (1 - label_smoothing) + label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")
    elif label_smoothing:
        targets = F.label_smooth(F.one_hot(labels, classes), epsilon=label_smoothing)
        losses = F.cross_entropy(logits, targets, soft_label=True, reduction="none").reshape([-1])
    else:
        losses = F.cross_entropy(logits, labels, reduction="none").reshape([-1])
    return losses if class_weights is None else losses * paddle.gather(class_weights, labels)


def _target_losses(logits: paddle.Tensor, targets: Sequence[tuple[paddle.Tensor, float]], label_smoothing: float,
                   class_weights: paddle.Tensor | None) -> paddle.Tensor:
    """Return the loss of each sample whose target is made of labels in shares: it is linear in the target."""
    return sum(share * sample_losses(logits, labels, label_smoothing, class_weights) for labels, share in targets)


def _correct(logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    guess = (logits[:, 0] > 0).astype("int64") if logits.shape[1] == 1 else logits.argmax(axis=1)
    return (guess == labels).astype("float32").sum()


def train_one_epoch(model: nn.Layer, batches: Iterable[Batch], optimizer: paddle.optimizer.Optimizer,
                    schedule: Schedule, *, step: int, totals: Totals, seed: int, label_smoothing: float = 0.0,
                    class_weights: np.ndarray | None = None, accumulate: int = 1, clip_norm: float | None = None,
                    ema: EMA | None = None, world: World | None = None, cast: Callable = contextlib.nullcontext, scaler=None,
                    tensor: Callable = paddle.to_tensor, fetch_every: int = 1,
                    flags: Callable[[], Sequence[float]] = tuple) -> Iterator[int]:
    """Train on each batch and yield the number of optimizer steps done whenever `totals` is up to date.

    step: steps done before. totals: sums of the epoch so far, added to here. schedule: step -> learning rate.
    label_smoothing, class_weights: see `sample_losses`; a batch's loss is the sum of theirs / its number of images.
    accumulate: a batch goes through the network in so many parts; the gradient is that of the whole batch either way.
    clip_norm: largest L2 norm of all gradients together. scaler: a loss scaler for float16.
    tensor: array -> tensor where the model is, such as `runtime.copier` gives.
    fetch_every: steps between two looks at the loss, each of which waits for the device.
    flags: numbers of this process that are summed over the processes into totals.flags, for a common decision.
    A model with auxiliary heads gives (logits, [(weight, logits), ...]) in training: the gradient is that of the loss of all,
    weighted; totals are those of the first.
    Raises NotFinite, naming the step, when a loss is not finite. In several processes `batches` holds this process's
    part of each batch, and the gradient is the mean over the images of all parts.
    An error of `batches` is raised between two steps, and alone after a yield for those that were done.
    In a batch that `data.mixing` has mixed, the loss is linear in the two labels' shares, and so is being right.
    """
    world = world or World()
    model.train()
    weights = None if class_weights is None else tensor(class_weights)
    pending: list[tuple[paddle.Tensor, paddle.Tensor, int]] = []
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
        seed_step(seed, step, world.rank)
        optimizer.set_lr(schedule(step))
        pending.append(_backward(model, batch, label_smoothing, weights, accumulate, world, cast, scaler, tensor))
        _update(model, optimizer, clip_norm, scaler)
        optimizer.clear_grad()
        if ema:
            ema.update(step)
        step += 1
        if len(pending) >= fetch_every:
            _fetch(pending, totals, waited, step, world, flags())
            pending, waited = [], 0.0
            yield step
        started = time.perf_counter()
    if pending and (broken is None or world.size == 1):        # the other processes do not fetch now
        _fetch(pending, totals, waited, step, world, flags())
        yield step
    if broken is not None:
        raise broken


def _update(network: nn.Layer, optimizer: paddle.optimizer.Optimizer, clip_norm: float | None, scaler) -> None:
    if scaler and clip_norm:
        scaler.unscale_(optimizer)
    if clip_norm:                                  # an optimizer's own grad_clip would take each of its groups by itself
        nn.utils.clip_grad_norm_(trainable(network), clip_norm)
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()


def _backward(model: nn.Layer, batch: Batch, label_smoothing: float, class_weights: paddle.Tensor | None, accumulate: int,
              world: World, cast: Callable, scaler, tensor: Callable) -> tuple[paddle.Tensor, paddle.Tensor, int]:
    """Add up the gradient of the mean loss over the whole batch; return (sum of losses, correct, images) of this part."""
    if not len(batch.labels):
        return _join_in(model, batch)
    loss_sum, correct = paddle.zeros([]), paddle.zeros([])
    parts = [part for part in np.array_split(np.arange(len(batch.labels)), accumulate) if len(part)]
    for part in parts:
        images = tensor(batch.images[part] if accumulate > 1 else batch.images)
        targets = [(tensor(batch.labels[part]), batch.share)]
        if batch.others is not None:
            targets.append((tensor(batch.others[part]), 1 - batch.share))
        last = part is parts[-1]
        with contextlib.nullcontext() if last or world.size == 1 else model.no_sync():
            with cast():
                logits, auxiliary = _parts(model(images))
            losses = _target_losses(logits, targets, label_smoothing, class_weights)
            wanted = sum((weight * _target_losses(extra, targets, label_smoothing, class_weights)
                          for weight, extra in auxiliary), losses)
            loss = wanted.sum() * (world.size / batch.total)       # the processes' gradients are averaged
            (scaler.scale(loss) if scaler else loss).backward()
        loss_sum += losses.detach().sum()
        correct += sum(share * _correct(logits.detach(), labels) for labels, share in targets)
    return loss_sum, correct, len(batch.labels)


def _parts(outputs) -> tuple[paddle.Tensor, Sequence[tuple[float, paddle.Tensor]]]:
    """Return (logits, [(weight, logits of an auxiliary head), ...]) of what a model gives in training: that, or logits alone."""
    return outputs if isinstance(outputs, tuple) else (outputs, ())


def _join_in(model: nn.Layer, batch: Batch) -> tuple[paddle.Tensor, paddle.Tensor, int]:
    """Take part in the others' exchange of gradients with zeros: this process has no image of a short last batch."""
    model.eval()                                   # BN's running statistics stay as they are
    getattr(model, "_layers", model).training = True           # but auxiliary heads take part
    logits, auxiliary = _parts(model(paddle.zeros([1, *batch.images.shape[1:]])))
    (sum((extra.sum() for _, extra in auxiliary), logits.sum()) * 0).backward()
    model.train()
    return paddle.zeros([]), paddle.zeros([]), 0


def _fetch(pending: list, totals: Totals, waited: float, step: int, world: World,
           flags: Sequence[float]) -> None:
    losses = paddle.stack([loss for loss, _, _ in pending]).numpy()
    correct = float(paddle.stack([correct for _, correct, _ in pending]).sum())
    count = sum(count for _, _, count in pending)
    numbers = world.sum(np.array([correct, count, waited, *losses, *flags], np.float64)).tolist()
    correct, count, waited = numbers[:3]
    losses, totals.flags = numbers[3:3 + len(pending)], numbers[3 + len(pending):]
    for number, loss in enumerate(losses, step - len(losses) + 1):
        if not np.isfinite(loss):
            raise NotFinite(f"the loss of step {number} is {loss}")
    totals.loss += sum(losses)
    totals.correct += correct
    totals.count += count
    totals.wait += waited / world.size


def predict(model: nn.Layer, batches: Iterable[Batch], *, world: World | None = None,
            tensor: Callable = paddle.to_tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return (logits float32 (N, C), labels int64 (N,)) of every image of a split, in the split's order.

    In several processes `batches` holds this process's part of each batch; all get the whole answer. tensor: as in
    `train_one_epoch`.
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
