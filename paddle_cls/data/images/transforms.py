"""From pictures to the network's input: decoding, resizing, augmenting, normalizing. NumPy in, NumPy out."""

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import UserError
from ...system.files import opened
from ...system.threads import for_each, opencv, stacked
from . import jpeg
from .source import Images

PNG_END = b"IEND\xaeB`\x82"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")   # Pillow's names of these; its others, some 30, are never asked
MOST_BYTES = 1 << 30                               # of a file
MOST_MEMORY = 2_500_000_000                        # bytes, to decode one picture
_LARGE, _ONE_LARGE = 256_000_000, threading.RLock()            # bytes; of pictures that need more, one is decoded at a time
_STRIP = 1 << 20                                   # pixels that are converted at a time
_DECODER = {"JPEG": 6, "WEBP": 12}                 # bytes a pixel inside the decoder: coefficients, canvases

Source: TypeAlias = Path | str | bytes | BinaryIO | Image.Image | np.ndarray   # a picture: a file, its content, or its pixels


@dataclass(frozen=True)
class Normalization:
    """What turns uint8 pixels into the network's input: (pixel / 255 - mean) / std, a value per RGB channel."""

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (B, 3, H, W) of uint8 (B, H, W, 3); quickest where the images lie channel by channel in memory."""
        scale, shift = 1 / (255 * np.array(self.std)), -np.array(self.mean) / np.array(self.std)
        out = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
        add = opencv().addWeighted
        step = max(1, 2**18 // max(1, images[:1].size))          # images that fit in a core's cache

        def block(number: int) -> None:
            part = slice(step * number, step * (number + 1))
            out[part] = np.ascontiguousarray(images[part].transpose(0, 3, 1, 2))       # reordered as bytes, not as floats
            for channel, (factor, added) in enumerate(zip(scale, shift, strict=True)):
                plane = out[part, channel].reshape(-1, out[0, 0].size)
                add(plane, factor, plane, 0, added, plane)         # in one go, unlike *= and +=

        for_each(block, -(-len(images) // step))
        return out


CIFAR10 = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))   # of the 50,000 training images
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))         # of its training images, as is usual
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))                        # to [-1, 1]


def decode(source: Source, size: int | None = None) -> np.ndarray:
    """Return a picture as a person sees it, uint8 (H, W, 3) RGB. An array is already so, and returned as it is.

    size: pixels a side that will be needed. A much larger JPEG is then shrunk while it is decoded, to no less than twice
    that, in less than half the time; what `resize` makes of a fundus differs by 3 levels of 255 at most, in the mean by 0.25.

    Turned as its EXIF says; grey and palette become RGB; transparency lies on white; 16 bits are scaled to 8; of an
    animation the first frame. Raises UserError for what is missing, empty, broken, no picture of FORMATS, another array,
    and, before decoding it, of more than jpeg.MAX_PIXELS or MOST_MEMORY.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise UserError(f"an array of {source.dtype} {source.shape} is no picture; give uint8 (height, width, 3), RGB")
        return source
    if isinstance(source, Image.Image):
        with _as_user_error("the Pillow image"):
            return _to_rgb(source.copy())          # which turns it
    with _reading(source) as file:
        content = file.read()
        if content.startswith(jpeg.START):
            width, height = jpeg.header(content) or (0, 0)
            with _room(width * height * (3 + _DECODER["JPEG"])):
                image = jpeg.decode(content, size)
            if image is not None:
                return image
        with _picture(io.BytesIO(content)) as image:
            if size:
                image.draft(None, (2 * size, 2 * size))
            return _to_rgb(image)


def as_list(images: "Source | Sequence[Source]") -> "Sequence[Source]":
    """Return pictures as a sequence of them: one alone (a path, bytes, file object, Pillow image or array) as a list of one."""
    one = isinstance(images, (str, os.PathLike, bytes, Image.Image)) or hasattr(images, "read") or getattr(images, "ndim", 0) == 3
    return [cast(Source, images)] if one else cast(Sequence[Source], images)


def measure(source: Path | str) -> tuple[int, int]:
    """Return (width, height) of the picture in a file as it is stored, without decoding more than is needed for that.

    A JPEG or PNG is taken for whole if it ends as it should; any other file is decoded. Raises UserError as `decode` does.
    """
    with _reading(source) as file:
        head = file.read(1 << 16)
        file.seek(max(0, file.seek(0, 2) - 8))
        end = file.read()
        sides = jpeg.header(head)
        if sides and end.endswith(jpeg.END) and sides[0] * sides[1] <= jpeg.MAX_PIXELS:
            return sides
        with _picture(file) as image:
            if end != PNG_END:
                image.load()
            return image.size


