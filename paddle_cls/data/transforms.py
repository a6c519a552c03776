"""From pictures to the network's input: decoding, resizing, augmenting, normalizing. NumPy in, NumPy out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import UserError

MAX_PIXELS = 178_956_970                           # Pillow's limit; a photograph has fewer, a decompression bomb more
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Normalization:
    """What turns uint8 pixels into the network's input: (pixel / 255 - mean) / std, a value per RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return float32 (B, 3, H, W) of uint8 (B, H, W, 3)."""
        scale = (1 / (255 * np.array(self.std))).astype(np.float32).reshape(1, 3, 1, 1)
        shift = (-np.array(self.mean) / np.array(self.std)).astype(np.float32).reshape(1, 3, 1, 1)
        out = np.multiply(images.transpose(0, 3, 1, 2), scale, dtype=np.float32, order="C")
        out += shift
        return out


CIFAR10 = Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))   # of the 50,000 training images
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))                        # to [-1, 1]


def decode(source: Path | str, size: int | None = None) -> np.ndarray:
    """Return the picture in a file as a person sees it, uint8 (H, W, 3) RGB.

    size: pixels a side that will be needed. A much larger JPEG is then shrunk while it is decoded, to no less than twice
    that, in less than half the time; what `resize` makes of a fundus differs by 3 levels of 255 at most, in the mean by 0.25.

    Turned as its EXIF says; grey and palette become RGB; transparency lies on white; 16 bits are scaled to 8; of an
    animation the first frame. Raises UserError for a file that is missing, empty, broken, or no picture, and, before
    decoding it, for one of more than MAX_PIXELS.
    """
    try:
        with open(source, "rb") as file:
            if not file.read(1):
                raise UserError(f"{source}: the file is empty")
            file.seek(0)
            with Image.open(file) as image:
                if image.size[0] * image.size[1] > MAX_PIXELS:
                    raise Image.DecompressionBombError
                if size:
                    image.draft(None, (2 * size, 2 * size))
                return _to_rgb(image)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{source}: not a picture, or a kind that Pillow cannot read") from None
    except Image.DecompressionBombError:
        raise UserError(f"{source}: more pixels than the {MAX_PIXELS:,} allowed; shrink it first") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or error}") from None
    except Exception as error:                     # in a broken file Pillow can fail in any way
        raise UserError(f"{source}: broken picture ({error})") from None


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
    return normalization(np.stack([resize(image, size) for image in images]))


TTA = ("none", "flip", "flips", "crops")


def eval_views(images: Sequence[np.ndarray], size: int, normalization: Normalization, tta: str) -> list[np.ndarray]:
    """Return the views of pictures whose answers are averaged in test-time augmentation, each float32 (B, 3, size, size).

    tta: "none" is `eval_transform` alone; "flip" adds its mirror image; "flips" adds left-right, up-down and both (for
    pictures without an up and down, such as a fundus); "crops" takes the four corners and the centre of the picture at 8/7
    of the size and their mirror images, ten views (Krizhevsky et al. 2012, section 4.1: 224 pixels of 256).
    """
    if tta == "crops":
        large = round(size * 8 / 7)
        whole = eval_transform(images, large, normalization)
        end, middle = large - size, (large - size) // 2
        cuts = [whole[:, :, y:y + size, x:x + size] for y, x in ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))]
        return cuts + [cut[..., ::-1] for cut in cuts]
    plain = eval_transform(images, size, normalization)
    return {"none": [plain], "flip": [plain, plain[..., ::-1]],
            "flips": [plain, plain[..., ::-1], plain[..., ::-1, :], plain[..., ::-1, ::-1]]}[tta]


def random_crop_flip(images: np.ndarray, rng: np.random.Generator, padding: int = 4) -> np.ndarray:
    """Return uint8 (B, H, W, 3): each image cut at random out of itself with a reflected border, half of them mirrored.

    images: uint8 (B, H, W, 3). padding: pixels on each side.
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    padded = np.ascontiguousarray(padded.transpose(0, 3, 1, 2))            # (B, 3, H + 2p, W + 2p)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    ys, xs = rng.integers(0, 2 * padding + 1, (2, count))
    out = windows[np.arange(count), :, ys, xs]                             # (B, 3, H, W)
    flips = rng.random(count) < 0.5
    out[flips] = out[flips, :, :, ::-1]
    return out.transpose(0, 2, 3, 1)          # channels stay first in memory, where the network wants them


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
