"""The drawn data set: always the same, balanced, no two images alike, and readable back from its example files."""

import cv2
import numpy as np
import pytest

from paddle_cls.data.sets import shapes


def test_the_same_images_whatever_the_length():
    short, long = shapes.generate("train", 20), shapes.generate("train", 50)
    assert short.images.dtype == np.uint8 and short.images.shape == (20, 32, 32, 3)
    assert np.array_equal(short.images, long.images[:20]) and np.array_equal(short.labels, long.labels[:20])


def test_the_classes_come_in_turn():
    split = shapes.generate("val", 25)
    assert split.labels.tolist() == [i % 10 for i in range(25)]
    assert shapes.COUNTS["train"] % 10 == shapes.COUNTS["val"] % 10 == 0      # whole rounds: balanced


def test_no_validation_image_is_a_training_image():
    images = np.concatenate([shapes.generate("train", 200).images, shapes.generate("val", 200).images])
    assert len({image.tobytes() for image in images}) == 400


def test_unknown_split():
    with pytest.raises(KeyError, match="test"):
        shapes.generate("test")


@pytest.mark.parametrize("label", range(10), ids=shapes.CLASSES)
def test_every_figure_is_seen(label):
    """Ink of its class's area stands out of the ground: measured without noise, turn and place."""
    mask = np.zeros((64, 64), np.uint8)
    shapes._fill(mask, shapes._OUTLINES[shapes.CLASSES[label]] * 20 + 32, 255)
    assert 300 < (mask > 127).sum() < 1350         # of 1257, the disc's
    image = shapes.draw(label, np.random.default_rng(3)).astype(float)
    assert image.std() > 15 and 0 <= image.min() < image.max() <= 255


def test_figures_of_two_classes_differ():
    masks = []
    for name in shapes.CLASSES:
        mask = np.zeros((64, 64), np.uint8)
        shapes._fill(mask, shapes._OUTLINES[name] * 20 + 32, 255)
        if name == "ring":
            shapes._fill(mask, shapes._OUTLINES[name] * 12 + 32, 0)
        masks.append(mask > 127)
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert (one ^ other).sum() > 100


def test_readers_give_samples(monkeypatch):
    monkeypatch.setattr(shapes, "COUNTS", {"train": 12, "val": 11})
    assert [label for _, label in shapes.train()()] == [*range(10), 0, 1]
    samples = list(shapes.val()())
    assert [label for _, label in samples] == [*range(10), 0]
    assert np.array_equal(samples[10][0], shapes.generate("val", 11).images[10])


def test_example_files_hold_the_validation_images(tmp_path):
    paths = shapes.write_examples(tmp_path / "new" / "folder", 12)
    assert paths[0].name == "00_circle.png" and paths[2].name == "02_half_disc.png" and paths[11].name == "11_ring.png"
    expected = shapes.generate("val", 12).images
    for path, image in zip(paths, expected, strict=True):
        assert np.array_equal(cv2.imread(str(path))[:, :, ::-1], image)
