"""Figures of merit against numbers worked out by hand or another way."""

import dataclasses
import math

import numpy as np
import pytest
from fakes import rgb

from paddle_cls.data.reader import Split
from paddle_cls.evaluation import metrics
from paddle_cls.evaluation.metrics import average_precisions, classification, confusion, losses, predictions, probabilities
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import report

LOGITS = np.array([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(9)]])        # probabilities 1/2, 3/4 and 9/10
LABELS = np.array([0, 0, 0])


def test_probabilities():
    np.testing.assert_allclose(probabilities(LOGITS), [[0.5, 0.5], [0.75, 0.25], [0.1, 0.9]])
    np.testing.assert_allclose(probabilities(np.array([[0.0], [math.log(4)]])), [[0.5, 0.5], [0.2, 0.8]])
    rows = probabilities(np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32) * 100)
    assert rows.dtype == np.float64 and np.abs(rows.sum(axis=1) - 1).max() < 1e-12


def test_losses():
    np.testing.assert_allclose(losses(LOGITS, LABELS), -np.log([0.5, 0.75, 0.1]))
    one = np.array([[math.log(4)], [math.log(4)]])           # a sigmoid of 0.8
    np.testing.assert_allclose(losses(one, np.array([1, 0])), -np.log([0.8, 0.2]))


def test_large_logits_stay_finite():
    large = np.array([[1e4, 0.0], [0.0, -1e4]])
    np.testing.assert_allclose(losses(large, np.array([1, 0])), [1e4, 0])
    np.testing.assert_allclose(losses(np.array([[1e4], [-1e4]]), np.array([0, 1])), [1e4, 1e4])
    assert probabilities(large).tolist() == [[1, 0], [1, 0]] and probabilities(np.array([[-1e4]])).tolist() == [[1, 0]]


def test_predictions():
    assert predictions(np.array([[1, 3, 2], [5, 0, 0]])).tolist() == [1, 0]
    assert predictions(np.array([[0.1], [-0.1], [0.0]])).tolist() == [1, 0, 0]
    assert (predictions(LOGITS) == probabilities(LOGITS).argmax(axis=1)).all()


def test_classification_divides_once_by_the_samples():
    figures = classification(LOGITS, np.array([0, 0, 0])).flat("val/")
    assert figures == pytest.approx({"val/loss": -math.log(0.5 * 0.75 * 0.1) / 3, "val/acc1": 2 / 3, "val/error_rate": 1 / 3,
                                     "val/map": 1.0})
    assert set(classification(LOGITS, LABELS).flat()) == {"loss", "acc1", "error_rate", "map"}
    assert classification(np.array([[2.0], [-1.0]]), np.array([1, 1])).common["acc1"] == 0.5
    with pytest.raises(ValueError, match="no samples to evaluate"):
        classification(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_average_precision_by_hand():
    """Class 0 ranks its samples first and third of four, class 1 the other way round; nobody is of class 2."""
    logits = np.array([[3.0, 0, 0], [1, 2, 0], [2, 0, 0], [0, 4, 0]])
    found = average_precisions(logits, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, np.nan])
    assert classification(logits, np.array([0, 0, 1, 1])).common["map"] == pytest.approx(5 / 6)


def test_it_is_left_out_where_it_would_take_long(monkeypatch):
    monkeypatch.setattr(metrics, "MOST_SCORES", 7)
    assert "map" not in classification(np.zeros((4, 2)), np.array([0, 1, 0, 1])).flat()
    assert "map" in classification(np.zeros((3, 2)), np.array([0, 1, 0])).flat()


def test_confusion_has_a_row_a_true_class():
    logits = np.eye(4)[[1, 1, 2, 0, 3]]                      # predicted 1, 1, 2, 0, 3
    counts = confusion(logits, np.array([1, 1, 0, 0, 2]), 4)
    assert counts.tolist() == [[1, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert confusion(np.array([[1.0], [-1.0]]), np.array([0, 1]), 2).tolist() == [[0, 1], [1, 0]]


def test_one_more_metric_draws_no_curves_of_ten_classes(run_folder, monkeypatch):
    """What is of a yes-or-no network is told by the network, not by what else there is."""
    original = metrics.classification

    def with_more(*args, **kwargs) -> metrics.Metrics:
        found = original(*args, **kwargs)
        return dataclasses.replace(found, common={**found.common, "top5": 0.75})

    monkeypatch.setattr(metrics, "classification", with_more)
    predictor = Predictor.from_checkpoint(run_folder, device="cpu")
    split = Split(np.stack([rgb(i) for i in range(6)]), np.arange(6))
    figures, pngs = report.judge(predictor, split, pictures=0, batch_size=6)
    assert figures["binary"] is None and sorted(pngs) == ["confusion.png", "reliability.png"]
    assert figures["summary"]["top5"] == 0.75      # but it is shown
