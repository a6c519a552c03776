"""iChallenge-PM: readers, the cache of shrunken photographs, and one tiny run of train.py and infer.py."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_palm import LABELS, picture, train_in_process, write_palm
from PIL import Image

from paddle_cls.data import load_data
from paddle_cls.data.augment.functional import random_fundus
from paddle_cls.data.images import resized_cache
from paddle_cls.data.images.transforms import decode, resize
from paddle_cls.data.sets import ichallenge_pm
from paddle_cls.errors import UserError
from paddle_cls.evaluation import binary


@pytest.fixture
def palm(tmp_path, monkeypatch):
    """Return the root of a tiny iChallenge-PM, with an empty cache."""
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    return write_palm(tmp_path / "data")


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of the names of the files that are decoded from now on."""
    names = []
    monkeypatch.setattr(resized_cache, "decode", lambda path, size: names.append(path.name) or decode(path, size))
    return names


def test_transform_img():
    image = np.zeros((300, 448, 3), np.uint8)
    image[:, 64:384] = (255, 0, 51)                # the middle square and a margin
    out = ichallenge_pm.transform_img(image)
    assert (out.shape, out.dtype) == ((3, 224, 224), np.float32)
    assert [out[c].min() for c in range(3)] == pytest.approx([1, -1, -0.6], abs=1e-6)
    assert [out[c].max() for c in range(3)] == pytest.approx([1, -1, -0.6], abs=1e-6)


def test_data_loader_takes_the_label_from_the_first_letter(palm):
    reader = ichallenge_pm.data_loader(palm / "PALM-Training400", batch_size=3, mode="valid")
    images, labels = zip(*reader(), strict=True)
    assert [batch.shape for batch in images] == [(3, 3, 224, 224), (1, 3, 224, 224)]
    assert [batch.shape for batch in labels] == [(3, 1), (1, 1)]
    assert {batch.dtype for batch in images + labels} == {np.dtype(np.float32)}
    assert np.concatenate(labels)[:, 0].tolist() == [0, 0, 1, 1]                 # H0001 N0001 P0001 P0002
    assert np.concatenate(images)[:, 0, 100, 100] == pytest.approx(np.array([60, 50, 200, 210]) / 127.5 - 1, abs=1e-2)


def test_data_loader_shuffles_each_pass_in_another_way_and_the_same_for_a_seed(palm):
    for i in range(20):
        picture(palm / "PALM-Training400" / f"P1{i:03d}.jpg", 10 * i)

    def passes(seed):
        reader = ichallenge_pm.data_loader(palm / "PALM-Training400", 5, seed=seed)
        return [np.concatenate([x[:, 0, 0, 0] for x, _ in reader()]).tolist() for _ in range(2)]

    first, second = passes(0)
    assert first != second and sorted(first) == sorted(second)
    assert passes(0) == [first, second] and passes(1)[0] != first


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_valid_data_loader_takes_the_label_from_the_table(palm, kind):
    table = palm / "labels.csv"
    if kind == "xlsx":
        import pandas
        table = palm / "PM_Label_and_Fovea_Location.xlsx"
        pandas.read_csv(palm / "labels.csv").to_excel(table, index=False)
    images, labels = next(ichallenge_pm.valid_data_loader(palm / "PALM-Validation400", table)())
    assert images.shape == (4, 3, 224, 224) and (labels.shape, labels.dtype) == ((4, 1), np.float32)
    assert labels[:, 0].tolist() == list(LABELS.values())
    assert (images[:, 0, 0, 0] > 0).tolist() == [bool(label) for label in LABELS.values()]


@pytest.mark.parametrize("nested", [False, True])
def test_the_whole_set_as_the_tutorial_and_as_the_archives_have_it(palm, nested):
    if nested:
        for name in ("PALM-Training400", "PALM-Validation400"):
            os.rename(palm / name, palm / "x")
            (palm / name).mkdir()
            os.rename(palm / "x", palm / name / name)
    data = load_data("ichallenge_pm", palm)
    assert data.train.labels.tolist() == [0, 0, 1, 1] and data.val.labels.tolist() == list(LABELS.values())
    assert (data.outputs, data.image_size, data.classes[1]) == (1, 224, "pathologic myopia")
    assert load_data("ichallenge_pm", palm, 32).train.images.shape == (4, 32, 32, 3)


def test_without_a_folder_it_says_where_to_get_it():
    with pytest.raises(UserError, match=r"^--data-dir: where is iChallenge-PM\? .* PALM-Training400, PALM-Validation400 and"):
        load_data("ichallenge_pm")


