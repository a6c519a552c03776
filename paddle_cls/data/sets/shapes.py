"""`shapes`: ten classes of figures drawn by the package itself, so that the first training needs no download."""

from pathlib import Path

import numpy as np

from ...system.files import write_bytes, writing
from ...system.threads import opencv
from ..dataset import Data
from ..images.transforms import CIFAR10
from ..reader import Reader, Split

cv2 = opencv()
CLASSES = ("circle", "ring", "half disc", "triangle", "square", "bar", "pentagon", "star", "cross", "arrow")
SIZE = 32                                          # pixels a side
SUBPIXEL = 4                                       # cv2 draws in 1/16 pixel
COUNTS = {"train": 10000, "val": 2000}


def _regular(corners: int, inner: float | None = None) -> np.ndarray:
    """Return a regular polygon (corners, 2) of radius 1, or a star with `inner` radius."""
    count = corners if inner is None else 2 * corners
    angles = np.arange(count) * 2 * np.pi / count
    radius = np.where(np.arange(count) % 2, 1.0 if inner is None else inner, 1.0)
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]


_ARC = np.linspace(-np.pi / 2, np.pi / 2, 16)
_OUTLINES = {
    "circle": _regular(24),
    "ring": _regular(24),
    "half disc": np.stack([np.cos(_ARC) - 0.4, np.sin(_ARC)], 1),
    "triangle": _regular(3),
    "square": _regular(4),
    "bar": np.array([[1, .3], [1, -.3], [-1, -.3], [-1, .3]]),
    "pentagon": _regular(5),
    "star": _regular(5, 0.42),
    "cross": np.array([[1, .3], [.3, .3], [.3, 1], [-.3, 1], [-.3, .3], [-1, .3],
                       [-1, -.3], [-.3, -.3], [-.3, -1], [.3, -1], [.3, -.3], [1, -.3]]),
    "arrow": np.array([[1, 0], [.1, .8], [.1, .3], [-1, .3], [-1, -.3], [.1, -.3], [.1, -.8]]),
}


def draw(label: int, rng: np.random.Generator) -> np.ndarray:
    """Return one figure of class `label`, uint8 (32, 32, 3): any place, size, turn and colour on a noisy ground."""
    ground, ink = rng.integers(0, 256, (2, 3))
    while np.abs(ground - ink).sum() < 220:        # too alike to be seen
        ground, ink = rng.integers(0, 256, (2, 3))
    slope = rng.uniform(-1, 1, (2, 3)) * 20
    ramp = np.linspace(-1, 1, SIZE)
    image = ground + slope[0] * ramp[:, None, None] + slope[1] * ramp[None, :, None]
    mask = np.zeros((SIZE, SIZE), np.uint8)
    radius = rng.uniform(9, 14)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = rng.uniform(radius * 0.95, SIZE - radius * 0.95, 2)
    outline = _OUTLINES[CLASSES[label]]
    _fill(mask, outline @ turn * radius + centre, 255)
    if CLASSES[label] == "ring":
        _fill(mask, outline * radius * rng.uniform(0.45, 0.7) + centre, 0)
    cover = mask[:, :, None] / 255.0
    image = image * (1 - cover) + ink * cover + rng.normal(0, rng.uniform(2, 16), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _fill(mask: np.ndarray, points: np.ndarray, value: int) -> None:
    scaled = np.round(points * 2**SUBPIXEL).astype(np.int32)
    cv2.fillPoly(mask, [scaled], value, cv2.LINE_AA, SUBPIXEL)


def generate(split: str, count: int | None = None) -> Split:
    """Return the first `count` images of `split` ("train": 10,000, "val": 2,000), the classes in turn; always the same.

    Each image has a seed of its own, so a shorter split is the beginning of a longer one.
    """
    count = COUNTS[split] if count is None else count
    labels = np.arange(count) % len(CLASSES)
    part = sorted(COUNTS).index(split)
    images = np.stack([draw(label, np.random.default_rng([part, i])) for i, label in enumerate(labels.tolist())])
    return Split(images, labels)


def dataset() -> Data:
    """Return the data set."""
    return Data(generate("train"), generate("val"), CLASSES, SIZE, CIFAR10)


def train() -> Reader:
    """Return a reader of the 10,000 training samples (uint8 (32, 32, 3), label 0 to 9)."""
    return generate("train").reader()


def val() -> Reader:
    """Return a reader of the 2,000 validation samples (uint8 (32, 32, 3), label 0 to 9)."""
    return generate("val").reader()


def write_examples(folder: Path, count: int = 10) -> list[Path]:
    """Write the first `count` validation images as PNG files named by class, and return their paths.

    Raises UserError where they cannot be written; what is there of them is whole.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    split = generate("val", count)
    paths = [folder / f"{i:02d}_{CLASSES[label].replace(' ', '_')}.png" for i, label in enumerate(split.labels)]
    for path, image in zip(paths, split.images, strict=True):
        with writing(path):
            write_bytes(path, cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    return paths
