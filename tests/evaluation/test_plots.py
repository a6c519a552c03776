"""The figures of a report, read back from matplotlib."""

import numpy as np
import pytest

from paddle_cls.evaluation import plots


def test_a_confusion_matrix_of_100_classes_shows_its_counts_and_of_more_only_colours():
    counts = np.diag(np.arange(100)) + np.eye(100, k=1, dtype=int)
    texts = [text.get_text() for text in plots.confusion_chart(counts, [f"c{i}" for i in range(100)]).axes[0].texts]
    assert sorted(texts) == sorted(str(c) for c in counts.flat if c)
    large = plots.confusion_chart(np.eye(2000, dtype=int), ["c"] * 2000)
    assert not large.axes[0].texts and large.get_size_inches().max() == 12 and "c" not in [
        label.get_text() for label in large.axes[0].get_xticklabels()]
    texts = [text.get_text() for text in plots.confusion_chart(np.array([[3, 1], [0, 0]]), ("a", "b")).axes[0].texts]
    assert texts == ["3\n75%", "1\n25%", "0", "0"]


def test_heat_is_laid_over_a_picture():
    image = np.full((2, 2, 3), 100, np.uint8)
    shown = plots.overlay(image, np.array([[0.0, 1.0], [0.0, 0.5]]))
    assert (shown[:, 0] == 100).all() and shown[0, 1, 0] > 100 > shown[0, 1, 2]      # hot is red
    assert plots.reliability_chart([{"low": 0.0, "high": 1.0, "samples": 4, "accuracy": 0.5, "confidence": 0.75}], 0.25
                                   ).axes[0].lines[0].get_xydata().tolist() == [[0.75, 0.5]]


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name, shown", [
    ("$x$", "$x$"), ("a_b^{c", "a_b^{c"), (r"$\frac{1}", r"$\frac{1}"), ("狗", "狗"), ("<b>&", "<b>&"), ("a\x1b\nb", r"a\x1b\nb"),
    ("0123456789" * 20, "012345678901…90123456789")])
def test_names_are_drawn_as_they_are_and_in_the_room_there_is(name, shown):
    classes = (name, "b")
    confusion = plots.confusion_chart(np.eye(2, dtype=int), classes)
    assert [label.get_text() for label in confusion.axes[0].get_yticklabels()] == [shown, "b"]
    samples = plots.samples_chart(np.zeros((1, 8, 8, 3), np.uint8), np.array([0]), np.array([[0.25, 0.75]]), classes)
    assert samples.axes[0].get_title() == f"b 75%\n({shown})" and len(shown) <= 24
    grid = plots.grid_chart({"augment": [name, "b"]}, [({"augment": name}, 0.5), ({"augment": "b"}, 0.25)], "acc")
    assert [label.get_text() for label in grid.axes[0].get_xticklabels()] == [shown, "b"]
    for figure in (confusion, samples, grid):
        assert plots.pixels(figure).std() > 0
