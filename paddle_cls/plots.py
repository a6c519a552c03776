"""Figures for VisualDL and the run folder: matplotlib figures from plain arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import binary, metrics

SHOWN = 16                                         # images in the picture of samples


def evaluation(images: np.ndarray, labels: np.ndarray, logits: np.ndarray, classes: Sequence[str],
               threshold: float | None = None) -> dict[str, Figure]:
    """Return {name: figure} of an evaluation: "confusion" and "samples"; for one sigmoid logit also "roc" and "pr".

    images: uint8 (N, H, W, 3); labels: int (N,); logits: float (N, C). threshold: marked on the curves beside 0.5.
    """
    shares = metrics.probabilities(logits)
    figures = {"confusion": confusion_figure(metrics.confusion(logits, labels, len(classes)), classes)}
    if logits.shape[1] > 1:
        shown = images[:SHOWN]
        figures["samples"] = samples_figure(shown, labels[:len(shown)], shares[:len(shown)], classes)
        return figures
    thresholds = (0.5,) if threshold is None else (0.5, threshold)
    figures["roc"], figures["pr"] = roc_figure(logits, labels, thresholds), pr_figure(logits, labels, thresholds)
    for name, places in verdicts(shares[:, 1], labels).items():
        if len(places):
            figures[f"samples_{name}"] = samples_figure(images[places], labels[places], shares[places], classes)
    return figures


def verdicts(scores: np.ndarray, labels: np.ndarray, count: int = 8) -> dict[str, np.ndarray]:
    """Return the places of the `count` surest "right" and "wrong" answers, and of the least sure ones, "unsure".

    scores: float (N,), probability of label 1; over 0.5 is a yes.
    """
    order = np.argsort(-abs(scores - 0.5), kind="stable")
    right = (scores > 0.5) == labels
    return {"right": order[right[order]][:count], "wrong": order[~right[order]][:count], "unsure": order[::-1][:count]}


def roc_figure(logits: np.ndarray, labels: np.ndarray, thresholds: Sequence[float]) -> Figure:
    """Return the ROC curve of one sigmoid logit (N, 1), with its area and the points of some thresholds."""
    from sklearn.metrics import roc_auc_score, roc_curve
    low, high = binary.auc_interval(logits[:, 0], labels)
    wrong, found, _ = roc_curve(labels, logits[:, 0], drop_intermediate=False)
    title = f"area {roc_auc_score(labels, logits[:, 0]):.4f} (95%: {low:.4f} to {high:.4f})"
    points = []
    for threshold in thresholds:
        tp, fp, tn, fn = binary.confusion_counts(binary.probability(logits), labels, threshold)
        points.append((fp / (fp + tn), tp / (tp + fn), threshold))
    return _curve(wrong, found, points, title, "1 - specificity", "sensitivity")


def pr_figure(logits: np.ndarray, labels: np.ndarray, thresholds: Sequence[float]) -> Figure:
    """Return the precision-recall curve of one sigmoid logit (N, 1), with the points of some thresholds."""
    from sklearn.metrics import average_precision_score, precision_recall_curve
    precision, recall, _ = precision_recall_curve(labels, logits[:, 0])
    points = []
    for threshold in thresholds:
        tp, fp, _, fn = binary.confusion_counts(binary.probability(logits), labels, threshold)
        if tp + fp:
            points.append((tp / (tp + fn), tp / (tp + fp), threshold))
    title = f"average precision {average_precision_score(labels, logits[:, 0]):.4f}"
    return _curve(recall, precision, points, title, "recall (sensitivity)", "precision")


def _curve(x: np.ndarray, y: np.ndarray, points: Sequence[tuple[float, float, float]], title: str, xlabel: str,
           ylabel: str) -> Figure:
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, y)
    for across, up, threshold in points:
        axes.plot(across, up, "o", label=f"threshold {threshold:.3f}")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def confusion_figure(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return a confusion matrix as a picture. counts: int (C, C), row = true class, column = predicted."""
    size = max(4.0, 0.45 * len(classes) + 2)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", xticks=range(len(classes)), yticks=range(len(classes)))
    axes.set_xticklabels(classes, rotation=90)
    axes.set_yticklabels(classes)
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, str(count), ha="center", va="center", fontsize=7,
                      color="white" if shares[row, column] > 0.5 else "black")
    return figure


def samples_figure(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return pictures with the network's verdict, green where right and red where wrong.

    images: uint8 (N, H, W, 3); labels: int (N,); probabilities: (N, C).
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.6 * columns, 2.1 * rows), layout="constrained")
    guesses = probabilities.argmax(axis=1)
    for axes, image, label, guess, row in zip(figure.subplots(rows, columns, squeeze=False).flat, images, labels, guesses,
                                              probabilities, strict=False):
        axes.imshow(image)
        axes.set_title(f"{classes[guess]} {row[guess]:.0%}" + ("" if guess == label else f"\n({classes[label]})"),
                       fontsize=8, color="green" if guess == label else "red")
    for axes in figure.axes:
        axes.axis("off")
    return figure


def curves_figure(rows: Sequence[dict]) -> Figure:
    """Return loss and error rate per epoch, of training and validation. rows: the epochs' lines of a metrics.jsonl."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "error_rate"), strict=True):
        for split in ("train", "val"):
            axes.plot([row["epoch"] for row in rows], [row[f"{split}/{name}"] for row in rows], marker=".", label=split)
        axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def rates_figure(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float]) -> Figure:
    """Return loss against learning rate. rates, losses, smoothed: float (N,); marks: {what: a learning rate}."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="lightgrey", label="loss of a batch")
    axes.plot(rates, smoothed, label="smoothed")
    for number, (what, rate) in enumerate(marks.items()):
        axes.axvline(rate, color=f"C{number + 1}", linestyle="--", label=f"{what}: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def grid_figure(settings: Mapping[str, Sequence[str]], runs: Sequence[tuple[Mapping[str, str], float]], ylabel: str) -> Figure:
    """Return a panel a setting: a dot for each run, and a line through the means of its values.

    settings: {name: its values, in order}; runs: (the values of a run, its figure).
    """
    figure = Figure(figsize=(max(4.0, 3.2 * len(settings)), 3.4), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, settings.items(), strict=True):
        groups = [[figure for chosen, figure in runs if chosen[name] == value] for value in values]
        for place, group in enumerate(groups):
            axes.plot([place] * len(group), group, "o", color="C0", alpha=0.6)
        axes.plot([place for place, group in enumerate(groups) if group], [np.mean(group) for group in groups if group],
                  color="C1", label="mean")
        axes.set(xlabel=name, xticks=range(len(values)), xticklabels=values)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(ylabel)
    panels[0].legend()
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
