"""Figures of merit from all predictions at once: sums over samples, one division at the end. NumPy, no Paddle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import binary

MOST_SCORES = 4_000_000                            # samples x classes of which the mean average precision is computed


@dataclass(frozen=True)
class Metrics:
    """The metrics of a network on a split, by name.

    common: of every network. binary: of a yes-or-no network, `binary.metrics`; None for a network with an output for each
    class, and where all samples have one label.
    """

    common: dict[str, float]
    binary: dict[str, float] | None = None

    def flat(self, prefix: str = "") -> dict[str, float]:
        """Return all in one dictionary, each name behind `prefix`."""
        return {f"{prefix}{name}": value for name, value in (self.common | (self.binary or {})).items()}


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross entropy of each sample in nats, float64 (N,).

    logits (N, C): softmax cross entropy; logits (N, 1): binary cross entropy of a sigmoid. labels int (N,).
    """
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        z = logits[:, 0]
        return np.logaddexp(0, z) - labels * z
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return log_sum - logits[np.arange(len(labels)), labels]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return float64 (N, C) that sum to 1 a row; one sigmoid logit gives (N, 2): its complement and itself."""
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def mean_of_views(logits: Sequence[np.ndarray]) -> np.ndarray:
    """Return logits float32 (N, C) whose probabilities are the mean of the probabilities of several views' logits (N, C)."""
    both = np.stack(logits).astype(np.float64)
    single = both.shape[2] == 1
    if single:                                     # a sigmoid is a softmax beside a logit of 0
        both = np.concatenate([np.zeros_like(both), both], axis=2)
    logs = both - np.logaddexp.reduce(both, axis=2, keepdims=True)
    mean = np.logaddexp.reduce(logs, axis=0) - np.log(len(logits))
    return (mean[:, 1:] - mean[:, :1] if single else mean).astype(np.float32)


def predictions(logits: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Return the most likely class of each sample, int64 (N,); one sigmoid logit: 1 where it is over 0.

    threshold: with one sigmoid logit, the probability over which the answer is 1, instead of 0.5.
    """
    if threshold is not None and logits.shape[1] == 1:
        return (probabilities(logits)[:, 1] > threshold).astype(np.int64)
    return (logits[:, 0] > 0).astype(np.int64) if logits.shape[1] == 1 else logits.argmax(axis=1)


def classification(logits: np.ndarray, labels: np.ndarray, *, threshold: float | None = None) -> Metrics:
    """Return the metrics over the samples: "loss", "acc1", "error_rate" and "map", the last three in [0, 1].

    logits (N, C), labels int (N,). "map" is the mean of `average_precisions` over the classes that occur; not there where it
    would take seconds (over MOST_SCORES logits), nor with one sigmoid logit. threshold: what `binary.metrics` takes.
    Raises ValueError if there are no samples.
    """
    if not len(labels):
        raise ValueError("no samples to evaluate")
    acc1 = float((predictions(logits) == labels).mean())
    common = {"loss": float(losses(logits, labels).mean()), "acc1": acc1, "error_rate": 1 - acc1}
    if 1 < logits.shape[1] <= MOST_SCORES / len(labels):
        common["map"] = float(np.nanmean(average_precisions(logits, labels)))
    yes_or_no = logits.shape[1] == 1 and len(np.unique(labels)) == 2
    return Metrics(common, binary.metrics(logits, labels, threshold) if yes_or_no else None)


def average_precisions(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return scikit-learn's average precision of each class, of ranking all samples by their probability of it: float64 (C,).

    logits: float (N, C), or (N, 1) of a sigmoid and two classes; labels: int (N,). A class without a sample has nan.
    """
    from sklearn.metrics import average_precision_score
    single = logits.shape[1] == 1                  # its probabilities may be equal where the logits are not
    scores = np.concatenate([-logits, logits], axis=1) if single else probabilities(logits)
    return np.array([average_precision_score(labels == label, scores[:, label]) if (labels == label).any() else np.nan
                     for label in range(scores.shape[1])])


def confusion(logits: np.ndarray, labels: np.ndarray, num_classes: int, threshold: float | None = None) -> np.ndarray:
    """Return counts int64 (num_classes, num_classes): row = the true class, column = the predicted one (`predictions`)."""
    cells = np.asarray(labels) * num_classes + predictions(logits, threshold)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
