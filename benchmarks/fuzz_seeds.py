"""The good files that fuzz.py breaks: pictures, tables, a folder of classes, CIFAR batches, weights, a run of train.py."""

import csv
import datetime
import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("png", "jpg", "gif", "webp", "bmp", "tif", "ppm", "pgm")
FAST = ("--model", "resnet", "--depth", "8", "--image-size", "16", "--batch-size", "4", "--nproc", "1", "--device", "cpu",
        "--onednn", "off")
DATA = ("--dataset", "folder", "--data-dir", "pets")
EPOCHS = ("--epochs", "2")


def make(folder: Path, *, paddle: bool) -> None:
    """Write all good files into `folder`; paddle: also those that need Paddle, a run of train.py and an export."""
    _pictures(folder / "pictures")
    pets = folder / "pets"
    _classes(pets, 4)
    _classes(folder / "split" / "train", 3)
    _classes(folder / "split" / "val", 2)
    rows = [["path", "label", "split"], *([f"{name}/{i}.jpg", name, "val" if i == 3 else "train"] for name in ("cat", "dog")
                                          for i in range(4))]
    for name, separator in (("table.csv", ","), ("table.tsv", "\t"), ("semicolons.csv", ";")):
        (folder / name).write_text("".join(separator.join(row) + "\n" for row in rows))
    (folder / "fashion.csv").write_text("".join(f"{name}/{i}.jpg,{task},{letters}\n" for task in ("neck", "skirt")
                                                for i in range(4) for name, letters in (("cat", "ynm"), ("dog", "nyn"))))
    (folder / "table.xlsx").write_bytes(_workbook(rows))
    _cifar(folder / "cifar" / "cifar-10-batches-py")
    (folder / "photos").mkdir()
    for i, name in enumerate(("P1.jpg", "N1.jpg", "H1.jpg")):
        (folder / "photos" / name).write_bytes(_encoded("jpg", i, 12, 12))
        os.utime(folder / "photos" / name, (1_700_000_000 + i,) * 2)           # which the cache notes
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    (folder / "figures.json").write_text(json.dumps({"checkpoint": "run/best", "step": 2, "summary": {"loss": 2.0, "acc1": 0.5},
                                                     "files": ["confusion.png", "figures.json", "report.html"]}))
    state = {"conv.weight": np.ones((3, 2), np.float32), "fc.bias": np.zeros(4, np.float32), "step": 3, "lr": 0.1,
             "StructuredToParameterName@@": {"conv.weight": "conv_0.w_0"}, "moment": ("moment_0", np.ones(2, np.float32)),
             "int": np.arange(3)}
    for protocol in (2, 4, 5):
        (folder / f"state{protocol}.pdparams").write_bytes(pickle.dumps(state, protocol))
    if paddle:
        _run(folder)


def _encoded(kind: str, seed: int, height: int, width: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode != "I;16":
        image = image.convert(mode)
    image.save(file, {"jpg": "jpeg", "tif": "tiff", "pgm": "ppm"}.get(kind, kind))
    return file.getvalue()


def _pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, kind in enumerate(KINDS):
        (folder / f"a.{kind}").write_bytes(_encoded(kind, number, 20, 24, "L" if kind == "pgm" else "RGB"))
    for mode in ("L", "P", "RGBA", "LA", "1", "I;16"):
        (folder / f"{mode.replace(';', '')}.png").write_bytes(_encoded("png", 9, 17, 9, mode))
    (folder / "cmyk.jpg").write_bytes(_encoded("jpg", 10, 16, 16, "CMYK"))


def _classes(folder: Path, count: int) -> None:
    for place, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.jpg").write_bytes(_encoded("jpg", 1000 * place + len(folder.name) + 10 * i, 18, 20))


def _workbook(rows: list[list[str]]) -> bytes:
    """Return an .xlsx of these rows that does not know when it was made."""
    import openpyxl
    book, file, out = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    book.properties.created = book.properties.modified = datetime.datetime(2026, 1, 1)
    for row in rows:
        book.active.append(row)
    book.save(file)
    with zipfile.ZipFile(file) as made, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in made.namelist():
            archive.writestr(zipfile.ZipInfo(name), made.read(name), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _cifar(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        data = np.random.default_rng(number).integers(0, 256, (2, 3072), np.uint8)
        content = {b"data": data, b"labels": [number, 9], b"filenames": [b"a.png"] * 2}
        (folder / name).write_bytes(pickle.dumps(content, 2))


def _rows() -> list[dict]:
    figures = {"lr": 0.1, "train/loss": 2.0, "train/acc1": 0.4, "train/error_rate": 0.6}
    judged = {"val/loss": 2.1, "val/acc1": 0.5, "val/error_rate": 0.5, "images_per_second": 9.0, "reader_share": 0.1,
              "seconds": 4.0}
    return [{"step": 1, **figures}, *({"step": 2 * epoch, "epoch": epoch, **figures, **judged} for epoch in (1, 2, 3))]


def _run(folder: Path) -> None:
    """Train one step of two epochs of two, so that --resume goes on inside an epoch; and have the network exported."""
    from paddle_cls.inference.predictor import Predictor
    from paddle_cls.programs import train
    before, cache = os.getcwd(), os.environ["PADDLE_CLS_CACHE"]
    os.chdir(folder)                               # that config.yaml holds no name of a temporary folder
    assert train.main([*DATA, "--output-dir", "run", *FAST, *EPOCHS, "--max-steps", "1"]) == 0
    for path in [path for path in Path("run").iterdir() if path.suffix == ".png"]:
        path.unlink()
    shutil.rmtree("run/vdl")
    os.environ["PADDLE_CLS_CACHE"] = str(folder / "cache")
    Predictor.from_checkpoint("run/best")([np.zeros((16, 16, 3), np.uint8)])
    os.environ["PADDLE_CLS_CACHE"] = cache
    os.chdir(before)


def table_rows(file: Path) -> list[list[str]]:
    """Return the cells of one of the CSV tables."""
    return list(csv.reader(file.read_text().splitlines()))
