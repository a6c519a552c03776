"""Where the metrics of a run go: the console, metrics.jsonl and VisualDL; the x axis is optimizer steps."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..checkpoints import schema
from ..data.images.source import ImageSource
from ..data.reader import Batch
from ..errors import UserError
from ..system.files import read_bytes, write_text, writing
from .board import Board
from .loop import Totals

MOST_BYTES = 256 << 20                             # of a metrics.jsonl
CHART_SECONDS = 30                                 # between two times that charts are drawn
QUIET_SECONDS = 10                                 # between two progress lines where there is no terminal


def read_rows(file: Path) -> list[dict]:
    """Return the rows of a metrics.jsonl, but for a last one that has no line end: a process was killed while it wrote that.

    Raises UserError that names file and line for a row that is no `schema.read_row`, OSError for what is no file.
    """
    try:
        *lines, half = read_bytes(file, MOST_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    rows = [schema.read_row(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]
    with contextlib.suppress(UserError):
        rows.append(schema.read_row(half, file))
    return rows


class Log:
    """The open log of the run in `folder`: metrics.jsonl and vdl/<start time>/ (as `folder` of this object).

    A resumed run writes its earlier metrics, charts and histograms once more into the new folder of vdl/ and removes its old
    one, for VisualDL shows each folder as a curve. Folders of other names are left alone.
    """

    def __init__(self, folder: Path, step: int = 0, epoch: int = 0, *, active: bool = True,
                 draw: Callable[..., dict[str, np.ndarray]] | None = None):
        """Continue the log after `step` and `epoch` whole passes: later rows, from a run that was killed, are dropped.

        active: False makes a log that does nothing, for all processes but the first. draw: what gives the charts of an
        evaluation, such as `evaluation.charts.draw`; None: there are none.
        """
        self.active, self.last, self.drawn, self.draw = active, step, float("-inf"), draw
        if not active:
            return
        self.file = folder / "metrics.jsonl"
        with writing(folder):
            kept = [row for row in read_rows(self.file) if row["step"] <= step and row.get("epoch", 0) <= epoch]
            write_text(self.file, "".join(json.dumps(row) + "\n" for row in kept))
            self.board = Board(folder / "vdl", kept)
        self.folder = self.board.folder

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write one row of metrics under the same names everywhere. Raises ArithmeticError for one that is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"{name} of step {step} is {value}")
        if not self.active:
            return
        with writing(self.file):
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            self.board.points(step, values)

    def every(self, steps: int, step: int, values: Mapping[str, float]) -> None:
        """Write a row if `steps` steps or more have gone by since the last multiple of `steps`."""
        if step // steps > self.last // steps:
            self.scalars(step, values)
        self.last = step

    def pictures(self, step: int, images: ImageSource, logits: np.ndarray, labels: np.ndarray, classes: Sequence[str],
                 parameters: Sequence, *, threshold: float | None = None, last: bool = False) -> None:
        """Write the charts of an evaluation and histograms of two weights: if it is the `last`, or due.

        It takes seconds, so it is due every CHART_SECONDS. images: uint8 (N, H, W, 3), which logits (N, C) and labels (N,)
        belong to. parameters: the network's trainable tensors, of which the first and the last of two or more dimensions
        are shown. threshold: over which a yes-or-no network says yes.
        """
        if not self.active or (not last and time.monotonic() - self.drawn < CHART_SECONDS):
            return
        if self.draw:
            rows = [row for row in read_rows(self.file) if "epoch" in row]
            for name, picture in self.draw(rows, images, labels, logits, classes, threshold).items():
                self.chart(step, name, picture)
        weights = [p for p in parameters if len(p.shape) > 1]
        self.histogram(step, "weights/first", weights[0].numpy())
        self.histogram(step, "weights/last", weights[-1].numpy())
        self.drawn = time.monotonic()

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Write the distribution of some numbers."""
        with writing(self.folder):
            self.board.writer.add_histogram(name, values.reshape(-1), step, buckets=30)

    def graph(self, graph: Mapping) -> None:
        """Write what VisualDL's graph page shows. graph: of `graph.describe`."""
        with writing(self.folder):
            write_text(self.folder / "vdlgraph.json", json.dumps(graph))

    def chart(self, step: int, name: str, image: np.ndarray) -> None:
        """Write a chart, uint8 (H, W, 3), to VisualDL, and its newest state to NAME.png in the run folder."""
        with writing(self.folder):
            self.board.writer.add_image(name, image, step)
            Image.fromarray(image).save(self.file.with_name(f"{name}.png"))

    def close(self) -> None:
        """Bring everything onto the disk."""
        if self.active:
            with writing(self.folder):
                self.board.writer.close()


