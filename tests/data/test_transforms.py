"""From a file to the network's input, pixel by pixel: every kind of picture looks as a person would see it."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from fakes import bomb, png, rgb
from PIL import Image, PngImagePlugin

from paddle_cls.data import Data, transforms
from paddle_cls.data.augment.functional import random_crop_flip
from paddle_cls.data.augment.recipes import RECIPES
from paddle_cls.data.images.transforms import CIFAR10, HALF, Normalization, decode, eval_transform, resize
from paddle_cls.data.reader import Split
from paddle_cls.errors import UserError
from paddle_cls.system import runtime

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def saved(tmp_path):
    """Return a function that writes a Pillow image to a file and decodes it."""
    def save(image: Image.Image, name: str = "picture.png", **options) -> np.ndarray:
        image.save(tmp_path / name, **options)
        found = decode(tmp_path / name)
        assert found.dtype == np.uint8 and found.shape == (*found.shape[:2], 3)
        return found
    return save


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp", "bäm 狗 🐶.png"])
def test_colours_come_as_they_are(saved, name):
    picture = rgb(1, 20, 30)
    assert np.array_equal(saved(Image.fromarray(picture), name, **({"lossless": True} if name == "a.webp" else {})), picture)


def test_jpeg_is_near(saved):
    picture = np.zeros((16, 16, 3), np.uint8) + np.array([200, 100, 30], np.uint8)
    assert np.abs(saved(Image.fromarray(picture), "a.jpg", quality=95).astype(int) - picture).max() <= 3


def test_grey_and_black_and_white(saved):
    grey = rgb(2)[:, :, 0]
    assert np.array_equal(saved(Image.fromarray(grey)), np.repeat(grey[:, :, None], 3, axis=2))
    assert np.array_equal(saved(Image.fromarray(grey > 127))[:, :, 1], np.where(grey > 127, 255, 0))


def test_palette(saved):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([*RED, *GREEN, *BLUE])
    assert saved(image).tolist() == [[[*RED], [*GREEN]], [[*BLUE], [*GREEN]]]


def test_transparency_lies_on_white(saved):
    picture = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    assert saved(Image.fromarray(picture)).tolist() == [[[255, 255, 255], [255, 0, 0], [204, 204, 204]]]
    grey = Image.fromarray(np.array([[[0, 0], [0, 255]]], np.uint8), "LA")
    assert saved(grey).tolist() == [[[255] * 3, [0] * 3]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([*RED, *GREEN])
    assert saved(palette, transparency=0).tolist() == [[[255] * 3, [*GREEN]]]


def test_sixteen_bits_are_scaled_and_not_clipped(saved):
    values = np.array([[0, 257, 25700, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        assert saved(Image.fromarray(values), name)[0, :, 2].tolist() == [0, 1, 100, 255]


def test_sixteen_bit_colour(tmp_path):
    """Pillow cannot write it, so the PNG is put together here."""
    row = b"\0" + struct.pack(">6H", 65535, 25700, 0, 257, 51400, 65535)
    (tmp_path / "a.png").write_bytes(png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), zlib.compress(row)))
    assert decode(tmp_path / "a.png").tolist() == [[[255, 100, 0], [1, 200, 255]]]


def test_floats(saved):
    assert saved(Image.fromarray(np.array([[0, 0.5, 2]], np.float32)), "a.tif")[0, :, 0].tolist() == [0, 64, 255]


def test_cmyk(saved):
    ink = np.full((8, 16, 4), [255, 0, 0, 0], np.uint8)      # cyan on the left, nothing (white) on the right
    ink[:, 8:] = 0
    found = saved(Image.fromarray(ink, "CMYK"), "a.jpg", quality=100).astype(int)
    assert np.abs(found[4, 2] - [0, 255, 255]).max() < 8 and np.abs(found[4, 13] - 255).max() < 8


@pytest.mark.parametrize("orientation, turned", [
    (1, lambda a: a), (2, lambda a: a[:, ::-1]), (3, lambda a: a[::-1, ::-1]), (4, lambda a: a[::-1]),
    (5, lambda a: a.transpose(1, 0, 2)), (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)), (8, lambda a: np.rot90(a))])
def test_exif_turns_the_picture(saved, orientation, turned):
    picture = rgb(3, 20, 30)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(saved(Image.fromarray(picture), exif=exif), turned(picture))


def test_the_first_frame_of_an_animation(saved):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    assert (saved(frames[0], "a.gif", save_all=True, append_images=frames[1:]) == RED).all()


def encoded(kind: str, mode: str = "RGB", text: str = "") -> bytes:
    file, about = io.BytesIO(), PngImagePlugin.PngInfo()
    about.add_text("about", text, zip=True)
    Image.fromarray(rgb(4, 24, 24)).convert(mode).save(file, kind, **({"pnginfo": about} if text else {}))
    return file.getvalue()


@pytest.mark.parametrize("content, message", [
    (b"", "the file is empty"),
    (b"Dear diary", "not a picture, or a kind that Pillow cannot read"),
    (encoded("JPEG")[:-200], "cannot be read: image file is truncated"),
    (encoded("PNG")[:-200], "cannot be read: image file is truncated"),
    (encoded("JPEG")[:20], "not a picture|cannot be read"),
    (encoded("PNG", text="x" * 2_000_000), r"broken picture \(Decompressed data too large for PngImagePlugin"),
    (bomb(30_000), "more pixels than the 178,956,970 allowed; shrink it first"),
    (bomb(13_400), "more pixels than the 178,956,970 allowed; shrink it first"),
], ids=["empty", "text", "cut JPEG", "cut PNG", "JPEG head", "no OSError", "bomb", "small bomb"])
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "bäd.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"bäd.png: {message}"):
        decode(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(UserError, match=r"none\.png: cannot be read: No such file or directory"):
        decode(tmp_path / "none.png")
    with pytest.raises(UserError, match="cannot be read: a folder, not a file"):
        decode(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_files_are_pictures_or_user_errors(tmp_path, kind):
    """A few numbers changed anywhere: whatever Pillow raises must come out as a UserError."""
    rng = np.random.default_rng(0)
    whole, path, refused = encoded(kind), tmp_path / "a.png", 0
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(whole), rng.choice([40, len(whole)])), 3):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            assert decode(path).dtype == np.uint8
        except UserError as error:
            refused += str(error).startswith(str(path))
    assert refused > 5


@pytest.mark.parametrize("height, width", [(20, 60), (60, 20), (21, 64)])
def test_resize_keeps_the_aspect_and_cuts_the_middle(height, width):
    """Three bands along the longer side: of the outer ones nothing is left."""
    picture = np.zeros((height, width, 3), np.uint8)
    long = np.moveaxis(picture, int(width > height), 0)
    start, side = (len(long) - min(height, width)) // 2, min(height, width)
    long[:start], long[start + side + 1:] = RED, BLUE
    long[start:start + side + 1] = GREEN
    for size in (10, side, 40):
        assert resize(picture, size).shape == (size, size, 3)
        inner = resize(picture, size)[2:-2, 2:-2]
        assert (inner == GREEN).all()


def test_resize_averages_and_leaves_the_right_size_alone():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[::2] = 200                             # every second row: antialiasing makes it grey, picking rows would not
    assert np.abs(resize(picture, 16)[2:-2].astype(int) - 100).max() <= 2
    assert resize(picture, 64) is picture


def test_normalization_in_numbers():
    images = rgb(5, 2, 3)[None]
    for normalization in (CIFAR10, HALF, Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))):
        out = normalization(images)
        assert out.dtype == np.float32 and out.shape == (1, 3, 2, 3) and out.flags.c_contiguous
        for channel in range(3):
            expected = (images[0, :, :, channel] / 255 - normalization.mean[channel]) / normalization.std[channel]
            np.testing.assert_allclose(out[0, channel], expected, rtol=1e-5, atol=1e-6)
    assert HALF(np.array([[[[0, 255, 51]]]], np.uint8)).ravel().tolist() == pytest.approx([-1, 1, -0.6])


def test_cifar10_is_normalized_by_its_mean_and_spread():
    """As many have measured over the 50,000 training images."""
    assert CIFAR10.mean == (0.4914, 0.4822, 0.4465) and CIFAR10.std == (0.2470, 0.2435, 0.2616)


@pytest.mark.parametrize("change", [random_crop_flip, lambda images, rng: CIFAR10(images)], ids=["crop_flip", "normalization"])
def test_the_order_in_memory_changes_no_number(change):
    images = np.stack([rgb(i, 8, 10) for i in range(6)])
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    expected = change(images, np.random.default_rng(0))
    assert np.array_equal(change(channels_first, np.random.default_rng(0)), expected)


@pytest.mark.parametrize("name", ["fundus", *RECIPES])
@pytest.mark.parametrize("size", [None, 8, 20])
def test_train_and_eval_transforms(name, size):
    images = np.stack([rgb(i, 16, 16) for i in range(6)])
    data = Data(Split(images, np.zeros(6)), Split(images, np.zeros(6)), ("a",), 16, CIFAR10)
    train, evaluate = transforms(data, size, name)
    expected = eval_transform(images, size or 16, CIFAR10)
    assert expected.shape == (6, 3, size or 16, size or 16)
    assert np.array_equal(evaluate(images, np.random.default_rng(0)), expected)
    out = train(images, np.random.default_rng(0))
    assert out.shape == expected.shape and out.dtype == np.float32
    assert np.array_equal(out, train(images, np.random.default_rng(0)))
    assert np.array_equal(out, expected) == (name == "none")
    assert evaluate(images[:0], np.random.default_rng(0)).shape == (0, *expected.shape[1:])
    assert train(images[:0], np.random.default_rng(0)).shape == (0, *expected.shape[1:])


def test_large_photographs_and_odd_tags_give_no_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)      # Pillow warns from here to twice as much
    Image.fromarray(rgb(1, 10, 20)).save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(tmp_path / "a.png")
        assert len(seen) == 1
        runtime.prepare()                          # what the scripts call
        decode(tmp_path / "a.png")
    assert len(seen) == 1


def test_the_limit_holds_where_pillows_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "a.png").write_bytes(bomb(13_400))
    with pytest.raises(UserError, match="more pixels than the 178,956,970 allowed"):
        decode(tmp_path / "a.png")
