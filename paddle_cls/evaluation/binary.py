"""Figures of merit of a yes-or-no question, from all predictions at once. NumPy and scikit-learn, no Paddle."""

import math

import numpy as np


def metrics(logits: np.ndarray, labels: np.ndarray, threshold: float | None = None) -> dict[str, float]:
    """Return what a clinic asks of a test, over all samples.

    logits: float (N, 1), of label 1. labels: int (N,), 0 or 1. Keys: "auc" (area under the ROC curve, by scikit-learn) with
    its 95% interval "auc_low", "auc_high" (`auc_interval`); "sensitivity" (share of the ones found), "specificity" (share
    of the zeros left alone), and the counts "tp", "fp", "tn", "fn", where a probability over 0.5 is a yes. With a
    `threshold` in (0, 1), chosen on other samples, also "threshold", "threshold_acc1", "threshold_sensitivity" and
    "threshold_specificity". Raises ValueError unless both labels occur.
    """
    from sklearn.metrics import roc_auc_score
    scores, labels = probability(logits), np.asarray(labels)
    _both(labels)
    low, high = auc_interval(logits[:, 0], labels)           # a sigmoid's values may be equal where the logits are not
    tp, fp, tn, fn = confusion_counts(scores, labels, 0.5)
    answer = {"auc": float(roc_auc_score(labels, logits[:, 0])), "auc_low": low, "auc_high": high,
              "sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp), "tp": tp, "fp": fp, "tn": tn, "fn": fn}
    if threshold is not None:
        tp, fp, tn, fn = confusion_counts(scores, labels, threshold)
        answer.update(threshold=threshold, threshold_acc1=(tp + tn) / len(labels), threshold_sensitivity=tp / (tp + fn),
                      threshold_specificity=tn / (tn + fp))
    return answer


def probability(logits: np.ndarray) -> np.ndarray:
    """Return the sigmoid of logits (N, 1), float64 (N,)."""
    z = np.asarray(logits, np.float64)[:, 0]
    return np.exp(-np.logaddexp(0, -z))


def confusion_counts(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[int, int, int, int]:
    """Return (true yes, false yes, true no, false no), where a score over `threshold` is a yes."""
    from sklearn.metrics import confusion_matrix
    tn, fp, fn, tp = confusion_matrix(labels, scores > threshold, labels=[0, 1]).ravel().tolist()
    return tp, fp, tn, fn


def auc_interval(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the area under the ROC curve, cut to [0, 1] (DeLong et al. 1988).

    The variance of the area is that of each one's share of the zeros below it, and of each zero's share of the ones above
    it; a tie counts half. With fewer than two samples of a label, or all well separated, it has no width and says nothing.
    """
    ones, zeros = scores[labels == 1], scores[labels == 0]
    wins = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)      # (ones, zeros)
    area = wins.mean()
    variance = 0.0
    for shares in (wins.mean(axis=1), wins.mean(axis=0)):
        variance += shares.var(ddof=1) / len(shares) if len(shares) > 1 else 0.0
    half = 1.959964 * math.sqrt(variance)
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def choose_threshold(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the probability over which to say yes, for the largest sensitivity + specificity (Youden 1950) on these samples.

    Half way between two neighbouring scores; of equally good places that nearest to 0.5. Use samples that the network was
    not trained on and that it is not judged by. Raises ValueError unless both labels occur.
    """
    scores, labels = probability(logits), np.asarray(labels)
    _both(labels)
    places = np.unique(scores)
    places = (places[1:] + places[:-1]) / 2 if len(places) > 1 else np.array([0.5])
    places = places[np.argsort(abs(places - 0.5), kind="stable")]
    yes = scores[:, None] > places                                       # (N, places)
    quality = yes[labels == 1].mean(axis=0) - yes[labels == 0].mean(axis=0)
    return float(places[np.argmax(quality.round(12))])


def _both(labels: np.ndarray) -> None:
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(f"labels {np.unique(labels).tolist()}: samples of both 0 and 1 are needed")
