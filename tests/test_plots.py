"""The figures of a report, read back from matplotlib."""

import numpy as np

from paddle_cls import plots


def test_a_confusion_matrix_of_100_classes_shows_its_counts_and_of_more_only_colours():
    counts = np.diag(np.arange(100)) + np.eye(100, k=1, dtype=int)
    texts = [text.get_text() for text in plots.confusion_figure(counts, [f"c{i}" for i in range(100)]).axes[0].texts]
    assert sorted(texts) == sorted(str(c) for c in counts.flat if c)
    large = plots.confusion_figure(np.eye(2000, dtype=int), ["c"] * 2000)
    assert not large.axes[0].texts and large.get_size_inches().max() == 12 and "c" not in [
        label.get_text() for label in large.axes[0].get_xticklabels()]
    texts = [text.get_text() for text in plots.confusion_figure(np.array([[3, 1], [0, 0]]), ("a", "b")).axes[0].texts]
    assert texts == ["3\n75%", "1\n25%", "0", "0"]


def test_heat_is_laid_over_a_picture():
    image = np.full((2, 2, 3), 100, np.uint8)
    shown = plots.overlay(image, np.array([[0.0, 1.0], [0.0, 0.5]]))
    assert (shown[:, 0] == 100).all() and shown[0, 1, 0] > 100 > shown[0, 1, 2]      # hot is red
    assert plots.reliability_figure([{"low": 0.0, "high": 1.0, "samples": 4, "accuracy": 0.5, "confidence": 0.75}], 0.25
                                    ).axes[0].lines[0].get_xydata().tolist() == [[0.75, 0.5]]
