"""The reader of batches: the order depends on seed and epoch alone, and no sample is lost or doubled."""

import threading
import time

import numpy as np
import pytest

from paddle_cls.data.reader import Split, batches, num_batches, prefetch


def split(count: int = 23) -> Split:
    """Return a split whose every image is filled with its own number, and whose label is ten times that."""
    numbers = np.arange(count)
    return Split(np.broadcast_to(numbers[:, None, None, None], (count, 4, 4, 3)).astype(np.uint8), 10 * numbers)


def noisy(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A transform that shows its random numbers: the image's number plus one in [0, 1)."""
    return (images[:, 0, 0, 0] + rng.random(len(images))).astype(np.float32)


def read(**arguments) -> list[tuple]:
    return [(b.images.tolist(), b.labels.tolist(), b.indices.tolist(), b.total)
            for b in batches(split(), 5, noisy, **arguments)()]


def test_the_same_seed_and_epoch_give_the_same_batches():
    expected = read(seed=7, epoch=3)
    for epoch in range(3):                         # other passes before it, whole and broken off
        read(seed=7, epoch=epoch)
    next(batches(split(), 5, noisy, seed=7, epoch=3)())
    np.random.seed(0)
    reader = batches(split(), 5, noisy, seed=7, epoch=3)
    assert read(seed=7, epoch=3) == expected == [(b.images.tolist(), b.labels.tolist(), b.indices.tolist(), b.total)
                                                 for b in reader()]
    assert [b.indices.tolist() for b in reader()] == [indices for _, _, indices, _ in expected]     # called again


def test_the_order_and_the_augmentation_differ_between_epochs_and_seeds():
    orders, noises = [], []
    for seed, epoch in [(7, 0), (7, 1), (8, 0), (0, 7)]:
        whole = read(seed=seed, epoch=epoch)
        orders.append([i for _, _, indices, _ in whole for i in indices])
        noises.append([round(x % 1, 5) for images, _, _, _ in whole for x in images])
    for i in range(4):
        assert sorted(orders[i]) == list(range(23)) and orders[i] != sorted(orders[i])
        assert len(set(noises[i])) == 23           # no two images, no two batches with the same numbers
        assert all(orders[i] != orders[j] and noises[i] != noises[j] for j in range(i))


def test_without_a_seed_the_order_stays():
    assert [i for _, _, indices, _ in read() for i in indices] == list(range(23))


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_each_sample_exactly_once_over_all_processes(world):
    parts = [read(seed=1, epoch=2, rank=rank, world=world) for rank in range(world)]
    alone = read(seed=1, epoch=2)
    assert {len(part) for part in parts} == {5}    # every process takes every step
    for number, (_, _, whole, total) in enumerate(alone):
        assert total == (3 if number == 4 else 5)
        dealt = [part[number] for part in parts]
        assert sorted(i for _, _, indices, _ in dealt for i in indices) == sorted(whole)
        assert {d[3] for d in dealt} == {total}
        sizes = [len(indices) for _, _, indices, _ in dealt]
        assert max(sizes) - min(sizes) <= 1
        for images, labels, indices, _ in dealt:
            assert [int(x) for x in images] == indices and labels == [10 * i for i in indices]


def test_start_and_stop_cut_the_same_pass():
    whole = read(seed=1)
    assert read(seed=1, start=2) == whole[2:]
    assert read(seed=1, stop=3) == whole[:3]
    assert read(seed=1, start=1, stop=4) == whole[1:4]
    assert read(seed=1, start=5) == read(seed=1, stop=0) == []
    assert read(seed=1, stop=99) == whole


@pytest.mark.parametrize("world", [1, 3])
def test_balanced_batches_draw_all_labels_equally_often(world):
    uneven = Split(np.zeros((20, 4, 4, 3), np.uint8), np.repeat([0, 1, 2], (14, 5, 1)))

    def read(**arguments) -> list[list[int]]:
        parts = [list(batches(uneven, 6, noisy, seed=1, balanced=True, rank=rank, world=world, **arguments)())
                 for rank in range(world)]
        return [sorted(i for part in parts for i in part[number].indices.tolist()) for number in range(len(parts[0]))]

    whole = read(epoch=4)
    drawn = np.concatenate(whole)
    assert sorted(np.bincount(uneven.labels[drawn]).tolist()) == [6, 7, 7] and [len(b) for b in whole] == [6, 6, 6, 2]
    assert read(epoch=4) == whole and read(epoch=4, start=2) == whole[2:] and read(epoch=5) != whole


@pytest.mark.parametrize("samples, size, expected", [(23, 5, 5), (20, 5, 4), (1, 5, 1), (0, 5, 0)])
def test_num_batches(samples, size, expected):
    assert num_batches(samples, size) == expected == len(list(batches(split(samples), size, noisy)()))


def test_a_split_reads_as_samples():
    data = split(600)                              # more than one block
    samples = list(data.reader()())
    assert [label for _, label in samples] == [10 * i for i in range(600)] and type(samples[0][1]) is int
    assert all(np.array_equal(image, data.images[i]) for i, (image, _) in enumerate(samples))
    with pytest.raises(ValueError, match="3 images but 2 labels"):
        Split(np.zeros((3, 4, 4, 3), np.uint8), np.zeros(2))


def test_an_image_is_called_by_its_file_or_by_its_place():
    images, labels = np.zeros((3, 4, 4, 3), np.uint8), np.arange(3)
    named = Split(images, labels, ["a.jpg", "b.jpg", "c.jpg"])
    assert [named.take(np.array([2, 0])).name(i) for i in range(2)] == ["c.jpg", "a.jpg"]
    assert Split(images, labels).take(np.array([2, 0])).name(1) == "image 1"


def test_prefetch_passes_everything_on_in_order_and_again():
    reader = prefetch(lambda: iter(range(100)), size=3)
    assert list(reader()) == list(reader()) == list(range(100))


def test_prefetch_reads_ahead_but_not_further_than_it_may():
    taken = []

    def source():
        for i in range(50):
            taken.append(i)
            yield i

    items = prefetch(source, size=4)()
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(taken) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(taken) == 6                         # the one in use, four that wait, one at the door
    items.close()


def test_prefetch_raises_the_readers_error_after_what_came_before_it():
    def source():
        yield 1
        raise ZeroDivisionError("in the thread")

    items = prefetch(source)()
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        next(items)


def test_prefetch_ends_its_thread_when_the_pass_is_left_early():
    before = threading.active_count()
    items = prefetch(lambda: iter(range(10**9)), size=2)()
    assert next(items) == 0 and threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before
