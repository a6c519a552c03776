"""Figures per class, frequent mistakes and calibration, against counts by hand and against scikit-learn."""

import json
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from paddle_cls.evaluation import metrics, per_class

# Six samples of three classes, of which nobody is c; the probabilities of a: 0.7 0.5 0.2 0.6 0.3 0.1
SHARES = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]])
HAND, HAND_LABELS = np.log(SHARES), np.array([0, 0, 0, 1, 1, 1])


def many(classes: int = 7, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, classes, count)
    return (rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]).astype(np.float32), labels


def test_each_class_equals_a_count_by_hand():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b, c = per_class.per_class(HAND, HAND_LABELS, ("a", "b", "c"))
    # Answers: a a c a b b. Ranked by a: 0.7 (a), 0.6 (b), 0.5 (a), 0.3 (b), 0.2 (a), 0.1 (b).
    assert a == pytest.approx({"class": "a", "samples": 3, "answers": 3, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3,
                               "ap": (1 / 1 + 2 / 3 + 3 / 5) / 3})
    assert (b["precision"], b["recall"], b["f1"]) == pytest.approx((1, 2 / 3, 0.8))
    assert c == {"class": "c", "samples": 0, "answers": 1, "precision": None, "recall": None, "f1": None, "ap": None}
    means = per_class.means([a, b, c])
    assert means == pytest.approx({"map": (a["ap"] + b["ap"]) / 2, "recall": 2 / 3, "f1": (2 / 3 + 0.8) / 2})
    json.dumps([a, b, c], allow_nan=False)


def test_a_class_that_is_never_answered_has_no_precision_but_a_recall_of_0():
    row = per_class.per_class(np.array([[1.0, 0.0], [1.0, 0.5]]), np.array([0, 1]), ("a", "b"))[1]
    assert (row["precision"], row["recall"], row["f1"], row["ap"]) == (None, 0, 0, 1)


def test_each_class_equals_scikit_learns():
    logits, labels = many()
    rows = per_class.per_class(logits, labels, list("abcdefg"))
    report = sk.classification_report(labels, logits.argmax(axis=1), output_dict=True)
    for i, row in enumerate(rows):
        expected = report[str(i)]
        assert (row["precision"], row["recall"], row["f1"], row["samples"]) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"], expected["support"]))
    hot, shares = np.eye(7)[labels], metrics.probabilities(logits)
    assert [row["ap"] for row in rows] == pytest.approx(sk.average_precision_score(hot, shares, average=None).tolist())
    means = per_class.means(rows)
    assert means["map"] == pytest.approx(sk.average_precision_score(hot, shares))
    assert means["recall"] == pytest.approx(sk.balanced_accuracy_score(labels, logits.argmax(axis=1)))
    assert means["f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert np.array_equal(metrics.confusion(logits, labels, 7), sk.confusion_matrix(labels, logits.argmax(axis=1)))


def test_one_sigmoid_logit_is_two_classes():
    logits, labels = np.array([[60.0], [50.0], [-1.0], [-2.0]]), np.array([1, 0, 1, 0])
    no, yes = per_class.per_class(logits, labels, ("no", "yes"))
    assert yes["ap"] == pytest.approx(sk.average_precision_score(labels, logits[:, 0])) == (1 + 2 / 3) / 2
    assert no["ap"] == pytest.approx(sk.average_precision_score(1 - labels, -logits[:, 0]))
    assert (yes["precision"], no["recall"]) == (0.5, 0.5)


def test_mistakes_are_sorted_by_how_often_they_happen():
    counts = np.array([[5, 0, 2], [3, 7, 0], [1, 0, 0]])
    found = per_class.mistakes(counts, ("a", "b", "c"))
    assert [(row["class"], row["answer"], row["count"]) for row in found] == [("b", "a", 3), ("a", "c", 2), ("c", "a", 1)]
    assert [row["share"] for row in found] == pytest.approx([0.3, 2 / 7, 1])
    assert len(per_class.mistakes(counts, ("a", "b", "c"), most=1)) == 1
    assert per_class.mistakes(np.diag([3, 0]), ("a", "b")) == []


def test_calibration_equals_a_count_by_hand():
    # Confidences 0.7 0.5 0.5 0.6 0.6 0.8, right: yes yes no no yes yes; five bins, each with its upper end.
    found = per_class.calibration(HAND, HAND_LABELS, bins=5)
    assert [row["samples"] for row in found["bins"]] == [0, 0, 4, 2, 0]
    assert found["bins"][2] == pytest.approx({"low": 0.4, "high": 0.6, "samples": 4, "accuracy": 0.5, "confidence": 0.55})
    assert (found["bins"][0]["accuracy"], found["bins"][0]["confidence"]) == (None, None)
    assert found["ece"] == pytest.approx(4 / 6 * 0.05 + 2 / 6 * abs(1 - 0.75))


def test_calibration_of_one_sigmoid_logit_takes_the_answer_at_a_half():
    found = per_class.calibration(np.log([[9.0], [0.25]]), np.array([1, 1]))     # yes with 0.9: right; no with 0.8: wrong
    assert found["ece"] == pytest.approx((0.1 + 0.8) / 2) and len(found["bins"]) == 15
    assert per_class.calibration(np.array([[1e3], [-1e3]]), np.array([1, 0]))["ece"] == 0


def test_a_network_that_is_right_as_often_as_it_says():
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(4), 20000)
    labels = (rng.random(20000)[:, None] > shares.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    assert per_class.calibration(np.log(shares), labels)["ece"] < 0.012
    assert per_class.calibration(3 * np.log(shares), labels)["ece"] > 0.1
