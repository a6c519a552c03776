"""What is held out: the same parts always, each class in both, and whoever cannot be split is named."""

import numpy as np
import pytest

from paddle_cls.data.reader import Split
from paddle_cls.data.splits import folds, fraction, hold_out
from paddle_cls.errors import UserError


def numbered(labels) -> Split:
    """Return a split whose image i has all its pixels i."""
    return Split(np.zeros((len(labels), 1, 1, 3), np.uint8) + np.arange(len(labels), dtype=np.uint8)[:, None, None, None],
                 np.array(labels))


def test_parts_are_disjoint_whole_and_of_equal_shares():
    labels = np.array([0] * 30 + [1] * 20)
    five = folds(labels, 5)
    assert sorted(np.concatenate(five)) == list(range(50))
    assert [(len(part), labels[part].sum()) for part in five] == [(10, 4)] * 5


def test_holding_out_keeps_the_shares_and_draws_the_same_always():
    split = numbered([0] * 30 + [1] * 20)
    rest, out = hold_out(split, "0.2", "--holdout", "ab")
    assert (len(out), out.labels.sum(), len(rest), rest.labels.sum()) == (10, 4, 40, 16)
    assert sorted([*rest.images[:, 0, 0, 0], *out.images[:, 0, 0, 0]]) == list(range(50))
    assert (hold_out(split, "0.2", "--holdout", "ab")[1].images == out.images).all()
    seen = np.concatenate([hold_out(split, f"{k}/5", "--val-split", "ab")[1].images[:, 0, 0, 0] for k in range(1, 6)])
    assert sorted(seen) == list(range(50))


def test_the_parts_are_those_of_earlier_versions():
    """A run that is resumed must find its own images again."""
    assert fraction(np.arange(40) % 2, 0.1).tolist() == [8, 23, 33, 38]
    assert folds(np.arange(12) % 2, 3)[0].tolist() == [5, 6, 8, 9]


@pytest.mark.parametrize("counts, part, expected", [
    ((2, 2), 0.1, (1, 1)), ((2, 2), 0.9, (1, 1)), ((5, 100), 0.01, (1, 1)), ((3, 10), 0.99, (2, 9)), ((10, 20), 0.25, (2, 5))])
def test_both_sides_get_some_of_each_class(counts, part, expected):
    labels = np.repeat([0, 1], counts)
    assert tuple(np.bincount(labels[fraction(labels, part)])) == expected


@pytest.mark.parametrize("what", ["0", "1", "1.5", "nan", "x", "0/5", "6/5", "1/1", "1/0", "2/", "1/2/3", "-1/5"])
def test_what_is_no_part_is_refused(what):
    with pytest.raises(UserError, match=f"--val-split: '{what}' must be a share such as 0.2, or one of k parts such as 2/5"):
        hold_out(numbered(np.arange(50) % 2), what, "--val-split", "ab")


@pytest.mark.parametrize("what, message", [
    ("0.1", "--val-split 0.1: each class must have at least 2 images, some for either part; owl has 1; add images, or leave out "
            "the class"),
    ("1/4", "--val-split 1/4: each class must have at least 4 images, some for either part; dog has 3, owl has 1; add images, or "
            "leave out the class")])
def test_a_class_with_too_few_images_is_named(what, message):
    with pytest.raises(UserError) as caught:
        hold_out(numbered([0, 0, 0, 0, 1, 1, 1, 2]), what, "--val-split", ("cat", "dog", "owl"))
    assert str(caught.value) == message
