"""Mixup and cutmix on batches whose images are known, and what is drawn for them."""

import numpy as np
import pytest

from paddle_cls.data.augment.mixing import cut_mix, mix_up, mixed
from paddle_cls.data.reader import Batch, Split, batches


def batch(count: int = 4, height: int = 6, width: int = 8) -> Batch:
    """Return a batch whose image i is filled with i + 1, and whose label is i."""
    images = np.ones((count, 3, height, width), np.float32) * np.arange(1, count + 1, dtype=np.float32).reshape(-1, 1, 1, 1)
    return Batch(images, np.arange(count), np.arange(count), count)


def constant(images, rng):
    return np.repeat(images[:, :1, :1].transpose(0, 3, 1, 2).astype(np.float32), 8, 2).repeat(8, 3)


def read(*, start=0, rank=0, world=1, seed=3, epoch=1, count=30, **mix) -> list[Batch]:
    """Return the mixed batches of 5 of a split whose image i is i everywhere and whose label is i."""
    numbers = np.arange(count, dtype=np.uint8)
    split = Split(np.broadcast_to(numbers[:, None, None, None], (count, 8, 8, 3)), numbers)
    reader = batches(split, 5, constant, seed=seed, epoch=epoch, start=start, rank=rank, world=world)
    return list(mixed(reader, **mix, seed=seed, epoch=epoch, start=start)())


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a.images, b.images) and np.array_equal(a.labels_b, b.labels_b) and a.lam == b.lam
        for a, b in zip(one, other, strict=True))


def test_mixup_by_hand():
    before = batch()
    after = mix_up(before, 0.75)
    assert after.images.dtype == np.float32 and after.lam == 0.75 and after.total == 4
    assert after.images[:, 0, 0, 0].tolist() == [0.75 * 1 + 0.25 * 4, 0.75 * 2 + 0.25 * 1, 0.75 * 3 + 0.25 * 2, 3.75]
    assert (after.images == after.images[:, :1, :1, :1]).all()
    assert after.labels.tolist() == [0, 1, 2, 3] and after.labels_b.tolist() == [3, 0, 1, 2]
    assert np.array_equal(before.images, batch().images)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 0.99, 1.0])
def test_cutmix_by_hand(share):
    height, width, shares = 16, 24, []
    for seed in range(200):
        before = batch(height=height, width=width)
        after = cut_mix(before, share, np.random.default_rng(seed))
        assert np.array_equal(before.images, batch(height=height, width=width).images)
        foreign = after.images[1, 0] == 1          # of image 0, in image 1
        rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
        for i in range(4):
            assert np.array_equal(after.images[i], np.where(foreign, (i - 1) % 4 + 1, i + 1)[None].repeat(3, 0))
        assert foreign.sum() == len(rows) * len(columns)                   # one rectangle
        assert after.lam == pytest.approx(1 - foreign.mean())            # by the pixels that are there
        assert len(rows) <= np.ceil(height * np.sqrt(1 - share)) and len(columns) <= np.ceil(width * np.sqrt(1 - share))
        shares.append(after.lam)
    assert after.labels_b.tolist() == [3, 0, 1, 2] and after.images.dtype == np.float32
    assert min(shares) == pytest.approx(share, abs=0.14)     # where nothing is cut off; the sides are even numbers of pixels
    assert max(shares) > min(shares) or share in (0.99, 1.0)


def test_without_alphas_the_reader_is_the_same():
    def reader():
        return iter(())
    assert mixed(reader, seed=0, epoch=0) is reader


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_has_the_betas_mean_and_variance(alpha):
    shares = np.array([b.lam for b in read(mixup=alpha, count=250, epoch=2)] +
                      [b.lam for epoch in range(20) for b in read(mixup=alpha, count=250, epoch=epoch + 3)])
    assert len(shares) == 1050
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)
    assert shares.min() >= 0 and shares.max() <= 1


def test_of_two_methods_one_is_chosen_for_each_batch():
    kinds = [len(np.unique(b.images[0])) for epoch in range(20) for b in read(mixup=1.0, cutmix=1.0, epoch=epoch)]
    assert 40 < sum(kind == 1 for kind in kinds) < 100       # mixup leaves an image of one value; of 120 batches
    assert {len(np.unique(b.images[0])) for b in read(mixup=1.0)} == {1}


def test_what_is_drawn_depends_on_seed_epoch_and_batch_alone():
    whole = read(mixup=1.0, cutmix=1.0)
    assert same(whole, read(mixup=1.0, cutmix=1.0)) and same(whole[4:], read(mixup=1.0, cutmix=1.0, start=4))
    shares = {b.lam for b in read(mixup=1.0)}
    assert len(shares) == 6 and not shares & {b.lam for b in read(mixup=1.0, epoch=2)}
    assert not shares & {b.lam for b in read(mixup=1.0, seed=4)}


def test_several_processes_mix_alike_each_inside_its_part():
    alone = read(mixup=1.0, cutmix=1.0)
    for rank in range(3):
        part = read(mixup=1.0, cutmix=1.0, rank=rank, world=3)
        assert [b.lam for b in part] == [b.lam for b in alone]
        for mine, whole in zip(part, alone, strict=True):
            labels = whole.labels[rank::3]
            assert np.array_equal(mine.labels, labels) and np.array_equal(mine.labels_b, np.roll(labels, 1))
            assert (len(np.unique(mine.images[0])) == 1) == (len(np.unique(whole.images[0])) == 1) or len(labels) == 1
            assert mine.images.mean((1, 2, 3)) == pytest.approx(mine.lam * labels + (1 - mine.lam) * mine.labels_b, abs=1e-4)
    short = read(mixup=1.0, count=31, rank=0, world=2)[-1]   # one image has nothing to be mixed with but itself
    assert len(short.labels) == 1 and short.labels_b.tolist() == short.labels.tolist()
    assert short.images == pytest.approx(float(short.labels[0]))
    empty = read(cutmix=1.0, count=31, rank=1, world=2)[-1]
    assert empty.images.shape[0] == len(empty.labels_b) == 0 and empty.total == 1
