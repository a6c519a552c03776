"""python -m paddle_cls.report as its users call it: what it writes, against the network's own answers, and what it refuses."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_own import pictures, write
from fake_palm import train_in_process, write_palm
from fakes import batch, python2_pickle, rgb, write_checkpoint
from PIL import Image
from sklearn import metrics as sk
from test_page import Reader

from paddle_cls.checkpoints import checkpoint
from paddle_cls.data.images.files import ImageFiles
from paddle_cls.data.reader import Split
from paddle_cls.data.sets import cifar10
from paddle_cls.evaluation import page
from paddle_cls.inference.predictor import Predictor
from paddle_cls.programs import report
from paddle_cls.programs.settings.fields import ReportConfig


def strict(folder: Path) -> dict:
    """Return what figures.json holds; NaN and Infinity are no JSON."""
    def refuse(word: str):
        raise AssertionError(word)
    return json.loads((folder / "figures.json").read_text(encoding="utf-8"), parse_constant=refuse)


def opened(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def written(run_folder, tmp_path_factory) -> Path:
    """A report on 30 test images of CIFAR-10's classes but the last, by an untrained network; not to be changed."""
    root = tmp_path_factory.mktemp("report")
    content = {**batch(6, 30), b"labels": [i % 9 for i in range(30)]}
    shutil.copytree(run_folder, root / "run")
    data = root / "data" / cifar10.FOLDER
    data.mkdir(parents=True)
    for number in range(1, 6):
        (data / f"data_batch_{number}").write_bytes(python2_pickle(batch(number, 4)))
    (data / "test_batch").write_bytes(python2_pickle(content))
    assert report.main([str(root / "run"), "--data-dir", str(root / "data"), "--device", "cpu", "--pictures", "3"]) == 0
    return root


def answers(written: Path, **more) -> tuple[np.ndarray, np.ndarray]:
    """Return (probabilities, labels) of the 30 images."""
    predictor = Predictor.from_checkpoint(written / "run", device="cpu", **more)
    return predictor([rgb(600 + i) for i in range(30)]), np.arange(30) % 9


def test_figures_are_those_of_the_networks_answers(written):
    figures, (shares, labels) = strict(written / "run" / "report"), answers(written)
    guesses = shares.argmax(axis=1)
    summary = figures["summary"]
    assert summary["acc1"] == pytest.approx((guesses == labels).mean()) and summary["loss"] == pytest.approx(
        sk.log_loss(labels, shares, labels=range(10)), rel=1e-5)
    assert (figures["samples"], figures["binary"], figures["tta"], figures["split"]) == (30, None, "none", "val")
    assert figures["confusion"]["counts"] == sk.confusion_matrix(labels, guesses, labels=range(10)).tolist()
    assert [sum(row) for row in figures["confusion"]["shares"][:9]] == pytest.approx([1] * 9)
    assert figures["confusion"]["shares"][9] == [None] * 10
    aps = [sk.average_precision_score(labels == i, shares[:, i]) for i in range(9)]
    assert [row["ap"] for row in figures["classes"][:9]] == pytest.approx(aps, rel=1e-5)
    assert summary["map"] == pytest.approx(np.mean(aps)) and figures["classes"][9]["ap"] is None
    assert figures["calibration"]["ece"] == summary["ece"] and len(figures["calibration"]["bins"]) == 15
    assert sum(row["count"] for row in figures["mistakes"]) <= (guesses != labels).sum()


def test_pictures_are_the_surest_and_the_least_sure(written):
    folder = written / "run" / "report"
    figures, (shares, labels) = strict(folder), answers(written)
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    order = np.argsort(-sure)
    expected = {"right": order[right[order]][:3], "wrong": order[~right[order]][:3], "unsure": order[::-1][:3]}
    assert figures["side"] == 32 and len(figures["pictures"]["wrong"]) == 3
    for kind, places in expected.items():
        assert [p["name"] for p in figures["pictures"][kind]] == [f"image {i}" for i in places]
        for picture, i in zip(figures["pictures"][kind], places, strict=True):
            assert (opened(folder / picture["file"]) == rgb(600 + i)).all()
            assert picture["probability"] == pytest.approx(sure[i], rel=1e-5)
            assert (picture["class"], picture["answer"]) == (cifar10.CLASSES[labels[i]], cifar10.CLASSES[shares[i].argmax()])
            wanted = {"right": [picture["answer"]], "wrong": [picture["answer"], picture["class"]], "unsure": []}[kind]
            assert [heat["class"] for heat in picture["heat"]] == wanted
            for heat in picture["heat"]:
                assert opened(folder / heat["file"]).shape == (32, 32, 3)
    assert figures["grad_cam"] == {"layer": "res3", "cells": [8, 8]}


