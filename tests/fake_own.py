"""Pictures of one's own that the tests make: a folder for each class, tables about them, and a training on them."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fakes import rgb
from PIL import Image

from paddle_cls.programs import train

FAST = ["--model", "resnet", "--depth", "8", "--epochs", "1", "--batch-size", "8", "--nproc", "1", "--device", "cpu",
        "--onednn", "off"]


def jpeg(seed: int, height: int = 12, width: int = 12, **options) -> bytes:
    """Return a JPEG of a random picture, coarse enough to keep its colours; options: of Pillow."""
    file = io.BytesIO()
    small = Image.fromarray(rgb(seed, 3, 3))
    small.resize((width, height), Image.Resampling.BICUBIC).save(file, "jpeg", **{"quality": 95, **options})
    return file.getvalue()


def write(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files of these contents below `root`, and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def pictures(*classes: str, count: int = 4, start: int = 0) -> dict[str, bytes]:
    """Return {CLASS/0.jpg, ...: a JPEG unlike all others} of `count` pictures of each class."""
    return {f"{name}/{i}.jpg": jpeg(start + 1000 * place + i) for place, name in enumerate(classes) for i in range(count)}


def table(*rows: object, header: str = "path,label") -> str:
    """Return a CSV of these rows, each a text or a sequence of cells."""
    lines = [header] * bool(header) + [row if isinstance(row, str) else ",".join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


def rows(*classes: str, count: int = 4) -> list[str]:
    """Return the lines of a table of `pictures` of the same arguments."""
    return [f"{name}/{i}.jpg,{name}" for name in classes for i in range(count)]


def fashion(root: Path, tasks: Mapping[str, int], count: int = 30) -> Path:
    """Write a set in the layout of FashionAI with `count` pictures of each task, and return its table.

    tasks: the classes of each. Class k's pictures are k steps brighter than black; every fourth line has a maybe.
    """
    lines = []
    for task, classes in tasks.items():
        for i in range(count):
            label = i % classes
            letters = ["n"] * classes
            if i % 4 == 3:
                letters[(label + 1) % classes] = "m"
            letters[label] = "y"
            name = f"Images/{task}/{i:04d}.jpg"
            file = io.BytesIO()
            shade = np.full((16, 12, 3), 40 + 30 * label, np.uint8) + rgb(i, 16, 12) // 4
            Image.fromarray(shade).save(file, "jpeg")
            write(root, {name: file.getvalue()})
            lines.append(f"{name},{task},{''.join(letters)}")
    write(root, {"Annotations/label.csv": table(*lines, header="")})
    return root / "Annotations/label.csv"


def arguments(*more: object, dataset: str = "folder") -> list[str]:
    """Return the flags of a short training on one's own pictures."""
    return [*FAST, "--dataset", dataset, *map(str, more)]


def run(call, *more: object, dataset: str = "folder"):
    """Train in this process by the fixture `call`, and return its outcome."""
    return call(train, *arguments(*more, dataset=dataset))
