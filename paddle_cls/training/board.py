"""One folder of VisualDL's for a run: its metrics under names that open in a useful order, and what an earlier start left."""

import contextlib
import io
import itertools
import re
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

OWN = re.compile(r"\d{8}-\d{6}(-\d+)?")            # the name of a folder of ours: the time of a start
FILES = ("vdlrecords.*.log", "vdlgraph.json")      # what is in it
# Tags that VisualDL shows first, for it opens the first group and sorts them by name; `more` and `speed` come after.
FIRST = {"train/loss", "val/loss", "train/acc1", "val/acc1"}
SPEED = {"images_per_second", "reader_share", "seconds"}


def tag(name: str) -> str:
    """Return the name that a metric has in VisualDL: its group and its name in metrics.jsonl."""
    group = "loss_and_accuracy" if name in FIRST else "speed" if name in SPEED else "more"
    return f"{group}/{name}"


class Board:
    """The open VisualDL log of this start in `folder`; `writer` is its LogWriter."""

    def __init__(self, root: Path, rows: Sequence[Mapping]):
        """Make a folder under `root` and move into it what earlier starts have written there, up to the last of `rows`.

        rows: of metrics.jsonl, which alone says which metrics there are. Charts and histograms are of evaluations, which
        have an "epoch"; those after the last of these are drawn again. Raises OSError.
        """
        from visualdl import LogWriter
        name = time.strftime("%Y%m%d-%H%M%S")
        names = (f"{name}-{number}" if number else name for number in itertools.count())
        self.folder = next(path for path in (root / name for name in names) if not path.exists())
        before = sorted(path for path in root.glob("*") if OWN.fullmatch(path.name) and path.is_dir())
        last = max((row["step"] for row in rows if "epoch" in row), default=-1)
        self.folder.mkdir(parents=True)
        file = self.folder / f"vdlrecords.{time.time():010.0f}.log"
        times = _move([old for path in before for old in sorted(path.glob(FILES[0]))], file, last)
        with contextlib.redirect_stdout(io.StringIO()):        # where it says that it appends
            self.writer = LogWriter(logdir=str(self.folder), file_name=file.name)
        for row in rows:
            self.points(row["step"], row, times)
        self.writer.flush()
        for path in before:                        # whose points are in the new file now: a run is one curve
            _remove(path)

    def points(self, step: int, values: Mapping[str, float], times: Mapping[tuple[str, int], int] | None = None) -> None:
        """Write metrics. times: (tag, step) -> when, in ms, for those that were not measured now."""
        for name, value in values.items():
            if name not in ("step", "epoch"):      # the axis itself
                self.writer.add_scalar(tag(name), float(value), step, (times or {}).get((tag(name), step)))


def _move(files: Sequence[Path], target: Path, last: int) -> dict[tuple[str, int], int]:
    """Copy charts and histograms up to step `last` from records to `target`; return the times of the metrics there."""
    times, seen = {}, set()
    with open(target, "wb") as out:
        for file in files:
            for value, raw in _records(file):
                kind, key = value.WhichOneof("one_value"), (value.tag, value.id)
                if kind == "value":
                    times[key] = value.timestamp
                elif kind in ("image", "histogram") and value.id <= last and (kind, *key) not in seen:
                    seen.add((kind, *key))
                    out.write(raw)
    return times


def _records(file: Path) -> Iterator[tuple]:
    """Yield (value, bytes with their length before them) of the records, up to one that a killed process left half-written."""
    from visualdl.proto import record_pb2
    left = file.stat().st_size
    with open(file, "rb") as stream:
        while len(head := stream.read(8)) == 8:
            size, = struct.unpack("<Q", head)
            left -= 8 + size
            if left < 0:
                return
            body = stream.read(size)
            try:
                record = record_pb2.Record.FromString(body)
            except DecodeError:
                return
            for value in record.values[:1]:
                yield value, head + body


def _remove(folder: Path) -> None:
    """Remove our files from an earlier start's folder; the folder too, unless somebody put others there."""
    for pattern in FILES:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
