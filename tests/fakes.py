"""Small stand-ins that the tests make: CIFAR-10 batches, a harmful pickle, an untrained checkpoint, a server of one file."""

import hashlib
import http.server
import io
import json
import pickle
import re
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

from paddle_cls.data.sets import cifar10

CONTENT = bytes(range(256)) * 400                  # 102,400 bytes


def rgb(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Return a random picture, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which made the published files: both as its one kind of string."""

    def save_string(self, text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}


def python2_pickle(content: object) -> bytes:
    """Return the pickle that Python 2 with the NumPy of its time would have written."""
    file = io.BytesIO()
    _Python2Pickler(file, 2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def batch(number: int, count: int) -> dict:
    """Return the content of a CIFAR-10 batch file: row i is picture `rgb(100 * number + i)`, its label (number + i) % 10."""
    rows = [rgb(100 * number + i).transpose(2, 0, 1).reshape(-1) for i in range(count)]   # all red, all green, all blue
    return {b"batch_label": b"a fake", b"data": np.stack(rows), b"filenames": [b"a.png"] * count,
            b"labels": [(number + i) % 10 for i in range(count)]}


def write_cifar(root: Path, count: int = 4, *, archive: bool = False, **changed: bytes | None) -> Path:
    """Write data_batch_1 to 5 and test_batch (number 6) of `count` images each below `root`, and return `root`.

    changed: the bytes of a file in the place of its right ones; None leaves it out.
    """
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = {name: python2_pickle(batch(number, count)) for number, name in enumerate(names, 1)} | changed
    folder = root / "cifar-10-batches-py"
    (root if archive else folder).mkdir(parents=True, exist_ok=True)
    if not archive:
        for name, content in files.items():
            if content is not None:
                (folder / name).write_bytes(content)
        return root
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            if content is not None:
                entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return root


def png(header: bytes, data: bytes) -> bytes:
    """Return a PNG of the content of its IHDR and its IDAT."""
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(content)) + kind + content +
                                           struct.pack(">I", zlib.crc32(kind + content)) for kind, content in chunks)


def bomb(side: int) -> bytes:
    """Return a PNG whose header claims side x side pixels."""
    return png(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), zlib.compress(bytes(1000)))


class Harmful:
    """An object whose pickle, where it is loaded without care, makes the file `sentinel`."""

    def __init__(self, sentinel: Path):
        self.sentinel = sentinel

    def __reduce__(self):
        return open, (str(self.sentinel), "w")


def write_checkpoint(folder: Path, *, classes: tuple[str, ...] = cifar10.CLASSES, depth: int = 8, seed: int = 0) -> Path:
    """Write a run folder as train.py does, with an untrained ResNet for CIFAR-10, and return it."""
    import paddle

    from paddle_cls.checkpoints.info import Description
    from paddle_cls.data import CIFAR10
    from paddle_cls.models import build_model
    from paddle_cls.programs.settings.command_line import to_yaml
    from paddle_cls.programs.settings.fields import Config
    from paddle_cls.training import optimizers
    from paddle_cls.training.run import Run
    paddle.seed(seed)
    with paddle.utils.unique_name.guard():         # the names of a new process, which --resume asks for
        model = build_model("resnet", len(classes), depth=depth)
    rng = np.random.default_rng(seed)
    for name, buffer in model.named_buffers():     # what training would have left there
        low = 0.5 if name.endswith("_variance") else -0.5
        buffer.set_value(rng.uniform(low, low + 1, buffer.shape).astype("float32"))
    run = Run(folder, model, optimizers.build_optimizer("adam", model), about=Description.of(
        "resnet", {"depth": depth}, dataset="cifar10", classes=classes, image_size=32,
        normalization={"mean": CIFAR10.mean, "std": CIFAR10.std}))
    run.step = 1                                   # an epoch of 20 images in a batch of 128
    run.end_epoch({"epoch": 1, "val/acc1": 0.1}, whole=True)
    (folder / "config.yaml").write_text(to_yaml(Config(depth=depth, output_dir=folder, nproc=1, device="cpu", onednn="off")))
    return folder


def forge(folder: Path, name: str, content: bytes) -> None:
    """Put `content` into a file of the checkpoints in `folder`, such as best.pdparams, with its right checksum in the .json."""
    (folder / name).write_bytes(content)
    file = (folder / name).with_suffix(".json")
    info = json.loads(file.read_text())
    info["sha256"][Path(name).suffix] = hashlib.sha256(content).hexdigest()
    file.write_text(json.dumps(info))


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`. breaks: bytes after which each of the first answers is cut off; asked: (path, Range) of each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.status, self.garbage = CONTENT, True, 200, b""
        self.breaks: list[int] = []
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its server is told to."""

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if server.garbage:
            self.wfile.write(server.garbage)
        elif server.status != 200:
            self.send_error(server.status)
        elif start >= len(server.content):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(server.content) - start))
            self.end_headers()
            cut = server.breaks.pop(0) if server.breaks else len(server.content)
            self.wfile.write(server.content[start:start + cut])
            self.close_connection = True

    def log_message(self, *_):
        """Say nothing on stderr."""