@contextlib.contextmanager
def _reading(source: Path | str | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """Open a picture's content that is not empty, and make a UserError of whatever goes wrong with it."""
    name = "the bytes" if isinstance(source, bytes) else getattr(source, "name", source) if hasattr(source, "read") else source
    with _as_user_error(name), contextlib.ExitStack() as held:
        if isinstance(source, bytes) or hasattr(source, "read"):
            content = source if isinstance(source, bytes) else source.read(MOST_BYTES + 1)
            length, file = len(content), cast(BinaryIO, io.BytesIO(content))
        else:
            file = cast(BinaryIO, held.enter_context(opened(source)).raw)      # few calls: at each one threads wait for others
            length = os.fstat(file.fileno()).st_size
        if not length:
            raise UserError(f"{name}: the file is empty")
        if length > MOST_BYTES:
            raise UserError(f"{name}: larger than the {MOST_BYTES:,} bytes allowed; shrink the picture first")
        yield file


@contextlib.contextmanager
def _as_user_error(source: object) -> Iterator[None]:
    """Make a UserError, which names the source, of whatever goes wrong with a picture inside the block."""
    try:
        yield
    except UserError:
        raise
    except _TooLargeError as error:
        raise UserError(f"{source}: takes {error} bytes to decode, of {MOST_MEMORY:,} allowed; shrink it first") from None
    except MemoryError:
        raise UserError(f"{source}: too little memory is free to decode it; free some, or shrink the picture") from None
    except UnidentifiedImageError:
        raise UserError(f"{source}: not a picture, or a kind that Pillow cannot read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{source}: more pixels than the {jpeg.MAX_PIXELS:,} allowed; shrink it first") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or error}") from None
    except Exception as error:                     # in a broken file Pillow can fail in any way
        if getattr(error, "code", None) == jpeg.NO_MEMORY:
            raise UserError(f"{source}: too little memory is free to decode it; free some, or shrink the picture") from None
        raise UserError(f"{source}: broken picture ({error})") from None


class _TooLargeError(Exception):
    """A picture that would take this many bytes to decode."""


@contextlib.contextmanager
def _room(need: int) -> Iterator[None]:
    """Hold back the block while another picture as large is decoded. need: bytes. Raises _TooLargeError above MOST_MEMORY."""
    if need > MOST_MEMORY:
        raise _TooLargeError(f"{need:,}")
    with _ONE_LARGE if need > _LARGE else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _picture(file: BinaryIO) -> Iterator[Image.Image]:
    """Have a picture open inside the block; nothing of it but the header is read before its size is known to be allowed."""
    file.seek(0)
    with Image.open(file, formats=FORMATS) as image:
        pixels = image.size[0] * image.size[1]
        if pixels > jpeg.MAX_PIXELS:
            raise Image.DecompressionBombError
        # as Pillow holds it (1 to 4 bytes a pixel), turned and then as RGB, but never both
        with _room(pixels * (8 + _DECODER.get(image.format, 0))):
            yield image


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Return uint8 (H, W, 3), converted in strips: the picture as Pillow holds it and the result are all that lie in memory."""
    ImageOps.exif_transpose(image, in_place=True)
    image.load()
    top = 65535.0
    if image.mode == "F":
        values = np.nan_to_num(image.getextrema())
        top = max(float(values[1]), 1.0)
    out = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // image.width)
    for start in range(0, image.height, rows):
        strip = image.crop((0, start, image.width, min(start + rows, image.height)))
        if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more a pixel: Pillow would clip them at 255
            values = np.nan_to_num(np.asarray(strip).astype(np.float64))
            out[start:start + rows] = np.clip(values / top * 255, 0, 255).round()[:, :, None]
            continue
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        out[start:start + rows] = np.asarray(strip.convert("RGB"))
    return out


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 (size, size, 3): the shorter side brought to `size` (bilinear, antialiased), the middle cut out."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box))


def eval_pixels(images: Images, size: int) -> np.ndarray:
    """Return uint8 (B, size, size, 3) of pictures uint8 (H, W, 3) of any size: the one way to evaluate and infer."""
    if isinstance(images, np.ndarray) and images.shape[1:3] == (size, size):
        return images
    return stacked(lambda number: resize(images[number], size), len(images), (size, size, 3), np.uint8)


def eval_transform(images: Images, size: int, normalization: Normalization) -> np.ndarray:
    """Return float32 (B, 3, size, size): `eval_pixels`, normalized."""
    return normalization(eval_pixels(images, size))
