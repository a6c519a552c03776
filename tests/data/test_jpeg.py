"""JPEG by OpenCV gives Pillow's pixels, and leaves to Pillow what it would get wrong."""

import io

import numpy as np
import pytest
from fake_own import jpeg
from fakes import rgb
from PIL import Image, ImageOps

from paddle_cls.data.images import jpeg as module
from paddle_cls.data.images.jpeg import decode, header
from paddle_cls.data.images.transforms import decode as decode_file
from paddle_cls.data.images.transforms import measure
from paddle_cls.errors import UserError


def by_pillow(content: bytes, size: int | None = None) -> np.ndarray:
    """Return what Pillow makes of a JPEG."""
    image = Image.open(io.BytesIO(content))
    if size:
        image.draft(None, (2 * size, 2 * size))
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def saved(mode: str = "RGB", **options) -> bytes:
    """Return a JPEG of 97 x 61 pixels in that mode of Pillow."""
    file = io.BytesIO()
    Image.fromarray(rgb(1, 9, 9)).resize((97, 61), Image.Resampling.BICUBIC).convert(mode).save(file, "jpeg", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [
    {}, {"mode": "L"}, {"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}, {"quality": 20},
    {"optimize": True}, {"restart_marker_blocks": 2}, {"comment": "x" * 300}, {"icc_profile": b"x" * 500}], ids=str)
@pytest.mark.parametrize("size", [None, 20, 14, 8, 3])
def test_the_pixels_are_those_of_pillow(options, size):
    content = saved(**options)
    found = decode(content, size)
    assert found.dtype == np.uint8 and np.array_equal(found, by_pillow(content, size))
    assert found.shape[0] == 61 // {None: 1, 20: 1, 14: 2, 8: 2, 3: 8}[size] + (size in (14, 8, 3))


@pytest.mark.parametrize("turned", range(1, 9))
def test_the_orientation_is_obeyed(turned):
    exif = Image.Exif()
    exif[0x112] = turned
    for size in (None, 14):
        content = saved(exif=exif)
        assert np.array_equal(decode(content, size), by_pillow(content, size))


@pytest.mark.parametrize("content", [
    b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"GIF89a", saved("CMYK"), saved()[:-2], saved()[:300] + b"\xff\xd9", saved() + b"more",
    saved().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), saved().replace(b"\xff\xc0", b"\xff\xc9")],
    ids=["empty", "start", "start and end", "GIF", "CMYK", "no end", "cut and ended", "more at the end", "12 bits", "arithmetic"])
def test_what_is_unusual_is_left_to_pillow(content):
    assert decode(content) is None


def test_the_size_is_read_from_the_beginning():
    assert header(saved()[:700]) == header(saved("L")[:700]) == (97, 61)
    assert header(saved()[:100]) is None
    assert header(saved("CMYK")) is None


def test_a_file_with_more_at_its_end_is_read_all_the_same(tmp_path):
    content = saved()
    (tmp_path / "a.jpg").write_bytes(content + b"more")
    assert np.array_equal(decode_file(tmp_path / "a.jpg"), by_pillow(content))


def test_a_bomb_is_left_to_pillow_who_refuses_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 97 * 61 - 1)
    assert decode(saved()) is None
    (tmp_path / "a.jpg").write_bytes(saved())
    for read in (decode_file, measure):
        with pytest.raises(UserError, match=r"a\.jpg: more pixels than the 5,916 allowed; shrink it first"):
            read(tmp_path / "a.jpg")


def test_the_tests_pictures_are_unlike_each_other():
    assert len({jpeg(seed) for seed in range(20)}) == 20