def test_the_page_holds_every_picture_of_the_folder(written):
    folder = written / "run" / "report"
    reader = Reader((folder / "report.html").read_text(encoding="utf-8"))
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert sorted(png for png, _ in reader.images()) == sorted(c for name, c in files.items() if name.endswith(".png"))
    assert sorted(files) == strict(folder)["files"]
    assert not [name for name in os.listdir(written / "run") if name.startswith(".")]
    figures = strict(folder)
    assert f"{figures['summary']['acc1']:.4f}" in reader.texts and "not defined" in reader.texts


def test_a_second_report_replaces_the_first_whole(call, written, tmp_path):
    shutil.copytree(written / "run", tmp_path / "run")
    folder = tmp_path / "run" / "report"
    first = strict(folder)
    ask = (tmp_path / "run" / "last.pdparams", "--data-dir", written / "data", "--device", "cpu", "--pictures", 1,
           "--tta", "flip")
    done = call(report, *ask)
    assert done.status == 0 and done.out.startswith(f"{folder / 'report.html'}: loss ") and done.err == ""
    second, (shares, labels) = strict(folder), answers(written, tta="flip")
    assert len(second["files"]) < len(first["files"]) and sorted(os.listdir(folder)) == second["files"]
    assert second["summary"]["loss"] == pytest.approx(sk.log_loss(labels, shares, labels=range(10)), rel=1e-5)
    assert second["summary"]["loss"] != first["summary"]["loss"] and second["checkpoint"].endswith("last")
    call(report, *ask)
    assert strict(folder) == second
    (folder / "notes.txt").write_text("mine")
    done = call(report, *ask)
    assert done.status == 2 and "holds notes.txt, which is no part of a report; choose another folder" in done.err
    assert (folder / "notes.txt").read_text() == "mine"
    assert call(report, *ask, "--output", tmp_path / "other", "--split", "train", "--pictures", 0).status == 0
    other = strict(tmp_path / "other")
    assert (other["samples"], other["split"], other["grad_cam"]) == (20, "train", None)
    assert other["files"] == ["confusion.png", "figures.json", "reliability.png", "report.html"]


