"""What all predictions on a split say beyond one accuracy: each class, frequent mistakes, calibration. No Paddle."""

from collections.abc import Sequence

import numpy as np

from . import metrics


def per_class(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], threshold: float | None = None) -> list[dict]:
    """Return, for each class, its name as "class" and what scikit-learn says of it against all the others.

    logits: float (N, C), or (N, 1) of a sigmoid and two classes; labels: int (N,). Keys: "samples" (of this class),
    "answers" (samples called so), "precision", "recall", "f1", and "ap", the average precision of ranking all samples by
    their probability of the class. None is "not defined": all four without a sample, precision without an answer.
    threshold: as in `metrics.predictions`.
    """
    from sklearn.metrics import precision_recall_fscore_support
    numbers, guesses = np.arange(len(classes)), metrics.predictions(logits, threshold)
    precision, recall, f1, samples = precision_recall_fscore_support(labels, guesses, labels=numbers, zero_division=0)
    answers = np.bincount(guesses, minlength=len(classes))
    ranked = metrics.average_precisions(logits, labels)
    rows = []
    for i, name in enumerate(classes):
        some = samples[i] > 0
        rows.append({"class": name, "samples": int(samples[i]), "answers": int(answers[i]),
                     "precision": float(precision[i]) if some and answers[i] else None,
                     "recall": float(recall[i]) if some else None, "f1": float(f1[i]) if some else None,
                     "ap": float(ranked[i]) if some else None})
    return rows


def means(rows: Sequence[dict]) -> dict[str, float]:
    """Return {"map", "recall", "f1"}: the mean of `per_class` over the classes that have samples, each counting the same."""
    there = [row for row in rows if row["samples"]]
    names = {"map": "ap", "recall": "recall", "f1": "f1"}
    return {name: float(np.mean([row[key] for row in there])) for name, key in names.items()}


def mistakes(counts: np.ndarray, classes: Sequence[str], most: int = 10) -> list[dict]:
    """Return the most frequent confusions, {"class", "answer", "count", "share" (of the class's samples)}.

    counts: of `metrics.confusion`.
    """
    wrong = counts - np.diag(np.diag(counts))
    indices = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = [divmod(int(index), len(classes)) for index in indices]
    return [{"class": classes[row], "answer": classes[column], "count": int(wrong[row, column]),
             "share": float(wrong[row, column] / counts[row].sum())} for row, column in cells if wrong[row, column]]


def calibration(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> dict:
    """Return {"ece", "bins"}: whether the network is right as often as it says (Guo et al. 2017, arXiv 1706.04599).

    The confidence is the largest probability of a sample; of a sigmoid, that of the answer at 0.5. Bin m of M holds the
    confidences in ((m - 1) / M, m / M]. The expected calibration error is the mean over the samples of their bin's
    |accuracy - mean confidence|. Each bin: {"low", "high", "samples", "accuracy", "confidence"}, the last two None where it
    is empty.
    """
    confidence = metrics.probabilities(logits).max(axis=1)
    right = metrics.predictions(logits) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows, error = [], 0.0
    for m in range(bins):
        here = index == m
        some = bool(here.any())
        accuracy, sure = (float(values[here].mean()) if some else 0.0 for values in (right, confidence))
        rows.append({"low": m / bins, "high": (m + 1) / bins, "samples": int(here.sum()), "accuracy": accuracy if some else None,
                     "confidence": sure if some else None})
        error += here.mean() * abs(accuracy - sure)
    return {"ece": float(error), "bins": rows}
