"""Extract features of pictures with a trained network: paddle-cls features photos/ --checkpoint RUN --output features.npz

Features are what the last layer before the head gives: numbers by which other programs compare, search or classify pictures.
An .npz holds `features`, float32 (N, F), and `files`, the names (N,). A .csv has a line for each picture: image,f0,f1 and so
on. Exit status 1 if some pictures could not be read (they are named, the rest is done), 2 if nothing could be done.
"""

import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ..errors import UserError, printable, unknown
from ..inference.answer import cell, csv_line, written
from ..system.files import replaced, writing
from .settings.command_line import parse
from .settings.fields import FeaturesConfig
from .shared.pictures import Found, Shard, check_output, nothing, progress, tried

PROGRAM = "paddle-cls features"


class Writer(Protocol):
    """Puts the features of one picture after another into a file."""

    def add(self, name: str, features: np.ndarray) -> None:
        """Take the features float32 (F,) of the picture `name`."""

    def close(self) -> None:
        """Write what is left: there are no more pictures."""


class Csv:
    """Features as lines; a number has the digits that bring back the same float32."""

    def __init__(self, file: BinaryIO):
        self.file, self.begun = file, False

    def add(self, name: str, features: np.ndarray) -> None:
        """See Writer."""
        if not self.begun:
            self.file.write(csv_line(["image", *(f"f{place}" for place in range(len(features)))]).encode())
            self.begun = True
        self.file.write(csv_line([cell(name), *(f"{value:.9g}" for value in features.tolist())]).encode())

    def close(self) -> None:
        """See Writer."""


class Npz:
    """Features as two arrays. An array's file begins with its shape: so they wait in files without a name, not in memory."""

    def __init__(self, file: BinaryIO):
        self.file, self.count, self.width, self.longest = file, 0, 0, 1
        self.features, self.names = (tempfile.TemporaryFile(dir=Path(file.name).parent) for _ in range(2))     # noqa: SIM115

    def add(self, name: str, features: np.ndarray) -> None:
        """See Writer."""
        self.features.write(features.astype("<f4").tobytes())
        self.names.write(json.dumps(name).encode() + b"\n")      # a name may hold a line end
        self.count, self.width, self.longest = self.count + 1, len(features), max(self.longest, len(name))

    def close(self) -> None:
        """See Writer."""
        kind = f"<U{self.longest}"
        with self.features, self.names, zipfile.ZipFile(self.file, "w") as archive:
            self.features.seek(0)
            _member(archive, "features", "<f4", (self.count, self.width), iter(partial(self.features.read, 1 << 20), b""))
            self.names.seek(0)
            _member(archive, "files", kind, (self.count,), (np.array(json.loads(line), kind).tobytes() for line in self.names))


def _member(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...], content: Iterable[bytes]) -> None:
    """Add an array to an .npz. content: its bytes."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": kind, "fortran_order": False, "shape": shape})
        for part in content:
            member.write(part)


KINDS: Mapping[str, type[Csv] | type[Npz]] = {".csv": Csv, ".npz": Npz}


def main(argv: list[str]) -> int:
    """Write the features of pictures into a file; return the exit status."""
    config, _ = parse(FeaturesConfig, argv, program=PROGRAM, description=__doc__)
    if config.output is None:
        raise UserError("--output: into which file? For example --output features.npz")
    if config.output.suffix not in KINDS:
        raise UserError(f"--output {config.output}: {unknown('kind of file', config.output.suffix, KINDS)}")
    found = Found(config.pictures, "")
    check_output(config.output, found.named)
    from ..inference.decoding import computed
    from ..inference.predictor import Predictor
    predictor = Predictor.from_checkpoint(config.checkpoint, device=config.device, model=config.model)
    work = partial(computed, compute=partial(predictor.features, batch_size=config.batch_size), size=predictor.image_size,
                   batch_size=config.batch_size)
    pictures, failures, count = Shard(found, None), [], 0
    with writing(config.output), replaced(config.output) as file:
        writer = KINDS[config.output.suffix](file)
        for path, features in progress(tried(work, pictures), pictures):
            if isinstance(features, str):
                failures.append(features)
                continue
            writer.add(written(path), features)
            count += 1
        failures = found.unread + failures
        if not count:
            raise UserError(nothing(failures))
        writer.close()
    print(printable(f"{config.output}: features of {count:,} pictures by {predictor.source}"))
    for failure in failures:
        print(f"{PROGRAM}: not read: {printable(failure)}", file=sys.stderr)
    return 1 if failures else 0
