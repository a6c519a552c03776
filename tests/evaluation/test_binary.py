"""The figures of a yes-or-no network: against counts by hand, against scikit-learn, and whatever the batches are."""

import numpy as np
import pytest
from sklearn import metrics as sk

from paddle_cls.data import Data
from paddle_cls.data.images.transforms import HALF
from paddle_cls.data.reader import Split, batches
from paddle_cls.errors import UserError
from paddle_cls.evaluation import binary, charts, metrics

# probabilities 0.9, 0.8, 0.4, 0.2, 0.6, 0.1, 0.3 of four ones and three zeros
HAND = np.log(np.array([[9.0], [4.0], [2 / 3], [0.25], [1.5], [1 / 9], [3 / 7]]))
HAND_LABELS = np.array([1, 1, 1, 1, 0, 0, 0])


def many(count: int = 301) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, 1), some of them equal, and labels (N,)."""
    rng = np.random.default_rng(3)
    labels = (rng.random(count) < 0.4).astype(int)
    return (rng.normal(size=count) + labels).round(1)[:, None].astype(np.float32), labels


def test_figures_equal_a_count_by_hand():
    figures = binary.metrics(HAND, HAND_LABELS, threshold=0.35)
    # over 0.5: 0.9 0.8 (ones), 0.6 (zero); over 0.35: 0.4 more. Of 12 pairs one beats zero in 3 + 3 + 2 + 1.
    assert [figures[k] for k in ("tp", "fp", "tn", "fn")] == [2, 1, 2, 2]
    assert figures["auc"] == pytest.approx(9 / 12)
    assert (figures["sensitivity"], figures["specificity"]) == pytest.approx((0.5, 2 / 3))
    assert (figures["threshold_sensitivity"], figures["threshold_specificity"]) == pytest.approx((0.75, 2 / 3))
    assert figures["threshold_acc1"] == pytest.approx(5 / 7)
    assert metrics.classification(HAND, HAND_LABELS).common["acc1"] == pytest.approx(4 / 7)
    assert "threshold" not in metrics.classification(HAND, HAND_LABELS).flat()


def test_figures_equal_scikit_learns():
    logits, labels = many()
    shares = 1 / (1 + np.exp(-logits[:, 0].astype(float)))
    figures = metrics.classification(logits, labels, threshold=0.3).flat("val/")
    assert figures["val/auc"] == pytest.approx(sk.roc_auc_score(labels, shares), abs=1e-12)
    assert figures["val/loss"] == pytest.approx(sk.log_loss(labels, shares), abs=1e-9)
    for prefix, threshold in (("val/", 0.5), ("val/threshold_", 0.3)):
        guess = shares > threshold
        assert figures[f"{prefix}acc1"] == pytest.approx(sk.accuracy_score(labels, guess))
        assert figures[f"{prefix}sensitivity"] == pytest.approx(sk.recall_score(labels, guess))
        assert figures[f"{prefix}specificity"] == pytest.approx(sk.recall_score(1 - labels, ~guess))


def test_delongs_interval_equals_a_count_by_hand():
    # Shares of zeros that each one beats: 1, 1, 2/3, 1/3; of ones that each zero loses to: 2/4, 4/4, 3/4.
    variance = np.var([1, 1, 2 / 3, 1 / 3], ddof=1) / 4 + np.var([0.5, 1, 0.75], ddof=1) / 3
    low, _ = binary.auc_interval(HAND[:, 0], HAND_LABELS)
    assert low == pytest.approx(0.75 - 1.959964 * np.sqrt(variance))
    logits, labels = many()
    low, high = binary.auc_interval(logits[:, 0], labels)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(labels), len(labels)) for _ in range(800)]
    areas = [sk.roc_auc_score(labels[d], logits[d, 0]) for d in draws]
    assert (low, high) == pytest.approx(np.quantile(areas, (0.025, 0.975)).tolist(), abs=0.012)


def test_an_auc_sees_logits_whose_sigmoid_is_the_same():
    figures = binary.metrics(np.array([[60.0], [50.0]]), np.array([1, 0]))
    assert figures["auc"] == 1


def test_the_threshold_is_youdens_between_two_scores():
    logits = np.log(np.array([[9.0], [4.0], [3.0], [0.25], [1 / 9]]))       # 0.9 0.8 0.75 0.2 0.1
    assert binary.choose_threshold(logits, np.array([1, 1, 0, 0, 0])) == pytest.approx(0.775)
    assert binary.choose_threshold(logits, np.array([1, 1, 1, 0, 0])) == pytest.approx(0.475)
    assert binary.choose_threshold(np.zeros((2, 1)), np.array([0, 1])) == 0.5


@pytest.mark.parametrize("function", [binary.metrics, binary.choose_threshold])
def test_both_labels_are_needed(function):
    with pytest.raises(ValueError, match=r"labels \[1\]: samples of both 0 and 1 are needed"):
        function(np.zeros((3, 1)), np.ones(3, int))
    assert set(metrics.classification(np.zeros((3, 1)), np.ones(3, int)).flat()) == {"loss", "acc1", "error_rate"}


@pytest.mark.parametrize("batch_size", [1, 7, 10, 23, 64])
def test_the_batch_size_changes_nothing(batch_size):
    from paddle import nn

    from paddle_cls.training.loop import predict
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (23, 4, 4, 3)).astype(np.uint8), np.arange(23) % 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    reader = batches(split, batch_size, lambda images, _: HALF(images))
    whole = batches(split, 23, lambda images, _: HALF(images))
    got, expected = (metrics.classification(*predict(model, r()), threshold=0.4).flat() for r in (reader, whole))
    assert got == pytest.approx(expected, rel=1e-5)


def test_only_yes_or_no_data_has_a_threshold():
    from paddle_cls.data import load_data
    with pytest.raises(UserError, match="--holdout: data set 'shapes' has 10 classes"):
        load_data("shapes", holdout=0.1)
    assert Data(None, None, ("no", "yes"), 8, HALF, sigmoid=True).outputs == 1
    assert Data(None, None, ("no", "yes"), 8, HALF).outputs == 2


def test_verdicts_are_sorted_by_how_sure_they_are():
    yes = np.array([0.9, 0.45, 0.05, 0.7, 0.99])
    places = charts.verdicts(np.stack([1 - yes, yes], axis=1), np.array([1, 1, 0, 0, 0]), count=2)
    assert {name: got.tolist() for name, got in places.items()} == {"right": [2, 0], "wrong": [4, 3], "unsure": [1, 3]}


def test_the_figures_of_an_evaluation():
    logits, labels = many(40)
    images = np.zeros((40, 8, 8, 3), np.uint8)
    figures = charts.evaluation(images, labels, logits, ("no", "yes"), 0.3)
    assert set(figures) == {"confusion", "roc", "pr", "samples_right", "samples_wrong", "samples_unsure"}
    roc = figures["roc"].axes[0]
    curve, half, chosen = (line.get_xydata() for line in roc.lines)
    x, y, _ = sk.roc_curve(labels, logits[:, 0], drop_intermediate=False)
    assert np.allclose(curve, np.stack([x, y], 1))
    got = binary.metrics(logits, labels, 0.3)
    assert half[0] == pytest.approx([1 - got["specificity"], got["sensitivity"]])
    assert chosen[0] == pytest.approx([1 - got["threshold_specificity"], got["threshold_sensitivity"]])
    assert f"area {got['auc']:.4f}" in roc.get_title()
    precision, recall, _ = sk.precision_recall_curve(labels, logits[:, 0])
    assert np.allclose(figures["pr"].axes[0].lines[0].get_xydata(), np.stack([recall, precision], 1))
    assert set(charts.evaluation(images, labels, np.eye(3)[labels], ("a", "b", "c"))) == {"confusion", "samples"}


def test_a_verdict_and_its_sureness_go_by_the_threshold():
    yes = np.array([0.496, 0.43, 0.9, 0.1])
    places = charts.verdicts(np.stack([1 - yes, yes], axis=1), np.array([1, 1, 0, 0]), count=4, threshold=0.441)
    assert {name: found.tolist() for name, found in places.items()} == {
        "right": [3, 0], "wrong": [2, 1], "unsure": [1, 0, 3, 2]}
    logits = np.log(yes / (1 - yes))[:, None]
    assert metrics.predictions(logits, 0.441).tolist() == [1, 0, 1, 0] and metrics.predictions(logits).tolist() == [0, 0, 1, 0]
    assert metrics.confusion(logits, np.array([1, 1, 0, 0]), 2, 0.441).tolist() == [[1, 1], [1, 1]]
