"""Augmentation of training images, mostly of one: uint8 RGB (H, W, 3) of any size and a random generator in, uint8 out.

Written over OpenCV and Pillow, for no augmentation library serves here: albumentations is no longer maintained (its last
release is of 2025, its successor asks for the AGPL), imgaug has had no release since 2020, torchvision needs PyTorch, and
`paddle.vision.transforms` draws from global random states and needs Paddle, which no data module loads. All functions are
pure, so that several threads can work at once.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ...system.threads import opencv

cv2 = opencv()
LUMA = np.array([0.299, 0.587, 0.114])             # grey of red, green and blue (ITU-R BT.601)
_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])         # grey, and two axes of colour


def crop_box(height: int, width: int, rng: np.random.Generator, *, area: tuple[float, float] = (0.08, 1.0),
             aspect: tuple[float, float] = (3 / 4, 4 / 3)) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a random part of an image of `height` x `width` pixels.

    Its share of the area is uniform in `area`, the logarithm of its width / height in that of `aspect` (Szegedy et al.
    2014, section 6, with the logarithm of later programs). Where ten such draws do not fit: the largest middle part of an
    allowed aspect.
    """
    narrow, wide = map(math.log, aspect)
    for _ in range(10):                            # rng.random is the quickest draw, and all threads wait for each other here
        pixels = height * width * (area[0] + (area[1] - area[0]) * rng.random())
        ratio = math.exp(narrow + (wide - narrow) * rng.random())
        rows, columns = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return int((height - rows + 1) * rng.random()), int((width - columns + 1) * rng.random()), rows, columns
    rows = min(height, max(1, round(width / aspect[0])))
    columns = min(width, max(1, round(height * aspect[1])))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def resized_crop(image: np.ndarray, rng: np.random.Generator, size: int, *, area: tuple[float, float] = (0.08, 1.0),
                 aspect: tuple[float, float] = (3 / 4, 4 / 3)) -> np.ndarray:
    """Return uint8 (size, size, 3): a part chosen by `crop_box`, brought to size (mean of the area, or bilinear to enlarge)."""
    top, left, rows, columns = crop_box(image.shape[0], image.shape[1], rng, area=area, aspect=aspect)
    shrinks = rows >= size and columns >= size
    return cv2.resize(image[top:top + rows, left:left + columns], (size, size),
                      interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def padded_crop(image: np.ndarray, rng: np.random.Generator, padding: int = 4) -> np.ndarray:
    """Return an image of the same size, cut at random out of `image` with a reflected border of `padding` pixels."""
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, padding, padding, padding, padding, cv2.BORDER_REFLECT_101)
    top, left = rng.integers(0, 2 * padding + 1, 2)
    return padded[top:top + height, left:left + width]


def flip(image: np.ndarray, rng: np.random.Generator, probability: float = 0.5, *, axis: int = 1) -> np.ndarray:
    """Return the image mirrored with that probability: left and right (axis 1), or top and bottom (axis 0)."""
    return cv2.flip(image, axis) if rng.random() < probability else image


def warp(image: np.ndarray, *, angle: float = 0.0, shift: Sequence[float] | np.ndarray = (0, 0), zoom: float = 1.0,
         shear: Sequence[float] | np.ndarray = (0, 0), grey: int | None = None) -> np.ndarray:
    """Return the image sheared, zoomed, turned about its middle, and shifted, in this order: one affine map, bilinear.

    angle: degrees against the clock. shift: shares of width and height, to the right and down. shear: degrees by which
    the vertical and the horizontal lean. What comes from outside is the image reflected at its border, or `grey`.
    """
    height, width = image.shape[:2]
    across, down = np.tan(np.radians(shear))
    cos, sin = zoom * math.cos(math.radians(angle)), zoom * math.sin(math.radians(angle))
    linear = np.array([[cos, sin], [-sin, cos]]) @ [[1, across], [down, 1]]            # y points down
    middle = np.array([width - 1, height - 1]) / 2
    matrix = np.column_stack([linear, middle - linear @ middle + np.multiply(shift, (width, height))])
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=[grey or 0] * 3,
                          borderMode=cv2.BORDER_REFLECT_101 if grey is None else cv2.BORDER_CONSTANT)


def affine(image: np.ndarray, rng: np.random.Generator, *, rotate: float = 0.0, shift: float = 0.0, zoom: float = 0.0,
           shear: float = 0.0) -> np.ndarray:
    """Return `warp` of the image by at most: rotate and shear degrees, shift of its sides, zoom from 1 - zoom to 1 + zoom.

    All uniform, the zoom in its logarithm.
    """
    return warp(image, angle=rng.uniform(-rotate, rotate), shift=rng.uniform(-shift, shift, 2),
                zoom=math.exp(rng.uniform(math.log(1 - zoom), math.log(1 + zoom))), shear=rng.uniform(-shear, shear, 2))


