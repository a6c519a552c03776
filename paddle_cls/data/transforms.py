"""From pictures to the network's input: decoding, resizing, augmenting, normalizing. NumPy in, NumPy out."""

import contextlib
import functools
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import UserError
from . import jpeg
from .threads import for_each, stacked

PNG_END = b"IEND\xaeB`\x82"
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Normalization:
    """What turns uint8 pixels into the network's input: (pixel / 255 - mean) / std, a value per RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (B, 3, H, W) of uint8 (B, H, W, 3); quickest where the images lie channel by channel in memory."""
        scale, shift = 1 / (255 * np.array(self.std)), -np.array(self.mean) / np.array(self.std)
        out = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
        step = max(1, 2**18 // max(1, images[:1].size))          # images that fit in a core's cache

        def block(number: int) -> None:
            part = slice(step * number, step * (number + 1))
            out[part] = np.ascontiguousarray(images[part].transpose(0, 3, 1, 2))       # reordered as bytes, not as floats
            for channel, (factor, added) in enumerate(zip(scale, shift, strict=True)):
                plane = out[part, channel].reshape(-1, out[0, 0].size)
                cv2.addWeighted(plane, factor, plane, 0, added, plane)                 # in one go, unlike *= and +=

        for_each(block, -(-len(images) // step))
        return out


CIFAR10 = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))   # of the 50,000 training images
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))         # of its training images, as is usual
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))                        # to [-1, 1]


def decode(source: Path | str, size: int | None = None) -> np.ndarray:
    """Return the picture in a file as a person sees it, uint8 (H, W, 3) RGB.

    size: pixels a side that will be needed. A much larger JPEG is then shrunk while it is decoded, to no less than twice
    that, in less than half the time; what `resize` makes of a fundus differs by 3 levels of 255 at most, in the mean by 0.25.

    Turned as its EXIF says; grey and palette become RGB; transparency lies on white; 16 bits are scaled to 8; of an
    animation the first frame. Raises UserError for a file that is missing, empty, broken, or no picture, and, before
    decoding it, for one of more than jpeg.MAX_PIXELS.
    """
    with _reading(source) as file:
        content = file.read()
        if content.startswith(jpeg.START):
            image = jpeg.decode(content, size)
            if image is not None:
                return image
        with _opened(io.BytesIO(content)) as image:
            if size:
                image.draft(None, (2 * size, 2 * size))
            return _to_rgb(image)


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
        with _opened(file) as image:
            if end != PNG_END:
                image.load()
            return image.size


@contextlib.contextmanager
def _reading(source: Path | str) -> Iterator[BinaryIO]:
    """Open a file that is no empty one, and make a UserError of whatever goes wrong with it."""
    try:
        with open(source, "rb", buffering=0) as file:        # few calls to Linux: at each one threads wait for each other
            if not os.fstat(file.fileno()).st_size:
                raise UserError(f"{source}: the file is empty")
            yield file
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{source}: not a picture, or a kind that Pillow cannot read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{source}: more pixels than the {jpeg.MAX_PIXELS:,} allowed; shrink it first") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or error}") from None
    except Exception as error:                     # in a broken file Pillow can fail in any way
        raise UserError(f"{source}: broken picture ({error})") from None


def _opened(file: BinaryIO) -> Image.Image:
    file.seek(0)
    image = Image.open(file)
    if image.size[0] * image.size[1] > jpeg.MAX_PIXELS:
        raise Image.DecompressionBombError
    return image


