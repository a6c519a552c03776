"""CIFAR-10 from fake batches: every pixel and label in its place, and a line for every way a file can be wrong."""

import pickle
import tarfile

import numpy as np
import paddle.batch
import paddle.reader
import pytest
from fakes import Harmful, batch, python2_pickle, rgb, write_cifar

from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError


@pytest.mark.parametrize("split, numbers", [("train", (1, 2, 3, 4, 5)), ("test", (6,))])
@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_every_image_and_label_in_its_place(tmp_path, split, numbers, archive):
    data = cifar10.load(split, write_cifar(tmp_path, 3, archive=archive))
    assert data.images.dtype == np.uint8 and data.labels.dtype == np.int64
    assert np.array_equal(data.images, np.stack([rgb(100 * n + i) for n in numbers for i in range(3)]))
    assert data.labels.tolist() == [(n + i) % 10 for n in numbers for i in range(3)]


def test_the_folder_itself_and_a_folder_before_an_archive(tmp_path):
    write_cifar(tmp_path, 2)
    (tmp_path / cifar10.ARCHIVE).write_bytes(b"never opened")
    assert np.array_equal(cifar10.load("test", tmp_path / cifar10.FOLDER).images, cifar10.load("test", tmp_path).images)


def test_the_first_row_of_an_image_is_red_then_green_then_blue(tmp_path):
    """The layout of the published files in numbers: 1024 red, 1024 green, 1024 blue, row by row."""
    content = batch(6, 1) | {b"data": (np.arange(3072, dtype=np.int64)[None] // 32).astype(np.uint8)}
    image = cifar10.load("test", write_cifar(tmp_path, 1, test_batch=python2_pickle(content))).images[0]
    assert image[0, 0].tolist() == [0, 32, 64]     # every row of 32 numbers holds its place in the file
    assert image[31, 5].tolist() == [31, 63, 95]


def test_readers_as_in_the_tutorial(cifar_root):
    reader = paddle.batch(paddle.reader.shuffle(cifar10.train10(cifar_root), 100), 16)
    for _ in range(2):                             # a second call is a second pass
        batches = list(reader())
        assert [len(b) for b in batches] == [16, 4]
        seen = sorted(image.tobytes() for b in batches for image, _ in b)
        assert seen == sorted(rgb(100 * n + i).tobytes() for n in range(1, 6) for i in range(4))
    image, label = next(iter(cifar10.test10(cifar_root)()))
    assert np.array_equal(image, rgb(600)) and label == 6 and type(label) is int


def test_without_a_root_the_cache_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path))
    monkeypatch.setenv(cifar10.URL_VARIABLE, "http://127.0.0.1:9/never-asked")
    write_cifar(tmp_path / "cifar10", 1)
    assert len(cifar10.load("train")) == 5


def dumped(**changed) -> bytes:
    """Return a test batch with some entries changed, or left out where they are None."""
    content = batch(6, 4) | {key.encode(): value for key, value in changed.items()}
    return python2_pickle({key: value for key, value in content.items() if value is not None})


BROKEN = {
    "empty": (b"", "truncated or not a pickle"),
    "text": (b"<html>not found</html>", "truncated or not a pickle"),
    "cut short": (dumped()[:5000], "truncated or not a pickle"),
    "a list": (pickle.dumps([1, 2]), "not a CIFAR-10 batch: it lacks 'data' or 'labels'"),
    "an array": (pickle.dumps(np.zeros(3)), "not a CIFAR-10 batch: it lacks 'data' or 'labels'"),
    "no data": (dumped(data=None), "not a CIFAR-10 batch: it lacks 'data' or 'labels'"),
    "CIFAR-100": (dumped(labels=None, fine_labels=[1, 2, 3, 4]), "not a CIFAR-10 batch: it lacks 'data' or 'labels'"),
    "data of text": (dumped(data="abcd"), r"'data' is not uint8 \(N, 3072\)"),
    "data of floats": (dumped(data=np.zeros((4, 3072))), r"'data' is not uint8 \(N, 3072\)"),
    "data of images": (dumped(data=np.zeros((4, 32, 32, 3), np.uint8)), r"'data' is not uint8 \(N, 3072\)"),
    "data too narrow": (dumped(data=np.zeros((4, 1024), np.uint8)), r"'data' is not uint8 \(N, 3072\)"),
    "a label less": (dumped(labels=[1, 2, 3]), r"4 images, but labels of shape \(3,\) and type int64"),
    "a label of text": (dumped(labels=["a", "b", "c", "d"]), r"4 images, but labels of shape \(4,\) and type \|S1"),
    "labels of unequal rows": (dumped(labels=[[1], [2, 3], [4], [5]]), "not a CIFAR-10 batch"),
    "label 10": (dumped(labels=[1, 2, 3, 10]), "labels from 1 to 10, allowed are 0 to 9"),
    "label -1": (dumped(labels=[1, 2, 3, -1]), "labels from -1 to 3, allowed are 0 to 9"),
    "no images": (dumped(data=np.zeros((0, 3072), np.uint8), labels=[]), "0 images, but labels of shape"),
}


