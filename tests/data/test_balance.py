"""Weights and draws for uneven classes, counted."""

import numpy as np
import pytest

from paddle_cls.data.sampling import balanced_order, class_weights
from paddle_cls.errors import UserError

CLASSES = ("cat", "dog", "a=b")
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 1)


def test_balanced_weights_make_the_classes_weigh_the_same():
    weights = class_weights("balanced", CLASSES, LABELS)
    assert weights.dtype == np.float32 and weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert weights[LABELS].mean() == pytest.approx(1)
    assert (np.bincount(LABELS) * weights).tolist() == pytest.approx([10 / 3] * 3)


def test_named_weights_keep_their_ratios_and_have_a_mean_of_1():
    weights = class_weights("dog=4,a=b=0.5", CLASSES, LABELS)
    assert weights[LABELS].mean() == pytest.approx(1)
    assert (weights / weights[0]).tolist() == pytest.approx([1, 4, 0.5])
    equal = class_weights("cat=7,dog=7,a=b=7", CLASSES, LABELS)
    assert equal.tolist() == pytest.approx([1, 1, 1])


def test_with_balanced_draws_the_mean_is_that_of_the_draws():
    weights = class_weights("dog=4", CLASSES, LABELS, balanced=True)
    assert weights.tolist() == pytest.approx([0.5, 2, 0.5])
    absent = class_weights("dog=3", (*CLASSES, "none"), LABELS[LABELS < 2], balanced=True)   # only cats and dogs are drawn
    assert absent.tolist() == pytest.approx([0.5, 1.5, 0.5, 0.5])


@pytest.mark.parametrize("text, message", [
    ("balanced", r"no training image of class 'fish'; add some, or name the weights"),
    ("dgo=2", r"--class-weights: unknown class 'dgo'; did you mean 'dog'\?"),
    ("horse=2", r"--class-weights: unknown class 'horse'; known: a=b, cat, dog, fish"),
    ("balance", "--class-weights: 'balance' must be 'balanced', or a class and a number above 0 such as cat=2"),
    ("cat", "'cat' must be 'balanced', or a class and a number above 0"),
    ("cat=", "'cat=' must be"), ("=2", "'=2' must be"), ("cat=two", "'cat=two' must be"), ("", "'' must be"),
    ("cat=0", "'cat=0' must be"), ("cat=-1", "'cat=-1' must be"), ("cat=nan", "'cat=nan' must be"),
    ("cat=inf", "'cat=inf' must be"), ("cat=1,", "'' must be"),
    ("cat=1,dog=2,cat=3", "--class-weights: 'cat' is there twice"),
])
def test_what_weights_cannot_be(text, message):
    with pytest.raises(UserError, match=message):
        class_weights(text, (*CLASSES, "fish"), LABELS)


def test_two_cures_at_once_are_refused():
    with pytest.raises(UserError, match="the classes are drawn equally often already; leave out one of the two"):
        class_weights("balanced", CLASSES, LABELS, balanced=True)


@pytest.mark.parametrize("counts", [(90, 9, 1), (40, 30, 30), (1, 1, 1), (100, 1, 1), (7, 0, 4)])
def test_balanced_draws_give_every_class_its_share(counts):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), counts))
    extra = set()
    for seed in range(20):
        order = balanced_order(labels, np.random.default_rng(seed))
        assert len(order) == len(labels)
        drawn = np.bincount(labels[order], minlength=3)
        there = np.array(counts) > 0
        assert drawn[~there].sum() == 0 and np.ptp(drawn[there]) <= 1
        extra.add(tuple(drawn))
        for label in np.flatnonzero(there):        # a class's images are drawn equally often
            each = np.bincount(order[labels[order] == label], minlength=len(labels))[labels == label]
            assert np.ptp(each) <= 1
    if len(labels) % there.sum():
        assert len(extra) > 1                      # and which class gets one more is not always the same


def test_draws_depend_on_the_generator_and_are_mixed():
    labels = np.repeat(np.arange(3), (300, 30, 3))
    orders = [balanced_order(labels, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], orders[2])
    for part in np.split(labels[orders[0]], 3):    # each third has something of all
        assert np.bincount(part).min() > 20
    assert len(set(orders[0][labels[orders[0]] == 0]) ^ set(orders[2][labels[orders[2]] == 0])) > 50     # others of the many
