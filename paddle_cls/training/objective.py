"""What a training makes small: the loss of each sample, from logits and labels."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import paddle
import paddle.nn.functional as F

# What a network gives in training: logits (N, C), or those and [(weight, logits of an auxiliary head), ...].
Outputs: TypeAlias = paddle.Tensor | tuple[paddle.Tensor, Sequence[tuple[float, paddle.Tensor]]]


class Targets(NamedTuple):
    """What the images of a batch show. Of mixed images (Zhang et al. 2018) `lam` shows `labels`, the rest `labels_b`."""

    labels: paddle.Tensor                          # int64 (N,)
    labels_b: paddle.Tensor | None = None          # int64 (N,)
    lam: float = 1.0                               # in [0, 1]

    def shares(self) -> list[tuple[paddle.Tensor, float]]:
        """Return [(labels, their share of the target), ...]."""
        first = (self.labels, self.lam)
        return [first] if self.labels_b is None else [first, (self.labels_b, 1 - self.lam)]


class Objective:
    """Cross entropy of each sample: of a softmax where logits are (N, C), of a sigmoid where they are (N, 1)."""

    def __init__(self, label_smoothing: float = 0.0, class_weights: np.ndarray | None = None) -> None:
        """label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2015, section 7).

        class_weights: float32 (classes,), the factor of a sample's loss by its label; None: all 1.
        """
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else paddle.to_tensor(class_weights)

    def losses(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Return the loss of each sample, float32 (N,). logits: float (N, C) or (N, 1); labels: int64 (N,)."""
        classes, smoothing = logits.shape[1], self.label_smoothing
        logits = logits.astype("float32")
        if classes == 1:
            targets = labels.astype("float32") * (1 - smoothing) + smoothing / 2
            losses = F.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")
        elif smoothing:
            targets = F.label_smooth(F.one_hot(labels, classes), epsilon=smoothing)
            losses = F.cross_entropy(logits, targets, soft_label=True, reduction="none").reshape([-1])
        else:
            losses = F.cross_entropy(logits, labels, reduction="none").reshape([-1])
        return losses if self.class_weights is None else losses * paddle.gather(self.class_weights, labels)

    def mixed(self, logits: paddle.Tensor, targets: Targets) -> paddle.Tensor:
        """Return the loss of each sample, float32 (N,): linear in the shares of its target."""
        return sum(share * self.losses(logits, labels) for labels, share in targets.shares())

    def __call__(self, outputs: Outputs, targets: Targets) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return (the loss of each sample, that with the auxiliary heads' losses by their weights), float32 (N,) each.

        The gradient is that of the second; what is reported is the first.
        """
        logits, auxiliary = heads(outputs)
        losses = self.mixed(logits, targets)
        return losses, sum((weight * self.mixed(extra, targets) for weight, extra in auxiliary), losses)


def heads(outputs: Outputs) -> tuple[paddle.Tensor, Sequence[tuple[float, paddle.Tensor]]]:
    """Return (logits, [(weight, logits of an auxiliary head), ...]) of what a network gives in training."""
    return outputs if isinstance(outputs, tuple) else (outputs, ())


def correct(logits: paddle.Tensor, targets: Targets) -> paddle.Tensor:
    """Return how many samples are right, float32 (): a mixed one counts by the share of its guess in its target."""
    guess = (logits[:, 0] > 0).astype("int64") if logits.shape[1] == 1 else logits.argmax(axis=1)
    return sum(share * (guess == labels).astype("float32").sum() for labels, share in targets.shares())