def recolour(image: np.ndarray, *, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0,
             hue: float = 0.0) -> np.ndarray:
    """Return the image with its light, contrast and colour multiplied by factors, and its hues turned; in this order.

    contrast: distance from the image's mean grey. saturation: distance of a pixel from its own grey. hue: turn of the
    colours about the grey axis, 1 = once around, in the plane I, Q of the YIQ colours. One matrix in all, so that only
    the result is rounded and cut off at 0 and 255.
    """
    turn = 2 * math.pi * hue
    rotation = [[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]]
    fade = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))
    linear = np.linalg.inv(_YIQ) @ rotation @ _YIQ @ fade
    grey = brightness * float(LUMA @ cv2.mean(image)[:3])
    return cv2.transform(image, np.column_stack([linear * brightness * contrast, np.full(3, (1 - contrast) * grey)]))


def jitter(image: np.ndarray, rng: np.random.Generator, *, brightness: float = 0.0, contrast: float = 0.0,
           saturation: float = 0.0, hue: float = 0.0) -> np.ndarray:
    """Return `recolour` of the image, each factor uniform within 1 +- its number, the turn of hue within +- `hue`."""
    light, spread, colour = 1 + rng.uniform(-1, 1, 3) * (brightness, contrast, saturation)
    return recolour(image, brightness=light, contrast=spread, saturation=colour, hue=rng.uniform(-hue, hue))


def erase(image: np.ndarray, rng: np.random.Generator, probability: float = 0.5, *, area: tuple[float, float] = (0.02, 0.4),
          aspect: float = 0.3) -> np.ndarray:
    """Return the image, with that probability a rectangle of it filled with random pixels (Zhong et al. 2017, RE-R).

    The rectangle's share of the image is uniform in `area`, the logarithm of its height / width between those of
    `aspect` and 1 / `aspect` (the paper: the ratio itself).
    """
    if rng.random() >= probability:
        return image
    height, width = image.shape[:2]
    while True:                                    # a part near area[0] fits, so that this ends
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect), -math.log(aspect)))
        rows, columns = max(1, round(math.sqrt(pixels * ratio))), max(1, round(math.sqrt(pixels / ratio)))
        if rows <= height and columns <= width:
            break
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    out = image.copy()
    out[top:top + rows, left:left + columns] = rng.integers(0, 256, (rows, columns, 3), np.uint8)
    return out


def _by_pillow(change: Callable, image: np.ndarray, *arguments: int) -> np.ndarray:
    return np.asarray(change(Image.fromarray(image), *arguments))


# RandAugment: (image, strength from -1 to 1) -> image. At strength 0 none but autocontrast and equalize changes anything.
OPERATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, strength: image,
    "autocontrast": lambda image, strength: _by_pillow(ImageOps.autocontrast, image),
    "equalize": lambda image, strength: _by_pillow(ImageOps.equalize, image),
    "rotate": lambda image, strength: warp(image, angle=30 * strength, grey=128),
    "solarize": lambda image, strength: _by_pillow(ImageOps.solarize, image, round(256 * (1 - abs(strength)))),
    "color": lambda image, strength: recolour(image, saturation=1 + 0.9 * strength),
    "posterize": lambda image, strength: _by_pillow(ImageOps.posterize, image, 8 - round(4 * abs(strength))),
    "contrast": lambda image, strength: recolour(image, contrast=1 + 0.9 * strength),
    "brightness": lambda image, strength: recolour(image, brightness=1 + 0.9 * strength),
    "sharpness": lambda image, strength: np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(1 + 0.9 * strength)),
    "shear_x": lambda image, strength: warp(image, shear=(math.degrees(math.atan(0.3 * strength)), 0), grey=128),
    "shear_y": lambda image, strength: warp(image, shear=(0, math.degrees(math.atan(0.3 * strength))), grey=128),
    "translate_x": lambda image, strength: warp(image, shift=(0.45 * strength, 0), grey=128),
    "translate_y": lambda image, strength: warp(image, shift=(0, 0.45 * strength), grey=128),
}


def randaugment(image: np.ndarray, rng: np.random.Generator, count: int = 2, magnitude: float = 9.0) -> np.ndarray:
    """Return the image after `count` random OPERATIONS, each at `magnitude` of 10 in a random direction.

    RandAugment of Cubuk et al. 2019, with its 14 operations and the ranges of AutoAugment at magnitude 10. Deviations:
    posterize and solarize grow stronger with the magnitude too, not weaker, and shears are about the middle.
    """
    for name in rng.choice(list(OPERATIONS), count):
        image = OPERATIONS[name](image, magnitude / 10 * rng.choice((-1, 1)))
    return image


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
    for index, image in enumerate(images):
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
        out[index] = cv2.LUT(turned, table.reshape(1, 256, 3))
    return out