def test_a_photograph_is_decoded_once(palm, decoded):
    folder = palm / "PALM-Training400"
    reader = ichallenge_pm.data_loader(folder)
    assert sorted(decoded) == ["H0001.jpg", "N0001.jpg", "P0001.jpg", "P0002.jpg"]
    first = [x for x, _ in reader()]
    list(reader())
    again = [x for x, _ in ichallenge_pm.data_loader(folder)()]                  # another start
    assert len(decoded) == 4
    assert (np.concatenate(first) == np.concatenate(again)).all()


def test_a_changed_file_is_decoded_again_and_only_it(palm, decoded):
    folder = palm / "PALM-Training400"
    ichallenge_pm.data_loader(folder)
    decoded.clear()
    picture(folder / "N0001.jpg", 250)
    picture(folder / "N0002.jpg", 130)
    images, _ = next(ichallenge_pm.data_loader(folder, mode="valid")())
    assert sorted(decoded) == ["N0001.jpg", "N0002.jpg"]
    assert images[:, 0, 0, 0] == pytest.approx(np.array([60, 250, 130, 200, 210]) / 127.5 - 1, abs=1e-2)
    decoded.clear()
    os.utime(folder / "P0001.jpg", ns=(1, 1))      # same length, another time
    ichallenge_pm.data_loader(folder)
    assert decoded == ["P0001.jpg"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"nonsense"])
def test_a_broken_cache_is_told_and_made_anew(palm, decoded, content, capsys):
    folder = palm / "PALM-Training400"
    ichallenge_pm.data_loader(folder)
    cache = resized_cache.cache_file(folder, 224)
    cache.write_bytes(content)
    ichallenge_pm.data_loader(folder)
    assert len(decoded) == 8 and capsys.readouterr().err == f"{cache}: not readable, decoding the photographs again\n"
    ichallenge_pm.data_loader(folder)
    assert len(decoded) == 8


def test_a_cache_that_cannot_be_written_is_told(palm, monkeypatch, capsys):
    (palm / "file").write_text("")
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(palm / "file"))
    assert len(list(ichallenge_pm.data_loader(palm / "PALM-Training400")())) == 1
    assert capsys.readouterr().err.endswith(
        "cannot be written (Not a directory); name another folder with PADDLE_CLS_CACHE; the photographs are decoded again at "
        "each start\n")


def test_a_large_photograph_is_shrunk_as_it_is_decoded_without_harm(tmp_path):
    y, x = np.mgrid[0:1028, 0:1062] / 1062
    image = np.stack([x, y, np.sin(12 * x) ** 2 * y], 2) * 255
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "x.jpg", quality=92)
    assert decode(tmp_path / "x.jpg", 112).shape == (257, 266, 3)                # a quarter, no less than twice 112
    whole, draft = (resize(decode(tmp_path / "x.jpg", size), 112).astype(int) for size in (None, 112))
    assert abs(whole - draft).max() <= 5 and abs(whole - draft).mean() < 0.6


def test_fundus_augmentation():
    y, x = np.mgrid[0:64, 0:64] - 31.5
    disc = np.stack([(np.hypot(x, y) < 20) * value for value in (180, 90, 40)], 2).astype(np.uint8)
    disc[28:36, 40:48] = 255                       # a mark off the centre
    images = np.stack([disc] * 200)
    out = random_fundus(images, np.random.default_rng(5))
    assert (out.shape, out.dtype) == (images.shape, np.uint8)
    assert (out == random_fundus(images, np.random.default_rng(5))).all() and (images[7] == disc).all()
    assert (out != random_fundus(images, np.random.default_rng(6))).any()
    area = (out[:, :, :, 0] > 60).sum(axis=(1, 2)) / (disc[:, :, 0] > 60).sum()
    assert 0.55 < area.min() < 0.75 and 1.25 < area.max() < 1.5                  # zoom 0.8 to 1.2, squared
    rows = (out[:, :, :, 0] > 60).any(axis=2)
    middle = (rows.argmax(axis=1) + 63 - rows[:, ::-1].argmax(axis=1)) / 2 - 31.5
    assert 3 < abs(middle).max() < 8                                             # shift up to 8% of 64, and the mark
    weight = out.astype(float).mean(axis=3)
    weight = np.where(weight > 220, 1, 0) + 1e-9
    angles = np.arctan2((weight * y).sum((1, 2)), (weight * x).sum((1, 2)))
    assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 20                # all directions
    assert (out[:, 0, 0] == 0).all()                                             # outside stays black


