"""VisualDL's folder of a run that goes on: one curve, its earlier charts, and nothing of anybody else's touched."""

import numpy as np
import pytest
from visualdl import LogReader, LogWriter

from paddle_cls.training.board import tag
from paddle_cls.training.log import Log

EVALUATION = {"train/loss": 1.0, "train/error_rate": 0.5, "val/error_rate": 0.5}
PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def reader(log: Log) -> LogReader:
    file, = log.folder.glob("vdlrecords.*")
    return LogReader(file_path=str(file))


def steps(log: Log, kind: str, name: str) -> list[int]:
    return [point.id for point in reader(log).get_data(kind, name)]


@pytest.fixture
def started(tmp_path) -> Log:
    """A log of two evaluations, at steps 2 and 4."""
    log = Log(tmp_path)
    for epoch, step in ((1, 2), (2, 4)):
        log.scalars(step - 1, {"train/loss": step + 0.5})
        log.scalars(step, {"epoch": epoch, **EVALUATION, "val/loss": float(step)})
        log.chart(step, "confusion", PICTURE)
        log.histogram(step, "weights/first", np.arange(9.0))
    log.graph({"nodes": []})
    log.close()
    return log


def test_a_resumed_run_keeps_all_up_to_its_checkpoint(started, tmp_path):
    again = Log(tmp_path, step=3, epoch=1)
    again.scalars(4, {"epoch": 2, **EVALUATION, "val/loss": 0.5})
    again.chart(4, "confusion", PICTURE)
    again.close()
    assert list((tmp_path / "vdl").iterdir()) == [again.folder] != [started.folder]
    for _ in range(2):                             # and once more, without a step
        points = reader(again).get_data("scalar", "loss_and_accuracy/val/loss")
        assert [(point.id, point.value) for point in points] == [(2, 2.0), (4, 0.5)]
        assert steps(again, "scalar", "loss_and_accuracy/train/loss") == [1, 2, 3, 4]
        assert steps(again, "image", "confusion") == [2, 4] and steps(again, "histogram", "weights/first") == [2]
        again = Log(tmp_path, step=4, epoch=2)
        again.close()


def test_the_time_of_an_earlier_metric_stays(started, tmp_path):
    before = [point.timestamp for point in reader(started).get_data("scalar", "loss_and_accuracy/val/loss")]
    again = Log(tmp_path, step=4, epoch=2)
    again.close()
    assert [point.timestamp for point in reader(again).get_data("scalar", "loss_and_accuracy/val/loss")] == before


@pytest.mark.parametrize("end", [b"\x05", b"\xff" * 12, (3).to_bytes(8, "little") + b"\xff\xff\xff"])
def test_a_half_written_record_ends_the_old_log(started, tmp_path, end):
    file, = started.folder.glob("vdlrecords.*")
    file.write_bytes(file.read_bytes() + end)
    again = Log(tmp_path, step=4, epoch=2)
    again.close()
    assert steps(again, "image", "confusion") == [2, 4] and list((tmp_path / "vdl").iterdir()) == [again.folder]


def test_what_others_put_there_stays(started, tmp_path):
    with LogWriter(logdir=str(tmp_path / "vdl" / "mine")) as writer:
        writer.add_scalar("loss", 1.0, 1)
    note = started.folder / "notes.txt"
    note.write_text("mine")
    records, = (tmp_path / "vdl" / "mine").iterdir()
    content = records.read_bytes()
    again = Log(tmp_path)
    again.close()
    assert sorted((tmp_path / "vdl").iterdir()) == sorted([started.folder, again.folder, records.parent])
    assert records.read_bytes() == content and list(started.folder.iterdir()) == [note]


def test_loss_and_accuracy_open_first():
    names = ["images_per_second", "lr", "reader_share", "seconds", "train/acc1", "train/error_rate", "train/loss", "val/acc1",
             "val/auc", "val/loss"]
    assert sorted(map(tag, names))[:5] == ["loss_and_accuracy/train/acc1", "loss_and_accuracy/train/loss",
                                           "loss_and_accuracy/val/acc1", "loss_and_accuracy/val/loss", "more/lr"]
