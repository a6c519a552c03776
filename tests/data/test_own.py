"""Training on one's own pictures from end to end, as a user does it, and a data set that a programmer adds."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_own import FAST, fashion, jpeg, pictures, run, table, write
from sklearn.metrics import average_precision_score
from test_folder import names

from paddle_cls.data import load_data, loading, sets
from paddle_cls.evaluation import metrics
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import train


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """The working folder, with ten pictures of 12 x 12 pixels of each of two classes in own/."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own", pictures("cat", "dog", count=9))
    write(tmp_path / "own", {"cat/large.jpg": jpeg(77, 90, 150), "dog/high.jpg": jpeg(78, 70, 20)})
    return tmp_path


def final(outcome) -> dict:
    """Return the last line of a training that went well."""
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out.splitlines()[-1])


@pytest.mark.parametrize("augment", ["none", "standard", "crop_flip"])
def test_a_folder_is_trained_and_judged(own, call, augment):
    done = run(call, "--data-dir", "own", "--output-dir", "run", "--augment", augment)
    figures = final(done)["final"]
    assert "18 training and 2 validation images of 2 classes; run folder run\n20 files: every one begins and" in done.out
    assert (own / "run/samples.png").exists() and (own / "run/confusion.png").exists()
    judged = final(run(call, "--data-dir", "own", "--output-dir", "run", "--eval-only"))
    assert judged["loss"] == pytest.approx(figures["val/loss"], rel=1e-5) and judged["map"] == figures["val/map"]
    data = load_data("folder", own / "own")
    logits = Predictor.from_checkpoint(own / "run").logits([data.val.images.path(i) for i in range(2)])
    assert metrics.losses(logits, data.val.labels).mean() == pytest.approx(figures["val/loss"], rel=1e-5)


def test_the_split_is_kept_and_can_be_used_again(own, call):
    first = final(run(call, "--data-dir", "own", "--output-dir", "run"))
    text = (own / "run/split.csv").read_text()
    data = load_data("folder", own / "own")
    assert text.count(",val\n") == 2 and all(f"{name},{data.classes[label]},val\n" in text for name, label in names(data.val))
    again = final(run(call, "--table", "run/split.csv", "--data-dir", "own", "--output-dir", "again", dataset="table"))
    assert again["final"]["val/loss"] == first["final"]["val/loss"] and not (own / "again/split.csv").exists()


def test_a_run_is_not_continued_with_other_pictures(own, call):
    final(run(call, "--data-dir", "own", "--output-dir", "run"))
    before = sorted(own.rglob("*"))
    write(own, {"own/cat/new.jpg": jpeg(99)})
    for what in (["--resume", "--epochs", "2"], ["--eval-only"]):
        done = call(train, *what, "--output-dir", "run")
        assert done.status == 2 and done.err == (
            "train.py: error: run/split.csv: lists other pictures than there are now, of which other ones would be drawn to "
            "validate on; bring them back, or name split.csv as data: --dataset table --table\n")
    (own / "own/cat/new.jpg").unlink()
    assert sorted(own.rglob("*")) == before
    (own / "own").rename(own / "moved")
    assert final(call(train, "--resume", "--epochs", "2", "--output-dir", "run", "--data-dir", "moved"))["final"]["epoch"] == 2


