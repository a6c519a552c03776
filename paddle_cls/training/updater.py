"""One optimizer step of a batch: forward and backward, in parts if need be, clip, update, average."""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from ..data.reader import Batch
from ..paddle_internals import unwrapped
from ..parallel.world import World
from ..system.runtime import seed_step
from .objective import Objective, Targets, correct, heads
from .optimizers import EMA, Schedule, trainable


class StepSums(NamedTuple):
    """Sums over this process's part of a batch, of so many images. The tensors are () float32, still on the device."""

    loss: paddle.Tensor
    correct: paddle.Tensor
    images: int


class Updater:
    """Changes the weights of a network, a batch a step."""

    def __init__(self, network: nn.Layer, optimizer: paddle.optimizer.Optimizer, schedule: Schedule, *, seed: int = 0,
                 clip_norm: float | None = None, accumulate: int = 1, ema: EMA | None = None,
                 scaler: "paddle.amp.GradScaler | None" = None,
                 cast: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
                 tensor: Callable[[np.ndarray], paddle.Tensor] = paddle.to_tensor, world: World | None = None) -> None:
        """network: as `World.parallel` gives it in several processes. schedule: step -> learning rate.

        seed: of dropout, with the step. clip_norm: largest L2 norm of all gradients together. accumulate: a batch goes
        through the network in so many parts; the gradient is that of the whole batch either way. scaler: a loss scaler for
        float16. cast: a context for the forward pass. tensor: array -> tensor where the network is (`runtime.copier`).
        world: in several processes a Batch is this process's part of one, and the gradient is the mean over the images of
        all parts.
        """
        self.network, self.optimizer, self.schedule, self.seed = network, optimizer, schedule, seed
        self.clip_norm, self.accumulate, self.ema, self.scaler = clip_norm, accumulate, ema, scaler
        self.cast, self.tensor, self.world = cast, tensor, world or World()

    def step(self, batch: Batch, objective: Objective, step: int) -> StepSums:
        """Make optimizer step `step` (from 0) on a batch; nothing waits for the device."""
        seed_step(self.seed, step, self.world.rank)
        self.optimizer.set_lr(self.schedule(step))
        sums = self.backward(batch, objective)
        self._update()
        self.optimizer.clear_grad()
        if self.ema:
            self.ema.update(step)
        return sums

    def backward(self, batch: Batch, objective: Objective) -> StepSums:
        """Add up the gradient of the mean loss over the whole batch; return the sums of this part."""
        if not len(batch.labels):
            return self._join_in(batch)
        loss_sum, right = paddle.zeros([]), paddle.zeros([])
        parts = [part for part in np.array_split(np.arange(len(batch.labels)), self.accumulate) if len(part)]
        for part in parts:
            images = self.tensor(batch.images[part] if self.accumulate > 1 else batch.images)
            second = None if batch.labels_b is None else self.tensor(batch.labels_b[part])
            targets = Targets(self.tensor(batch.labels[part]), second, batch.lam)
            last = part is parts[-1]
            with contextlib.nullcontext() if last or self.world.size == 1 else self.network.no_sync():
                with self.cast():
                    outputs = self.network(images)
                losses, wanted = objective(outputs, targets)
                loss = wanted.sum() * (self.world.size / batch.total)          # the processes' gradients are averaged
                (self.scaler.scale(loss) if self.scaler else loss).backward()
            loss_sum += losses.detach().sum()
            right += correct(heads(outputs)[0].detach(), targets)
        return StepSums(loss_sum, right, len(batch.labels))

    def _update(self) -> None:
        if self.scaler and self.clip_norm:
            self.scaler.unscale_(self.optimizer)
        if self.clip_norm:                         # an optimizer's own grad_clip would take each of its groups by itself
            nn.utils.clip_grad_norm_(trainable(self.network), self.clip_norm)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()

    def _join_in(self, batch: Batch) -> StepSums:
        """Take part in the others' exchange of gradients with zeros: this process has no image of a short last batch."""
        self.network.eval()                        # BN's running statistics stay as they are
        unwrapped(self.network).training = True    # but auxiliary heads take part
        logits, auxiliary = heads(self.network(paddle.zeros([1, *batch.images.shape[1:]])))
        (sum((extra.sum() for _, extra in auxiliary), logits.sum()) * 0).backward()
        self.network.train()
        return StepSums(paddle.zeros([]), paddle.zeros([]), 0)
