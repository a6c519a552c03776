"""Which charts an evaluation has: of which a training draws some again and again, as pixels for VisualDL and the run folder."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 16                                         # images in the picture of samples
Draw = Callable[[Sequence[Mapping], np.ndarray, np.ndarray, np.ndarray, Sequence[str], float | None], dict[str, np.ndarray]]


def drawer() -> Draw:
    """Load matplotlib, and return `draw`.

    To be called while nothing else is being read, as loading leaves the working folder for a moment.
    """
    from . import drawing
    drawing.load()
    return draw


def draw(rows: Sequence[Mapping], images: np.ndarray, labels: np.ndarray, logits: np.ndarray, classes: Sequence[str],
         threshold: float | None = None) -> dict[str, np.ndarray]:
    """Return {name: uint8 (H, W, 3)} of a training so far: "curves" and all of `evaluation`, one drawn after the other.

    rows: the epochs' lines of a metrics.jsonl; the others: see `evaluation`.
    """
    from . import plots
    pictures = {"curves": plots.pixels(plots.curves_chart(rows))}
    for name, figure in evaluation(images, labels, logits, classes, threshold).items():
        pictures[name] = plots.pixels(figure)
    return pictures


def evaluation(images: np.ndarray, labels: np.ndarray, logits: np.ndarray, classes: Sequence[str],
               threshold: float | None = None) -> "dict[str, Figure]":
    """Return {name: figure} of an evaluation: "confusion" and "samples"; for one sigmoid logit also "roc" and "pr".

    images: uint8 (N, H, W, 3); labels: int (N,); logits: float (N, C). threshold: of one sigmoid logit, the probability over
    which the verdict is yes (None: 0.5); marked on the curves beside 0.5.
    """
    from . import plots
    shares = metrics.probabilities(logits)
    guesses = metrics.predictions(logits, threshold)
    charts = {"confusion": plots.confusion_chart(metrics.confusion(logits, labels, len(classes), threshold), classes)}
    if logits.shape[1] > 1:
        shown = images[:SHOWN]
        charts["samples"] = plots.samples_chart(shown, labels[:len(shown)], shares[:len(shown)], classes)
        return charts
    thresholds = (0.5,) if threshold is None else (0.5, threshold)
    charts["roc"], charts["pr"] = (chart(logits, labels, thresholds) for chart in (plots.roc_chart, plots.pr_chart))
    for name, places in verdicts(shares, labels, threshold=threshold).items():
        if len(places):
            charts[f"samples_{name}"] = plots.samples_chart(images[places], labels[places], shares[places], classes,
                                                            guesses[places])
    return charts


def verdicts(probabilities: np.ndarray, labels: np.ndarray, count: int = 8, *,
             threshold: float | None = None) -> dict[str, np.ndarray]:
    """Return the places of the `count` surest "right" and "wrong" answers, and of the least sure ones, "unsure".

    probabilities: float (N, C), of which the largest is the answer and how sure it is; labels: int (N,). threshold: of a
    yes-or-no network with probabilities (N, 2): over it the answer is class 1, and the farther from it the surer.
    """
    if threshold is None:
        sure, answers = probabilities.max(axis=1), probabilities.argmax(axis=1)
    else:
        sure, answers = abs(probabilities[:, 1] - threshold), (probabilities[:, 1] > threshold).astype(int)
    order = np.argsort(-sure, kind="stable")
    right = answers == labels
    return {"right": order[right[order]][:count], "wrong": order[~right[order]][:count], "unsure": order[::-1][:count]}
