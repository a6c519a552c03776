"""Figures for VisualDL and the run folder: matplotlib figures from plain arrays."""

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


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
    figure = Figure(figsize=(1.6 * columns, 1.9 * rows), layout="constrained")
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


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
