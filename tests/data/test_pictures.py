"""Picture files as a sequence of images: little memory, nothing decoded before it is asked for, every file looked at."""

import os
import tracemalloc

import numpy as np
import pytest
from fake_own import jpeg, pictures, write
from PIL import Image

from paddle_cls.data.images import files as module
from paddle_cls.data.images.files import ImageFiles, default_size, list_images, survey
from paddle_cls.data.images.transforms import decode, measure
from paddle_cls.data.reader import Split
from paddle_cls.errors import UserError

NAMES = ["cat/0.jpg", "cat/1.jpg", "dog/ä 狗.jpg", "dog/1.png"]


@pytest.fixture
def some(tmp_path) -> ImageFiles:
    """Four pictures, 20, 30, 40 and 50 pixels wide and 10 high."""
    for number, name in enumerate(NAMES):
        write(tmp_path, {name: jpeg(number, 10, 20 + 10 * number)})
    Image.fromarray(np.zeros((10, 50, 3), np.uint8)).save(tmp_path / NAMES[3])
    return ImageFiles(tmp_path, NAMES, table="t.csv", lines=[2, 3, 5, 8])


def test_a_number_is_an_image_and_more_are_pictures(some, tmp_path):
    assert len(some) == 4 and [some.name(i) for i in range(4)] == NAMES
    assert np.array_equal(some[2], decode(tmp_path / NAMES[2])) and some[np.int64(3)].shape == (10, 50, 3)
    for places in (slice(1, 3), np.array([1, 2]), np.array([False, True, True, False])):
        part = some[places]
        assert len(part) == 2 and [part.name(0), part.name(1), part.where(0), part.where(1)] == [*NAMES[1:3], "t.csv:3: ",
                                                                                              "t.csv:5: "]
    assert [image.shape[1] for image in some[::-1]] == [50, 40, 30, 20]
    assert len(some[4:]) == 0 and list(some[4:]) == [] and some.path(0) == f"{tmp_path}/cat/0.jpg"
    assert ImageFiles(tmp_path, NAMES).where(1) == ""


def test_a_split_of_pictures_is_like_one_of_an_array(some):
    split = Split(some, [0, 0, 1, 1])
    part = split.take(np.array([3, 0]))
    assert len(part) == 2 and part.labels.tolist() == [1, 0] and part.images.name(1) == NAMES[0]
    assert [image.shape[1] for image in split.fetch(np.array([2, 1]))] == [40, 30]
    assert [(image.shape[1], label) for image, label in split.reader()()] == [(20, 0), (30, 0), (40, 1), (50, 1)]
    with pytest.raises(ValueError, match="4 images but 3 labels"):
        Split(some, [0, 0, 1])


def test_large_jpegs_are_shrunk_as_they_are_decoded(tmp_path):
    write(tmp_path, {"a.jpg": jpeg(1, 64, 80)})
    one = ImageFiles(tmp_path, ["a.jpg"])
    assert one[0].shape == (64, 80, 3) and one.sized(10)[0].shape == one.sized(10)[:1][0].shape == (32, 40, 3)
    assert one.size is None


def test_many_images_are_read_in_their_order(tmp_path):
    write(tmp_path, {f"{i}.jpg": jpeg(1, 8, 8 + i) for i in range(150)})
    assert [image.shape[1] for image in ImageFiles(tmp_path, [f"{i}.jpg" for i in range(150)])] == list(range(8, 158))


