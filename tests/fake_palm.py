"""A tiny iChallenge-PM, and train.py called inside the test's process."""

import signal
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = [f"V000{i}.jpg" for i in range(1, 5)]
LABELS = dict(zip(NAMES, (0, 1, 1, 0), strict=True))
ROWS = [(i, name, LABELS[name], 10.5 * i, 99.25) for i, name in enumerate(NAMES, 1)]
HEADER = ("ID", "imgName", "Label", "Fovea_X", "Fovea_Y")


def text(rows=ROWS, header=HEADER, separator=",", end="\n") -> str:
    """Return a table as text."""
    return "".join(separator.join(str(cell) for cell in row) + end for row in [header, *rows])


def picture(path: Path, value: int = 100, size: int = 12) -> None:
    """Write a JPEG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(path, "JPEG")


def write_palm(root: Path) -> Path:
    """Write four photographs of each split and labels.csv, without a mistake; pathologic ones are lighter. Return root."""
    for name, value in (("P0001", 200), ("P0002", 210), ("N0001", 50), ("H0001", 60)):
        picture(root / "PALM-Training400" / f"{name}.jpg", value)
    for name, label in LABELS.items():
        picture(root / "PALM-Validation400" / name, 200 if label else 50)
    (root / "labels.csv").write_text(text())
    return root


def train_in_process(root: Path, output: Path, *flags: str) -> int:
    """Call train.py's main on the data in `root`, in one process on the CPU; return its status."""
    from paddle_cls.programs import train
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return train.main(["--dataset", "ichallenge_pm", "--data-dir", str(root), "--output-dir", str(output), "--nproc", "1",
                           "--device", "cpu", "--onednn", "off", *flags])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