def _to_rgb(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":      # 16 bits and more a pixel: Pillow would clip them at 255
        values = np.asarray(image).astype(np.float64)
        top = 65535 if image.mode != "F" else max(values.max(initial=0), 1)
        grey = np.clip(values / top * 255, 0, 255).round().astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 (size, size, 3): the shorter side brought to `size` (bilinear, antialiased), the middle cut out."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box))


def eval_transform(images: Sequence[np.ndarray], size: int, normalization: Normalization) -> np.ndarray:
    """Return float32 (B, 3, size, size) of pictures uint8 (H, W, 3) of any size: the one way to evaluate and infer."""
    if not isinstance(images, np.ndarray) or images.shape[1:3] != (size, size):
        images = stacked(lambda number: resize(images[number], size), len(images), (size, size, 3), np.uint8)
    return normalization(images)


TTA = ("none", "flip", "flips", "crops")


def size_for(size: int, tta: str) -> int:
    """Return the pixels a side of a picture of which `eval_views` makes views of `size`."""
    return round(size * 8 / 7) if tta == "crops" else size


def eval_views(images: Sequence[np.ndarray], size: int, normalization: Normalization, tta: str) -> list[np.ndarray]:
    """Return the views of pictures whose answers are averaged in test-time augmentation, each float32 (B, 3, size, size).

    tta: "none" is `eval_transform` alone; "flip" adds its mirror image; "flips" adds left-right, up-down and both (for
    pictures without an up and down, such as a fundus); "crops" takes the four corners and the centre of the picture at 8/7
    of the size and their mirror images, ten views (Krizhevsky et al. 2012, section 4.1: 224 pixels of 256).
    """
    if tta == "crops":
        large = size_for(size, tta)
        whole = eval_transform(images, large, normalization)
        end, middle = large - size, (large - size) // 2
        cuts = [whole[:, :, y:y + size, x:x + size] for y, x in ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))]
        return cuts + [cut[..., ::-1] for cut in cuts]
    plain = eval_transform(images, size, normalization)
    return {"none": [plain], "flip": [plain, plain[..., ::-1]],
            "flips": [plain, plain[..., ::-1], plain[..., ::-1, :], plain[..., ::-1, ::-1]]}[tta]


def random_crop_flip(images: np.ndarray, rng: np.random.Generator, padding: int = 4) -> np.ndarray:
    """Return uint8 (B, H, W, 3): each image cut at random out of itself with a reflected border, half of them mirrored.

    images: uint8 (B, H, W, 3). padding: pixels on each side, fewer than H and W.
    """
    count, height, width, _ = images.shape
    if not count:                                  # a process's part of a short last batch
        return images
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(-1, width)           # of all images and channels
    wide = cv2.copyMakeBorder(rows, 0, 0, padding, padding, cv2.BORDER_REFLECT_101)
    pieces = np.ndarray(wide.size - width + 1, f"V{width}", wide, strides=1)               # `width` bytes from any place on
    ys, xs = rng.integers(0, 2 * padding + 1, (2, count))
    first = np.arange(count) * 3 * height * wide.shape[1] + xs
    out = pieces[_row_places(height, wide.shape[1], padding)[ys] + first[:, None]].view(np.uint8)
    out = out.reshape(count, 3, height, width)
    flips = np.flatnonzero(rng.random(count) < 0.5)
    if len(flips):
        out[flips] = cv2.flip(out[flips].reshape(-1, width), 1).reshape(-1, 3, height, width)
    return out.transpose(0, 2, 3, 1)          # channels stay first in memory, where the network wants them


@functools.cache
def _row_places(height: int, step: int, padding: int) -> np.ndarray:
    """Return for each shift (2 * padding + 1) where the rows of three channels begin in memory, reflected at the border."""
    inside = np.pad(np.arange(height), padding, "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(inside, height)
    return ((windows[:, None] + np.arange(3)[:, None] * height) * step).reshape(len(windows), -1)


def random_fundus(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (B, H, W, 3): each photograph turned by any angle, zoomed, shifted, mirrored, its light and colour changed.

    A fundus has no up and down, and left and right eyes mirror each other. Zoom 0.8 to 1.2, shift up to 8% of the side,
    brightness and each colour up to 10% (the same for all pixels of an image), contrast 0.85 to 1.15. Outside is black.
    """
    out = np.empty_like(images, order="C")
    for place, image in enumerate(images):
        height, width = image.shape[:2]
        angle, zoom = rng.uniform(0, 360), np.exp(rng.uniform(np.log(0.8), np.log(1.2)))
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
        matrix[:, 2] += rng.uniform(-0.08, 0.08, 2) * (width, height)
        if rng.random() < 0.5:                     # with any turn, one mirror makes all
            matrix[0] = (0, 0, width - 1) - matrix[0]
        turned = cv2.warpAffine(np.ascontiguousarray(image), matrix, (width, height), flags=cv2.INTER_LINEAR)
        gain = rng.uniform(0.85, 1.15) * rng.uniform(0.9, 1.1, 3)
        shift = rng.uniform(-0.1, 0.1) * 255
        light = (np.arange(256)[:, None] - 128) * gain + 128 + shift
        light[0] = 0                               # the black around the eye stays black
        table = np.clip(light, 0, 255).round().astype(np.uint8)
        out[place] = cv2.LUT(turned, table.reshape(1, 256, 3))
    return out
