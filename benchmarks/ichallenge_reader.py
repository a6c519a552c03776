"""Reading 400 photographs of the organisers' size: this package against the tutorial's loop, in one run.

python -m benchmarks.ichallenge_reader [--photos 400] [--rounds 3] [--data-dir DIR]

Makes JPEGs of about 2124x2056 pixels in a temporary folder: enlarged photographs of DIR/PALM-Training400, or drawn discs,
with noise. Each round reads all of them by the tutorial's loop (OpenCV decodes, squeezes to 224x224, one after the other),
by `data_loader` with an empty cache, again by the same reader, and by a new one with the cache. Prints one JSON line.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np


def tutorial_loop(folder: Path, batch_size: int = 10) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what the tutorial's reader yields, in its way."""
    images, labels = [], []
    for name in sorted(os.listdir(folder)):
        image = cv2.resize(cv2.imread(str(folder / name)), (224, 224))
        images.append(image.transpose(2, 0, 1).astype("float32") / 255 * 2 - 1)
        labels.append(float(name[0] == "P"))
        if len(images) == batch_size:
            yield np.array(images, "float32"), np.array(labels, "float32")[:, None]
            images, labels = [], []
    if images:
        yield np.array(images, "float32"), np.array(labels, "float32")[:, None]


def make_photos(folder: Path, count: int, source: Path | None) -> float:
    """Write `count` JPEGs and return their mean size in MB."""
    originals = sorted((source / "PALM-Training400").glob("*.jpg")) if source else []

    def make(number: int) -> int:
        rng = np.random.default_rng(number)
        height, width = 2056 - 4 * (number % 5), 2124 - 4 * (number % 3)
        if originals:
            small = cv2.imread(str(originals[number % len(originals)]))
        else:
            small = np.zeros((224, 224, 3), np.uint8)
            cv2.circle(small, (112, 112), 108, rng.integers(40, 200, 3).tolist(), -1)
            cv2.circle(small, rng.integers(60, 160, 2).tolist(), 14, (120, 200, 250), -1)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = np.empty((height, width, 3), np.int16)
        cv2.setRNGSeed(number)
        cv2.randn(noise, (0, 0, 0), (6, 6, 6))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        path = folder / f"{'PHN'[number % 3]}{number:04d}.jpg"
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        return path.stat().st_size

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(make, range(count))) / count / 1e6


def seconds(reader) -> float:
    """Return how long a pass takes."""
    start = time.perf_counter()
    for _ in reader():
        pass
    return time.perf_counter() - start


def main() -> None:
    """Make the photographs, take the rounds and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["PADDLE_CLS_CACHE"] = f"{temporary}/cache"
        from paddle_cls.data.sets.ichallenge_pm import data_loader
        folder = Path(temporary, "photos")
        folder.mkdir()
        megabytes = make_photos(folder, options.photos, options.data_dir)
        rounds = []
        for _ in range(options.rounds):
            shutil.rmtree(f"{temporary}/cache", ignore_errors=True)
            tutorial = seconds(lambda: tutorial_loop(folder))
            start = time.perf_counter()
            reader = data_loader(folder)
            first = time.perf_counter() - start + seconds(reader)
            second = seconds(reader)
            start = time.perf_counter()
            seconds(data_loader(folder))
            rounds.append({"tutorial": tutorial, "first": first, "second": second,
                           "restart": time.perf_counter() - start, "ratio": tutorial / first})
            print({name: round(value, 2) for name, value in rounds[-1].items()}, flush=True)
    medians = {name: round(statistics.median(row[name] for row in rounds), 2) for name in rounds[0]}
    print(json.dumps({"photos": options.photos, "mean_megabytes": round(megabytes, 2), "cpus": os.cpu_count(),
                      "rounds": options.rounds, "medians": medians}))


if __name__ == "__main__":
    main()