def test_a_hundred_thousand_names_take_a_few_megabytes(tmp_path):
    tracemalloc.start()
    many = ImageFiles(tmp_path, (f"class {i % 1000:04d}/picture {i:08d}.jpg" for i in range(100_000)))
    taken = many[np.random.default_rng(0).permutation(100_000)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 10e6 and taken.name(7).startswith("class ") and len(taken) == 100_000


def test_an_unreadable_file_is_named_when_it_is_asked_for(some, tmp_path):
    (tmp_path / NAMES[1]).write_bytes(b"?")
    with pytest.raises(UserError, match=r"cat/1\.jpg: not a picture"):
        list(some)


def test_listing_a_folder(tmp_path):
    write(tmp_path, {**dict.fromkeys(("b.JPG", "a.png", ".hidden", "Thumbs.db", "notes.txt", "b.jpg", "sub.jpg/x"), b"")})
    names, problems = list_images(tmp_path)
    assert names == ["a.png", "b.JPG", "b.jpg"]
    assert [problem.removeprefix(f"{tmp_path}") for problem in problems] == [
        "/notes.txt: not a picture (.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm); move it elsewhere",
        "/sub.jpg: a folder among pictures; move it elsewhere",
        ": b.JPG and b.jpg differ in the case of letters only; rename one"]


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "webp", "tiff"])
def test_measuring_finds_size_and_cut_files(tmp_path, kind):
    file = tmp_path / f"a.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)).save(file, kind)
    assert measure(file) == (70, 40)
    content = file.read_bytes()
    for end in (len(content) - 30, len(content) // 2, 12):
        file.write_bytes(content[:end])
        with pytest.raises(UserError, match=r"a\.[a-z]+: (cannot be read|not a picture|broken picture)"):
            measure(file)


def test_measuring_does_not_decode_what_ends_as_it_should(tmp_path):
    """So that many files are looked at in a short time: the middle may be anything."""
    content = jpeg(1, 64, 64)
    file = write(tmp_path, {"a.jpg": content[:-200] + bytes(198) + content[-2:]}) / "a.jpg"
    assert measure(file) == (64, 64)


def test_a_survey_names_every_bad_file(tmp_path):
    write(tmp_path, {**pictures("cat"), "cat/1.jpg": b"", "cat/3.jpg": b"?"})
    names = [f"cat/{i}.jpg" for i in range(5)]
    problems, sizes = survey(ImageFiles(tmp_path, names, table="t.csv", lines=range(2, 7)))
    assert [problem.replace(str(tmp_path), "") for problem in problems] == [
        "t.csv:3: /cat/1.jpg: the file is empty", "t.csv:5: /cat/3.jpg: not a picture, or a kind that Pillow cannot read",
        "t.csv:6: /cat/4.jpg: cannot be read: No such file or directory"]
    assert sizes.tolist() == [[12, 12], [0, 0], [12, 12], [0, 0], [0, 0]]


def test_of_many_files_all_must_be_there_and_some_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 20)
    monkeypatch.setattr(module, "SAMPLE", 5)
    names = [f"{i}.jpg" for i in range(21)]
    write(tmp_path, {name: jpeg(1) for name in names})
    opened = []
    monkeypatch.setattr(module, "measure", lambda path: opened.append(path) or measure(path))

    def listed(names: list[str]) -> ImageFiles:
        return ImageFiles(tmp_path, names, table="t.csv", lines=range(2, 23))

    problems, sizes = survey(listed(names))
    assert problems == [] and len(set(opened)) == 5 and sizes.tolist() == [[12, 12]] * 5
    before = sorted(opened)
    opened.clear()
    gone = next(f"{tmp_path}/{name}" for name in names if f"{tmp_path}/{name}" not in before)
    os.unlink(gone)
    write(tmp_path, {os.path.basename(before[0]): b""})
    problems, _ = survey(listed(names))
    assert sorted(opened) == before, "the same files each time"
    lines = {f"{tmp_path}/{name}": f"t.csv:{line}" for line, name in enumerate(names, 2)}
    assert set(problems) == {f"{lines[before[0]]}: {before[0]}: the file is empty",
                             f"{lines[gone]}: {gone}: cannot be read: No such file or directory"}
    problems, _ = survey(listed([f"none/{name}" for name in names]))
    assert problems[20] == f"t.csv:22: {tmp_path}/none/20.jpg: cannot be read: No such file or directory" and len(problems) == 21
    found_there, _ = survey(ImageFiles(tmp_path, names))       # as a listing of the folder would give them
    assert found_there == [f"{before[0]}: the file is empty"]
    monkeypatch.undo()
    some = listed(names)[[20, 3, 7]]
    assert some.names() == ["20.jpg", "3.jpg", "7.jpg"] == [some.name(place) for place in range(3)]


@pytest.mark.parametrize("sides, expected", [
    ([(32, 32)], 32), ([(500, 375)], 224), ([(20, 20)], 32), ([(100, 300), (70, 90), (4000, 3000)], 96), ([(63, 64)], 32)])
def test_the_default_size_fits_half_of_the_pictures(sides, expected):
    assert default_size(np.array(sides)) == expected
