"""A stand-in for a trained network, which answers by the colour of a picture in no time, and pictures for it."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image


class Colours:
    """Looks like a Predictor; `before`: is called with the images of each batch."""

    def __init__(self, *, threshold: float | None = None):
        self.classes = ["red", "blue"] if threshold else ["red", "green", "blue"]
        self.threshold, self.image_size, self.checksum, self.metrics, self.source = threshold, 2, "1234", {}, "run/best"
        self.before: Callable[[list[np.ndarray]], object] = lambda images: None
        self.asked = 0                             # paths that were taken

    def files(self, paths: Iterable[Path], *, batch_size: int = 64):
        def counted():
            for path in paths:
                self.asked += 1
                yield path
        from paddle_cls.inference.decoding import computed  # once the tests' environment is set
        return computed(counted(), self, size=2, batch_size=batch_size)

    def __call__(self, images: list[np.ndarray]) -> np.ndarray:
        self.before(images)
        shares = np.stack([image.mean((0, 1)) for image in images]) + 1.0
        shares = shares[:, ::2] if self.threshold else shares
        return shares / shares.sum(1, keepdims=True)

    def features(self, images: list[np.ndarray], *, batch_size: int) -> np.ndarray:
        return self(images).astype(np.float32)

    def verdict(self, shares: np.ndarray) -> dict | None:
        if self.threshold is None:
            return None
        return {"verdict": self.classes[int(shares[1] > self.threshold)], "positive": "blue", "probability": float(shares[1]),
                "threshold": self.threshold}


def draw(folder: Path, count: int) -> list[str]:
    """Write pictures 00.png, 01.png, ... of different colours; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (2, 2), (number % 256, 100, 50)).save(folder / f"{number:02}.png")
    return [str(folder / f"{number:02}.png") for number in range(count)]
