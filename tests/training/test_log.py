"""The log of a run: the same figures in metrics.jsonl and in VisualDL, read back as its page would."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from visualdl import LogReader

from paddle_cls.errors import UserError
from paddle_cls.evaluation import plots
from paddle_cls.training import log as logs
from paddle_cls.training.log import Log, Progress, read_rows, watched
from paddle_cls.training.loop import Totals


def reader(log: Log) -> LogReader:
    file, = log.folder.iterdir()                   # one file a folder, for VisualDL shows the newest only
    return LogReader(file_path=str(file))


def test_scalars_are_the_same_everywhere(tmp_path):
    log = Log(tmp_path)
    rows = [(3, {"train/loss": 2.5, "lr": 0.1}), (6, {"train/loss": 1.25, "lr": 0.05})]
    for step, values in rows:
        log.scalars(step, values)
    log.close()
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": step, **values} for step, values in rows]
    for name, tag in (("train/loss", "loss_and_accuracy/train/loss"), ("lr", "more/lr")):
        points = reader(log).get_data("scalar", tag)
        assert [(p.id, p.value) for p in points] == [(step, pytest.approx(values[name])) for step, values in rows]


def test_pictures_and_histograms(tmp_path):
    log = Log(tmp_path)
    log.histogram(4, "weights/first", np.array([[0.0, 1.0], [2.0, 30.0]]))
    log.chart(4, "confusion", plots.pixels(plots.confusion_chart(np.array([[3, 1], [0, 2]]), ["cat", "dog"])))
    log.close()
    record = reader(log).get_data("histogram", "weights/first")[0]
    assert record.id == 4 and list(record.histogram.hist) == [1, 1, 1] + 26 * [0] + [1]
    picture = reader(log).get_data("image", "confusion")[0]
    assert picture.id == 4 and picture.image.encoded_image_string.startswith(b"\x89PNG")


def test_every_so_many_steps():
    class Noting(Log):
        def scalars(self, step, values):
            seen.append(step)

    seen: list[int] = []
    log = Noting(None, active=False)
    for step in (1, 2, 3, 4, 5, 8, 13, 14, 15):    # fetched at odd distances: 6, 9 and 12 are passed by
        log.every(3, step, {})
    assert seen == [3, 8, 13, 15]
    seen.clear()
    resumed = Noting(None, step=7, active=False)
    for step in (8, 10, 11):
        resumed.every(3, step, {})
    assert seen == [10]


def test_a_resumed_log_drops_what_the_killed_run_wrote_after_its_checkpoint(tmp_path):
    log = Log(tmp_path)
    for step in (2, 4, 6):
        log.scalars(step, {"loss": float(step)})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "lo')              # killed while it wrote
    again = Log(tmp_path, step=4)
    again.scalars(5, {"loss": 0.5})
    again.close()
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [2, 4, 5]
    assert again.folder != log.folder and again.folder.parent == log.folder.parent == tmp_path / "vdl"
    assert list((tmp_path / "vdl").iterdir()) == [again.folder]
    assert [(p.id, p.value) for p in reader(again).get_data("scalar", "more/loss")] == [(2, 2), (4, 4), (5, 0.5)]


def test_a_resumed_log_removes_its_own_records_only(tmp_path):
    Log(tmp_path).close()
    other = tmp_path / "vdl" / "mine" / "notes.txt"
    other.parent.mkdir()
    other.write_text("mine")
    again = Log(tmp_path)
    again.close()
    assert sorted((tmp_path / "vdl").iterdir()) == [again.folder, other.parent] and other.read_text() == "mine"


@pytest.mark.parametrize("text, steps", [
    ("", []), ('{"step": 1}\n{"step": 2}\n', [1, 2]), ('{"step": 1}\n{"st', [1]), ('{"step": 1}\n{"step": 2}', [1, 2]),
    ('{"step": 1}\n\udcff', [1]), ('{"step": 1}\n\0\0\0', [1])])
def test_a_last_row_without_a_line_end_may_be_half_a_row(tmp_path, text, steps):
    (tmp_path / "metrics.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == steps


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "none.jsonl") == []


def test_an_inactive_log_writes_nothing(tmp_path):
    log = Log(tmp_path, active=False)
    log.scalars(1, {"loss": 1.0})
    log.every(1, 2, {"loss": 1.0})
    log.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "vdl").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot be written: .*; free some space or choose another folder"):
        Log(tmp_path)


def test_progress_without_a_terminal_speaks_now_and_then(capfd, monkeypatch):
    monkeypatch.setattr(logs, "QUIET_SECONDS", 0.05)
    totals = Totals(loss=100.0, correct=20.0, count=50.0)    # an epoch of 100, resumed in its middle
    progress = Progress("epoch 1/3", 100, totals)
    progress.show(totals)
    assert capfd.readouterr().out == ""
    time.sleep(0.06)
    totals.loss, totals.correct, totals.count, totals.wait = 150.0, 45.0, 75.0, 0.03
    progress.show(totals)
    line = capfd.readouterr().out
    assert line.startswith("epoch 1/3:  75%  loss 2.0000  acc 0.6000") and line.endswith(" s left\n")
    timing = progress.timing(totals)
    assert timing["images_per_second"] == pytest.approx(25 / timing["seconds"], rel=0.2)
    assert timing["reader_share"] == pytest.approx(0.03 / timing["seconds"], rel=0.2)
    progress.close("the end")
    done = capfd.readouterr()
    assert done.out == "the end\n" and done.err == ""


def test_an_evaluation_without_a_terminal_speaks_now_and_then(capfd, monkeypatch):
    parts = [SimpleNamespace(total=25)] * 4
    assert list(watched(parts, "evaluation", 100)) == parts and capfd.readouterr() == ("", "")
    monkeypatch.setattr(logs, "QUIET_SECONDS", 0)
    assert list(watched(parts, "evaluation", 100, active=False)) == parts and capfd.readouterr() == ("", "")
    list(watched(parts, "evaluation", 100))
    assert capfd.readouterr() == ("evaluation:  25%\nevaluation:  50%\nevaluation:  75%\nevaluation: 100%\n", "")


def test_progress_of_another_process_says_nothing(capfd, monkeypatch):
    monkeypatch.setattr(logs, "QUIET_SECONDS", 0)
    progress = Progress("epoch", 10, Totals(), active=False)
    progress.show(Totals(loss=1.0, correct=1.0, count=5.0))
    progress.close("the end")
    assert capfd.readouterr() == ("", "")


def test_figures_show_what_they_are_given():
    counts = np.array([[3, 1], [0, 2]])
    axes, = plots.confusion_chart(counts, ["cat", "dog"]).axes
    assert [text.get_text() for text in axes.texts] == ["3\n75%", "1\n25%", "0", "2\n100%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])

    images = np.zeros((3, 8, 8, 3), np.uint8)
    figure = plots.samples_chart(images, np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), ["cat", "dog"])
    titles = [(axes.get_title(), axes.title.get_color()) for axes in figure.axes]
    assert titles == [("cat 90%", "green"), ("dog 80%", "green"), ("cat 60%\n(dog)", "red")]

    rows = [{"epoch": e, "train/loss": 3 - e, "val/loss": 4 - e, "train/error_rate": 0.5, "val/error_rate": 0.6} for e in (1, 2)]
    curves = plots.curves_chart(rows)
    assert [list(line.get_ydata()) for line in curves.axes[0].lines] == [[2, 1], [3, 2]]
    pixels = plots.pixels(curves)
    assert pixels.dtype == np.uint8 and pixels.shape == (340, 900, 3) and len(np.unique(pixels)) > 10
