"""One chart a function: matplotlib figures from plain arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import printable
from . import binary, drawing
from .drawing import pixels, png

drawing.load()
from matplotlib import colormaps  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

__all__ = ["confusion_chart", "curves_chart", "grid_chart", "overlay", "pixels", "png", "pr_chart", "rates_chart",
           "reliability_chart", "roc_chart", "row_shares", "samples_chart", "short"]


def roc_chart(logits: np.ndarray, labels: np.ndarray, thresholds: Sequence[float]) -> Figure:
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


def pr_chart(logits: np.ndarray, labels: np.ndarray, thresholds: Sequence[float]) -> Figure:
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


def confusion_chart(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return a confusion matrix as a picture: colour, count and share of the row; to 20 classes.

    Of more it leaves out the shares and the zeros, of more than 100 all but the colours. counts: int (C, C), row = true
    class, column = predicted.
    """
    number = len(classes)
    few, some = number <= 20, number <= 100
    size = max(4.0, (0.55 if few else 0.24) * number + 2) if some else 12.0        # inches
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = row_shares(counts)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if not some:
        return figure
    names, family = [short(name) for name in classes], drawing.families(classes)
    axes.set_xticks(range(number), names, rotation=90, parse_math=False, fontfamily=family)    # a name may hold a dollar sign
    axes.set_yticks(range(number), names, parse_math=False, fontfamily=family)
    for (row, column), count in np.ndenumerate(counts):
        if count or few:
            share = f"\n{shares[row, column]:.0%}" if count and few else ""
            axes.text(column, row, f"{count}{share}", ha="center", va="center", fontsize=7 if few else 5,
                      color="white" if shares[row, column] > 0.5 else "black")
    return figure


def short(name: str, most: int = 24) -> str:
    """Return the name of a class as a chart has room for it: on one line, the middle left out where it is long."""
    name = printable(name)
    return name if len(name) <= most else f"{name[:most // 2]}…{name[-most // 2 + 1:]}"


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Return a confusion matrix as shares of its rows, float64 in [0, 1]; a row of zeros stays zeros."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def reliability_chart(bins: Sequence[dict], ece: float) -> Figure:
    """Return accuracy against confidence, and below how many samples there are. bins: of `per_class.calibration`."""
    figure = Figure(figsize=(4.5, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for row in bins:
        width = row["high"] - row["low"]
        index = {"x": row["low"], "width": width, "align": "edge", "edgecolor": "white"}
        if row["samples"]:
            above.bar(height=row["accuracy"], color="tab:blue", **index)
            above.plot(row["confidence"], row["accuracy"], "o", color="black", markersize=3)
        below.bar(height=row["samples"], color="tab:gray", **index)
    above.plot([0, 1], [0, 1], "--", color="tab:red", label="as often right as said")
    above.set(ylabel="accuracy", title=f"expected calibration error {ece:.4f}", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="confidence", ylabel="samples")
    above.legend(loc="upper left")
    return figure


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3): `image` uint8 (H, W, 3) under the colours, blue to red, of `heat` float (H, W) in [0, 1].

    What is 0 stays as it is; the hottest place has 60% colour.
    """
    colours = colormaps["turbo"](heat)[:, :, :3] * 255
    cover = 0.6 * heat[:, :, None]
    return (image * (1 - cover) + colours * cover).round().astype(np.uint8)


def samples_chart(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str],
                  guesses: np.ndarray | None = None) -> Figure:
    """Return pictures with the network's verdict and its probability, green where right and red where wrong.

    images: uint8 (N, H, W, 3); labels: int (N,); probabilities: (N, C). guesses: the verdicts, int (N,); None takes the
    most likely class.
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.6 * columns, 2.1 * rows), layout="constrained")
    guesses, family = probabilities.argmax(axis=1) if guesses is None else guesses, drawing.families(classes)
    for axes, image, label, guess, row in zip(figure.subplots(rows, columns, squeeze=False).flat, images, labels, guesses,
                                              probabilities, strict=False):
        axes.imshow(image)
        axes.set_title(f"{short(classes[guess])} {row[guess]:.0%}" + ("" if guess == label else f"\n({short(classes[label])})"),
                       fontsize=8, color="green" if guess == label else "red", parse_math=False, fontfamily=family)
    for axes in figure.axes:
        axes.axis("off")
    return figure


def curves_chart(rows: Sequence[Mapping]) -> Figure:
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


def rates_chart(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float]) -> Figure:
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


def grid_chart(settings: Mapping[str, Sequence[str]], runs: Sequence[tuple[Mapping[str, str], float]], ylabel: str) -> Figure:
    """Return a panel a setting: a dot for each run, and a line through the means of its values.

    settings: {name: its values, in order}; runs: (the values of a run, its figure).
    """
    figure = Figure(figsize=(max(4.0, 3.2 * len(settings)), 3.4), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, settings.items(), strict=True):
        groups = [[figure for chosen, figure in runs if chosen[name] == value] for value in values]
        for index, group in enumerate(groups):
            axes.plot([index] * len(group), group, "o", color="C0", alpha=0.6)
        axes.plot([index for index, group in enumerate(groups) if group], [np.mean(group) for group in groups if group],
                  color="C1", label="mean")
        axes.set_xticks(range(len(values)), [short(value) for value in values], parse_math=False,
                        fontfamily=drawing.families(values))
        axes.set_xlabel(name, parse_math=False)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(ylabel)
    panels[0].legend()
    return figure