def test_a_yes_or_no_network(call, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    palm = write_palm(tmp_path / "palm")
    train_in_process(palm, tmp_path / "run", "--model", "resnet_small", "--image-size", "32", "--epochs", "1")
    assert call(report, tmp_path / "run", "--device", "cpu").status == 0             # the data's place is in config.yaml
    figures = strict(tmp_path / "run" / "report")
    info = checkpoint.read_info(tmp_path / "run" / "best")
    kept = {name.removeprefix("val/"): value for name, value in info.metrics.items()}
    assert figures["binary"]["auc"] == pytest.approx(kept["auc"])
    assert [figures["binary"][name] for name in ("tp", "fp", "tn", "fn")] == [kept[name] for name in ("tp", "fp", "tn", "fn")]
    assert {"roc.png", "pr.png"} <= set(figures["files"])
    shown = [p for kind in ("right", "wrong") for p in figures["pictures"][kind]]
    assert sorted(p["name"] for p in shown) == ["V0001.jpg", "V0002.jpg", "V0003.jpg", "V0004.jpg"]
    assert figures["grad_cam"]["cells"] == [2, 2]


class Files(Split):
    """As a folder of photographs gives them: decoded when asked for, each of another size, and no array of all."""

    def __init__(self, labels: np.ndarray):
        self.labels, self.most = labels, 0

    def fetch(self, indices: np.ndarray) -> list[np.ndarray]:
        self.most = max(self.most, len(indices))
        return [rgb(int(i), 300 + 7 * int(i), 400 - 5 * int(i)) for i in indices]

    def name(self, index: int) -> str:
        return f"cats/{index} <b>.jpg"


def test_images_of_any_size_are_fetched_in_parts_and_shown_small(tmp_path):
    trained = Predictor.from_checkpoint(write_checkpoint(tmp_path / "run", classes=(r"$\no$", "狗")), device="cpu")
    predictor = Predictor(lambda: trained.model, trained.classes, 256, trained.normalization)
    split = Files(np.arange(5) % 2)
    figures, pngs = report.judge(predictor, split, pictures=1, batch_size=2)
    assert split.most == 2 and figures["samples"] == 5 and figures["side"] == 224
    expected = predictor(split.fetch(np.arange(5)))
    assert figures["calibration"]["ece"] >= 0 and figures["pictures"]["unsure"][0]["probability"] == pytest.approx(
        expected.max(axis=1).min(), rel=1e-5)
    sizes = {Image.open(io.BytesIO(png)).size for name, png in pngs.items() if name not in ("confusion.png", "reliability.png")}
    assert sizes == {(224, 224)} and figures["pictures"]["unsure"][0]["name"].endswith("<b>.jpg")


def test_a_picture_of_a_folder_or_a_table_is_named_by_its_path(tmp_path):
    write(tmp_path, pictures("cat", "dog", count=1))
    predictor = Predictor.from_checkpoint(write_checkpoint(tmp_path / "run", classes=("cat", "dog")), device="cpu")
    split = Split(ImageFiles(tmp_path, ["cat/0.jpg", "dog/0.jpg"]).sized(32), np.arange(2))
    figures, pngs = report.judge(predictor, split.take(np.array([1])), pictures=1, batch_size=2)
    assert [picture["name"] for picture in figures["pictures"]["unsure"]] == ["dog/0.jpg"]
    about = {"checkpoint": "run/best", "step": 1, "model": "resnet", "dataset": "folder", "split": "val"}
    assert "dog/0.jpg" in page.render({**about, **figures, "files": []}, pngs) and split.name(0) == "cat/0.jpg"


RUN = ("run", "--device", "cpu", "--data-dir", "data")


@pytest.mark.parametrize("flags, message", [
    ((), "the following arguments are required: RUN; python -m paddle_cls.report --help lists the flags"),
    (("none",), "none: no such checkpoint; --checkpoint takes"), (("new",), r"new: no checkpoint \(best\.json or last\.json\)"),
    (("run", "more"), "unexpected 'more'"), (("run", "--picture", "3"), r"unknown flag '--picture'; did you mean '--pictures'\?"),
    (("run", "--pictures", "-1"), "--pictures: -1 must be from 0 to 1000"),
    ((*RUN, "--split", "test"), "--split: unknown value 'test'; known: holdout, train, val"),
    ((*RUN, "--tta", "crop"), r"--tta: unknown value 'crop'; did you mean 'crops'\?"),
    ((*RUN, "--dataset", "cifar"), r"unknown data set 'cifar'; did you mean 'cifar10'\?"),
    ((*RUN, "--split", "holdout"), r"--split holdout: the run kept no images apart \(--holdout\); use val or train"),
    (("run", "--device", "cpu", "--data-dir", "nowhere"), "--data-dir nowhere: no such folder"),
    (("run", "--device", "cpu", "--data-dir", "new"), "new: no cifar-10-batches-py/"),
    ((*RUN, "--output", "file"), "--output .*/file: is a file; name a folder"),
    ((*RUN, "--output", "file/new"), "--output .*/file/new: there is no folder .*/file; make it first"),
    ((*RUN, "--output", "none/new"), "--output .*/none/new: there is no folder .*/none; make it first"),
    ((*RUN, "--output", "."), r"--output .*: holds .*, which is no part of a report; choose another folder"),
    ((*RUN, "--output", "run"), r"--output .*/run: holds best\.json, which is no part of a report; choose another folder"),
    ((*RUN, "--output", "/proc/new"), r"/proc/\.new\.lock: cannot be written: No such file or directory"),
])
def test_wrong_inputs(refused, flags, message):
    refused(report, message, *flags)


def test_data_with_other_classes_is_refused(refused, here):
    write_checkpoint(here / "two", classes=("cat", "dog"))
    refused(report, r"two/best: trained for the classes \['cat', 'dog'\], but data set 'cifar10' has \['airplane', ",
            "two", *RUN[1:])


def test_another_data_set_takes_nothing_that_was_set_for_the_runs_own(tmp_path):
    (tmp_path / "config.yaml").write_text("dataset: ichallenge_pm\ndata_dir: there\nval_split: 2/5\n")
    same, moved, other = (report.run_settings(ReportConfig(run=tmp_path, **more), tmp_path) for more in (
        {}, {"dataset": "ichallenge_pm", "data_dir": Path("here")}, {"dataset": "shapes"}))
    assert (same.dataset, same.data_dir, same.val_split) == ("ichallenge_pm", Path("there"), "2/5")
    assert (moved.data_dir, moved.val_split) == (Path("here"), "2/5")
    assert (other.dataset, other.data_dir, other.val_split) == ("shapes", None, None)


def test_a_run_without_its_settings_is_refused_unless_the_data_set_is_named(call, refused, here):
    (here / "run" / "config.yaml").unlink()
    refused(report, r"config\.yaml: missing, and it says what the network was trained on; name that with --dataset", *RUN)
    done = call(report, *RUN, "--dataset", "cifar10", "--pictures", 0)
    assert done.status == 0 and strict(here / "run" / "report")["samples"] == 4
    (here / "run" / "config.yaml").write_text("epoch: 3")
    refused(report, r"config\.yaml: unknown key 'epoch'", *RUN)


def test_a_disk_that_gets_full_leaves_the_old_report(call_in_memory, written, tmp_path):
    import resource
    shutil.copytree(written / "run", tmp_path / "run")
    before = strict(tmp_path / "run" / "report")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limit[1]))
    try:
        done = call_in_memory(report, tmp_path / "run", "--data-dir", written / "data", "--device", "cpu")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert done.status == 2 and "cannot be written: File too large; free some space or choose another folder" in done.err
    assert strict(tmp_path / "run" / "report") == before and "report" in os.listdir(tmp_path / "run")
    assert not [name for name in os.listdir(tmp_path / "run") if name.startswith(".")]