@pytest.mark.parametrize("what", sorted(BROKEN))
@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_a_broken_batch_is_named(tmp_path, what, archive):
    content, message = BROKEN[what]
    write_cifar(tmp_path, 1, archive=archive, test_batch=content)
    with pytest.raises(UserError, match=f"test_batch: .*{message}"):
        cifar10.load("test", tmp_path)


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_a_harmful_batch_is_refused_before_it_does_anything(tmp_path, archive):
    content = pickle.dumps({b"data": Harmful(tmp_path / "sentinel"), b"labels": []})
    write_cifar(tmp_path, 1, archive=archive, data_batch_2=content)
    with pytest.raises(UserError, match=r"data_batch_2: refused: it asks for io\.open, .* nothing of it was run"):
        cifar10.load("train", tmp_path)
    assert not (tmp_path / "sentinel").exists()
    pickle.loads(content)                          # the same bytes, loaded without care
    assert (tmp_path / "sentinel").exists()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no cifar-10-batches-py/ and no cifar-10-python\.tar\.gz in this folder; .*--data-dir"):
        cifar10.load("train", tmp_path)
    write_cifar(tmp_path / "a", 1, data_batch_3=None)
    with pytest.raises(UserError, match="data_batch_3: cannot be read: No such file"):
        cifar10.load("train", tmp_path / "a")
    write_cifar(tmp_path / "b", 1, data_batch_1=None)
    with pytest.raises(UserError, match="data_batch_1: cannot be read: No such file"):
        cifar10.load("train", tmp_path / "b")


def test_a_broken_archive_is_named(tmp_path):
    archive = write_cifar(tmp_path, 1, archive=True) / cifar10.ARCHIVE
    whole = archive.read_bytes()
    for content, message in [
        (b"", "the file is empty; delete it and download it again"),
        (b"no archive at all", r"truncated or corrupt \(.*\); delete it and download it again"),
        (whole[:len(whole) // 2], r"truncated or corrupt \(.*\); delete it"),
        (whole[:3000] + bytes(500) + whole[3500:], r"truncated or corrupt \(.*\); delete it"),
        (whole[:-8] + bytes(4) + whole[-4:], r"truncated or corrupt \(CRC check failed .*\); delete it"),
        (whole[:-8], r"truncated or corrupt \(Compressed file ended before .*\); delete it"),
    ]:
        archive.write_bytes(content)
        with pytest.raises(UserError, match=rf"cifar-10-python\.tar\.gz: {message}"):
            cifar10.load("train", tmp_path)
    write_cifar(tmp_path, 1, archive=True, data_batch_4=None)
    with pytest.raises(UserError, match=r"it lacks cifar-10-batches-py/data_batch_4; it is not CIFAR-10's archive"):
        cifar10.load("train", tmp_path)
    with tarfile.open(archive, "w:gz") as tar:
        for name in cifar10.FILES["test"]:
            entry = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            entry.type = tarfile.DIRTYPE           # a folder where the file should be
            tar.addfile(entry)
    with pytest.raises(UserError, match="it lacks cifar-10-batches-py/test_batch"):
        cifar10.load("test", tmp_path)