def epoch_line(epochs: int, metrics: Mapping, best: Mapping, timing: Mapping) -> str:
    """Return the summary line of an epoch; timing: of `Progress.timing`."""
    f = metrics
    auc = f" auc {f['val/auc']:.4f}" if "val/auc" in f else ""
    return (f"epoch {f['epoch']}/{epochs}  train loss {f['train/loss']:.4f} acc {f['train/acc1']:.4f}  "
            f"val loss {f['val/loss']:.4f} acc {f['val/acc1']:.4f}{auc} (best {best['val/acc1']:.4f})  lr {f['lr']:.3g}  "
            f"{timing['images_per_second']:.0f} images/s  {timing['reader_share']:.1%} waiting  {timing['seconds']:.0f} s")


def watched(batches: Iterable[Batch], title: str, images: int, *, active: bool = True) -> Iterator[Batch]:
    """Yield `batches` with a bar of how far an evaluation is; plain lines now and then where there is no terminal.

    images: of all batches in all processes. active: False shows nothing.
    """
    done, spoken = 0, time.monotonic()
    with tqdm(total=images, desc=title, unit="img", leave=False, dynamic_ncols=True, disable=None if active else True) as bar:
        for batch in batches:
            yield batch
            done += batch.total
            bar.update(batch.total)
            if active and bar.disable and time.monotonic() - spoken >= QUIET_SECONDS:
                spoken = time.monotonic()
                print(f"{title}: {done / images:4.0%}", flush=True)


class Progress:
    """An epoch on the console: a bar with loss, accuracy, images/s and time left; plain lines where there is no terminal."""

    def __init__(self, title: str, images: int, totals: Totals, *, active: bool = True):
        """images: of the whole epoch; totals: what is behind us of it. active: False shows nothing."""
        self.title, self.images, self.active = title, images, active
        self.count, self.wait = totals.count, totals.wait
        self.started = self.spoken = time.monotonic()
        self.bar = tqdm(total=images, initial=int(totals.count), desc=title, unit="img", leave=False,
                        dynamic_ncols=True, disable=None if active else True)

    def show(self, totals: Totals) -> None:
        """Show how far the epoch is, its mean loss and accuracy so far."""
        means = totals.means()
        self.bar.set_postfix_str(f"loss {means['loss']:.4f}, acc {means['acc1']:.4f}", refresh=False)
        self.bar.update(int(totals.count) - self.bar.n)
        if self.active and self.bar.disable and time.monotonic() - self.spoken >= QUIET_SECONDS:
            self.spoken = time.monotonic()
            speed = self.timing(totals)["images_per_second"]
            print(f"{self.title}: {totals.count / self.images:4.0%}  loss {means['loss']:.4f}  acc {means['acc1']:.4f}  "
                  f"{speed:.0f} images/s  {(self.images - totals.count) / speed:.0f} s left", flush=True)

    def timing(self, totals: Totals) -> dict[str, float]:
        """Return {"images_per_second", "reader_share" (of the time, spent waiting for the reader), "seconds"} so far."""
        seconds = time.monotonic() - self.started
        return {"images_per_second": (totals.count - self.count) / seconds,
                "reader_share": (totals.wait - self.wait) / seconds, "seconds": seconds}

    def close(self, line: str) -> None:
        """Put a last line in the bar's place."""
        self.bar.close()
        if self.active:
            print(line, flush=True)