def test_training_does_not_depend_on_the_threads(own, call, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from paddle_cls.system import threads
    losses = []
    for count in (1, 4):
        with ThreadPoolExecutor(count) as pool:
            monkeypatch.setattr(threads, "_pool", lambda pool=pool, count=count: (pool, count))
            done = run(call, "--data-dir", "own", "--output-dir", f"run{count}", "--augment", "standard")
            losses.append(final(done)["final"]["train/loss"])
    assert losses[0] == losses[1]


def test_a_file_that_breaks_later_ends_the_run_and_is_named(own, call):
    content = (own / "own/cat/0.jpg").read_bytes()
    write(own, {"own/cat/0.jpg": content[:200] + bytes(len(content) - 202) + content[-2:]})
    done = run(call, "--data-dir", "own", "--output-dir", "run")
    assert done.status == 2 and done.err.splitlines()[-1].startswith("train.py: error: own/cat/0.jpg: ")


def test_the_fashionai_form_reports_the_average_precision_of_scikit_learn(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = fashion(tmp_path / "set", {"skirt_length_labels": 6, "coat_length_labels": 4}, count=60)
    flags = ("--table", labels, "--data-dir", "set", "--task", "skirt_length_labels")
    done = run(call, *flags, "--output-dir", "run", "--augment", "flip", dataset="table")
    figures = final(done)["final"]
    assert "54 training and 6 validation images of 6 classes" in done.out
    assert "15 of 60 pictures are perhaps (m) of another class too, which counts as no\n" in done.out
    val = [line.split(",") for line in (tmp_path / "run/split.csv").read_text().splitlines() if line.endswith(",val")]
    shares = Predictor.from_checkpoint(tmp_path / "run/last")([tmp_path / "set" / name for name, _, _ in val])
    truth = np.array([[int(label) == place for place in range(6)] for _, label, _ in val])
    assert sorted(label for _, label, _ in val) == list("012345")
    assert figures["val/map"] == pytest.approx(average_precision_score(truth, shares, average="macro"), abs=1e-6)
    assert final(run(call, *flags, "--output-dir", "run", "--eval-only", dataset="table"))["map"] == figures["val/map"]


def test_two_tables_are_trained_on(own, call):
    lines = [(f"{name}/{i}.jpg", name) for name in ("cat", "dog") for i in range(9)]
    write(own, {"t.csv": table(*lines[:7], *lines[9:16]), "v.tsv": table(*lines[7:9], *lines[16:]).replace(",", "\t")})
    done = run(call, "--table", "t.csv", "--val-table", "v.tsv", "--data-dir", "own", "--output-dir", "run", dataset="table")
    assert final(done)["step"] == 2 and "14 training and 4 validation images of 2 classes" in done.out


TOY = '''
"""A data set in one file: stripes across and down."""

import numpy as np

from paddle_cls.data.dataset import Data
from paddle_cls.data.reader import Split
from paddle_cls.data.images.transforms import HALF


def dataset(*, image_size=None) -> Data:
    """Return the data set."""
    size = image_size or 16
    across = np.zeros((size, size, 3), np.uint8)
    across[::2] = 255
    images = np.stack([across if i % 2 else across.transpose(1, 0, 2) for i in range(40)])
    return Data(Split(images[:32], np.arange(32) % 2), Split(images[32:], np.arange(8) % 2), ("down", "across"), size, HALF)
'''


def test_a_data_set_is_one_new_file_and_one_line(tmp_path, call, monkeypatch):
    write(tmp_path, {"toy.py": TOY})
    monkeypatch.setattr(sets, "__path__", [*sets.__path__, str(tmp_path)])         # the new file
    monkeypatch.setitem(loading.DATASETS, "toy", "toy.dataset")                           # the one line
    figures = final(call(train, *FAST, "--dataset", "toy", "--output-dir", tmp_path / "run", "--lr", "0.01", "--epochs", 3))
    assert figures["final"]["val/acc1"] == 1 and figures["final"]["epoch"] == 3
    drawn = final(call(train, *FAST, "--dataset", "toy", "--output-dir", tmp_path / "run2", "--val-split", "1/4"))
    assert drawn["step"] == 3 and not (tmp_path / "run2/split.csv").exists()
    wrong = call(train, *FAST, "--dataset", "toy", "--data-dir", tmp_path, "--output-dir", tmp_path / "run3")
    assert wrong.err == (f"train.py: error: --data-dir {tmp_path}: not for data set 'toy'; leave it out, or choose another "
                         f"--dataset\n")
