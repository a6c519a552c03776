"""Reading a folder of JPEGs against a PyTorch DataLoader, in alternating rounds: python benchmarks/folder.py [--rounds 5]

JPEGs of 500x375 pixels with the texture of a photograph (about 30 kB each) are decoded by OpenCV on both sides, cut by a random
resized crop to 224, flipped, and normalized to float32 batches of 128. PyTorch has a worker process for each core, this
package a thread. The peer needs opencv-python-headless beside torch. Five rounds of about 20 seconds.
"""

import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np

from benchmarks.rounds import Measure, alternate, machine, options, sides, table
from paddle_cls.system import runtime
from paddle_cls.system.entry import reported
from paddle_cls.system.threads import for_each


def make_photo(number: int, height: int = 375, width: int = 500) -> bytes:
    """Return a JPEG of noise whose spectrum falls with the frequency, as a photograph's does."""
    rng = np.random.default_rng(number)
    image = np.full((height, width, 3), 128, np.float32)
    for level in range(2, 9):
        grid = rng.normal(0, 110 / 2 ** (0.75 * level), (max(2, height * 2**level // width), 2**level, 3)).astype(np.float32)
        image += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", np.clip(image, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def make_folder(folder: Path, count: int, classes: int = 4) -> int:
    """Write that many photographs below `folder`, dealt out to the classes, and return their bytes in all."""
    sizes = [0] * count

    def make(number: int) -> None:
        path = folder / f"class {number % classes}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes[number] = path.write_bytes(make_photo(number))

    for_each(make, count)
    return sum(sizes)


def main() -> None:
    """Take the rounds and print the table."""
    chosen = options(__doc__)
    ours, peer = sides(chosen.peer_python)
    measures = {"folder": Measure("JPEG, resized crop 224 and flip, images/s")}
    passes, count = (2, 1024) if chosen.quick else (5, 2048)
    with tempfile.TemporaryDirectory() as temporary:
        size = make_folder(Path(temporary), count)
        for number in range(chosen.rounds):
            answers = alternate(measures, lambda: ours.ask("folder", folder=temporary, passes=passes),
                                lambda: peer.ask("folder", folder=temporary, passes=passes, workers=runtime.cores()), number)
    print(f"{machine()}; {answers['ours']['version']}; {answers['peer']['version']}, OpenCV {answers['peer']['opencv']}; "
          f"{count} files of {size / count / 1000:.0f} kB; {chosen.rounds} rounds\n")
    print(table(list(measures.values())))


if __name__ == "__main__":
    with reported("folder.py"):
        main()
