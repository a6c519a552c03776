"""Folders of pictures: what is taken for what, and in which order."""

import numpy as np
import pytest
from fake_own import jpeg, pictures, write

from paddle_cls.data import load_data
from paddle_cls.data.images.transforms import IMAGENET, decode
from paddle_cls.data.sets.folder import read_manifest


def names(split) -> list[tuple[str, int]]:
    """Return (name, label) of a split of Pictures."""
    return [(split.images.name(place), label) for place, label in enumerate(split.labels.tolist())]


def test_without_validation_folder_a_tenth_is_drawn(tmp_path):
    data = load_data("folder", write(tmp_path, pictures("dog", "cat", count=10)))
    assert data.classes == ("cat", "dog") and data.drawn and not data.sigmoid and data.outputs == 2
    assert np.bincount(data.train.labels).tolist() == [9, 9] and np.bincount(data.val.labels).tolist() == [1, 1]
    whole = names(data.train) + names(data.val)
    assert sorted(whole) == [(f"{name}/{i}.jpg", label) for label, name in enumerate(("cat", "dog")) for i in range(10)]
    assert (data.image_size, data.normalization) == (32, IMAGENET)
    assert data.notes == ("20 files: every one begins and ends as a picture does (paddle-cls check decodes them all); "
                          "median 12x12 pixels, brought to 32x32 (--image-size)",)
    assert names(load_data("folder", tmp_path).val) == names(data.val), "drawn alike each time"


@pytest.mark.parametrize("train, val", [("train", "val"), ("Training", "valid"), ("train", "test"), ("train", "validation")])
def test_train_and_val_are_taken_by_their_names(tmp_path, train, val):
    files = {f"{train}/{name}": content for name, content in pictures("cat", "dog").items()}
    data = load_data("folder", write(tmp_path, {**files, f"{val}/dog/x.jpg": jpeg(50), "notes.txt": "?", ".git/x": "?"}))
    assert names(data.train) == [(f"{train}/{name}/{i}.jpg", name == "dog") for name in ("cat", "dog") for i in range(4)]
    assert names(data.val) == [(f"{val}/dog/x.jpg", 1)] and not data.drawn
    assert data.notes[0] == "no validation picture of cat"
    assert np.array_equal(data.val.fetch(np.array([0]))[0], decode(tmp_path / val / "dog/x.jpg"))


def test_test_is_left_alone_where_val_is_there(tmp_path):
    files = {f"{part}/{name}": content for part in ("train", "val", "test") for name, content in pictures("cat", "dog").items()}
    found = read_manifest(root=write(tmp_path, files))
    assert found.notes == [f"{tmp_path}/test is not used: val is there to validate on"] and not found.problems
    assert {found.val.images.name(place)[:4] for place in range(8)} == {"val/"}


def test_val_split_draws_from_train_and_leaves_val_alone(tmp_path):
    write(tmp_path, {f"train/{name}": content for name, content in pictures("cat", "dog").items()})
    write(tmp_path, {"val/owl/broken.jpg": b""})   # nobody looks
    data = load_data("folder", tmp_path, val_split="0.5")
    assert np.bincount(data.val.labels).tolist() == [2, 2] and {name[:6] for name, _ in names(data.val)} == {"train/"}
    assert load_data("folder", tmp_path, val_split="2/4").val.labels.tolist() == [0, 1]


def test_only_train_is_split(tmp_path):
    data = load_data("folder", write(tmp_path, {f"train/{name}": content for name, content in pictures("a", "b").items()}))
    assert (len(data.train), len(data.val), data.drawn) == (6, 2, True)


def test_numbers_are_sorted_by_value(tmp_path):
    found = read_manifest(root=write(tmp_path, pictures("10", "9", "2")))
    assert found.classes == ("2", "9", "10") and found.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert read_manifest(root=write(tmp_path / "more", pictures("10", "9", "x"))).classes == ("10", "9", "x")


@pytest.mark.parametrize("given, expected", [(None, 96), (64, 64)])
def test_the_image_size_follows_the_pictures_or_the_user(tmp_path, given, expected):
    write(tmp_path, {f"{name}/{i}.jpg": jpeg(i, 400, 300) if i == 3 else jpeg(i, 100, 120) for name in "ab" for i in range(4)})
    data = load_data("folder", tmp_path, given)
    assert data.image_size == data.train.images.size == data.val.images.size == expected


def test_links_and_odd_names_are_followed(tmp_path):
    write(tmp_path / "else", pictures("x"))
    root = write(tmp_path / "own", {"Größe 大/ä ö.jpg": jpeg(1), "Größe 大/$x$.JPEG": jpeg(2)})
    (root / "link").symlink_to(tmp_path / "else/x")
    assert [name for name, _ in names(read_manifest(root=root).train)] == [
        "Größe 大/$x$.JPEG", "Größe 大/ä ö.jpg", *(f"link/{i}.jpg" for i in range(4))]