def test_unreadable_photographs_are_named_before_the_first_step(palm, tmp_path, monkeypatch):
    from paddle_cls.training import loop
    for name in ("PALM-Training400/P0002.jpg", "PALM-Validation400/V0003.jpg"):
        (palm / name).write_bytes((palm / name).read_bytes()[:200])
    monkeypatch.setattr(loop, "train_one_epoch", lambda *_, **__: pytest.fail("a step was done"))
    with pytest.raises(UserError) as error:
        train_in_process(palm, tmp_path / "run", "--model", "resnet_small")
    assert str(error.value).startswith(f"2 problems: {palm}/PALM-Training400/P0002.jpg: ")
    assert f"; {palm}/PALM-Validation400/V0003.jpg: " in str(error.value)
    with pytest.raises(UserError, match=r"P0002\.jpg"):
        ichallenge_pm.data_loader(palm / "PALM-Training400")


def test_train_evaluate_and_infer(palm, tmp_path, capsys):
    from paddle_cls.inference.predictor import Predictor
    from paddle_cls.programs import infer
    for i in range(16):
        picture(palm / "PALM-Training400" / f"{'PN'[i % 2]}1{i:03d}.jpg", 60 if i % 2 else 190)
    run = tmp_path / "run"
    assert train_in_process(palm, run, "--model", "resnet_small", "--image-size", "32", "--epochs", "3", "--batch-size", "8",
                            "--holdout", "0.25", "--augment", "fundus", "--lr", "0.002") == 0
    final = json.loads(capsys.readouterr().out.splitlines()[-1])["final"]
    assert {path.stem for path in run.glob("*.png")} >= {"roc", "pr", "samples_unsure", "confusion", "curves"}
    assert Image.open(run / "roc.png").size == (450, 450)
    assert train_in_process(palm, run, "--eval-only", "--checkpoint", str(run / "last")) == 0
    evaluated = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {f"val/{k}": v for k, v in evaluated.items() if k not in ("checkpoint", "tta")} == pytest.approx(
        {k: v for k, v in final.items() if k.startswith("val/")}, rel=1e-4)

    threshold = final["val/threshold"]
    data, predictor = load_data("ichallenge_pm", palm, 32, holdout=0.25), Predictor.from_checkpoint(run / "last")
    assert (len(data.train), len(data.holdout)) == (16, 4)
    held = predictor.logits(data.holdout.images)
    assert threshold == pytest.approx(binary.choose_threshold(held, data.holdout.labels), rel=1e-4)
    photo = str(palm / "PALM-Validation400/V0002.jpg")
    assert infer.main(["--image", photo, "--checkpoint", str(run / "last"), "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)[0]
    verdict = "pathologic myopia" if answer["probability"] > threshold else "not pathologic"
    assert (answer["verdict"], answer["positive"], answer["threshold"]) == (verdict, "pathologic myopia", threshold)
    assert answer["probability"] == pytest.approx({t["class"]: t["probability"] for t in answer["top"]}["pathologic myopia"])
    infer.main(["--image", photo, "--checkpoint", str(run / "last")])
    assert capsys.readouterr().out == (f"{photo}\n  {verdict} (probability of pathologic myopia {answer['probability']:.3f}, "
                                       f"threshold {threshold:.3f})\n")
    infer.main(["--image", photo, "--checkpoint", str(run / "last"), "--format", "csv"])
    assert capsys.readouterr().out == ("image,verdict,positive,probability,threshold\n"
                                       f"{photo},{verdict},pathologic myopia,{answer['probability']:.6f},{threshold:.6f}\n")


def test_a_part_of_the_training_photographs_validates(palm, tmp_path, capsys):
    shutil.rmtree(palm / "PALM-Validation400")     # nor is there a table: nobody asks for either
    assert train_in_process(palm, tmp_path / "run", "--model", "resnet_small", "--image-size", "32", "--epochs", "1",
                            "--val-split", "1/2", "--batch-size", "2") == 0
    assert "2 training and 2 validation images" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["alexnet", "lenet"])
def test_the_example_trains_validates_saves_and_evaluates(palm, tmp_path, monkeypatch, capsys, model):
    import examples.ichallenge_pm as example
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ichallenge_pm.py", "--data-dir", str(palm), "--model", model, "--epochs", "1"])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1, batch 0: loss ") and lines[1].startswith("[validation] loss ")
    evaluated = dict(re.findall(r"'(\w+)': ([0-9.]+)", lines[2]))
    assert f"loss {float(evaluated['loss']):.4f}, accuracy {float(evaluated['acc1']):.4f}" in lines[1]
    saved = tmp_path / "output/palm"
    assert (saved / "palm.pdparams").stat().st_size > 7e7 and (saved / "palm.pdopt").exists()
    assert len((Path(example.__file__)).read_text().splitlines()) < 90
