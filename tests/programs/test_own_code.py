"""Code from outside the package: a network, a data set, an augmentation, an output format; and a stranger's that must not run."""

import json
import sys

import numpy as np
import pytest
from fakes import write_checkpoint

from paddle_cls import Predictor, models, named
from paddle_cls.checkpoints.info import hash_of
from paddle_cls.data import DATASETS, load_data
from paddle_cls.data.augment.recipes import batched, parse
from paddle_cls.errors import UserError
from paddle_cls.inference.dygraph import Dygraph
from paddle_cls.programs import infer, report, train
from paddle_cls.programs import models as lister
from paddle_cls.programs.settings.fields import Config
from paddle_cls.programs.shared import setup

CODE = '''
import numpy as np
from paddle import nn
from paddle_cls.data import CIFAR10, Data, Split


class Net(nn.Layer):
    def __init__(self, num_classes, width=4, act: str | None = None, layers=()):
        super().__init__()
        self.conv, self.fc = nn.Conv2D(3, width, 3, 2), nn.Linear(width, num_classes)

    def forward(self, images):
        return self.fc(self.conv(images).mean([2, 3]))


def pictures():
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    labels = np.arange(8) % 2
    return Data(Split(images, labels), Split(images, labels), ("day", "night"), 16, CIFAR10)


def darker(images, rng):
    return images // int(rng.integers(2, 4))


def lines(answers):
    return "".join(f"{answer.image}|{answer.top[0][0]}\\n" for answer in answers)


def no_classes(width=3): ...
def probabilities(num_classes): return Net(num_classes + 1)
def needy(num_classes, width): ...
def nothing(): return [1]
def smaller(images, rng): return images[:1]
number = 3
'''
HOSTILE = "from pathlib import Path\nPath('sentinel').touch()\ndef Net(num_classes): ...\n"


@pytest.fixture
def own(here, monkeypatch):
    """The working folder with own_door.py (CODE), stranger.py (HOSTILE), broken_door.py; what they leave in Python is undone."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (here / "own_door.py").write_text(CODE)
    (here / "stranger.py").write_text(HOSTILE)
    (here / "broken_door.py").write_text("import os\n\n\nos.nowhere()\n")
    (here / "typo_door.py").write_text("def f(:\n")
    (here / "lacking_door.py").write_text("import missing_door_library\n")
    yield here
    for name in ("own_door", "stranger"):
        sys.modules.pop(name, None)


def rename(folder, name):
    """Let the checkpoints and the settings of a run say that their network is `name`."""
    for file in folder.glob("*.json"):
        info = json.loads(file.read_text())
        info["model"] = {"name": name, "arguments": {}}
        info["sha256"][".json"] = hash_of(info)
        file.write_text(json.dumps(info))
    settings = (folder / "config.yaml").read_text().replace("model: resnet", f"model: {name}").replace("depth: 8", "depth: null")
    (folder / "config.yaml").write_text(settings)


def test_a_run_of_own_parts_trains_and_answers(own, call_in_memory):
    """Neither @about nor forward_features is needed; the checkpoint's network answers once the user names it."""
    flags = ("--model", "own_door:Net", "--dataset", "own_door:pictures", "--augment", "flip,own_door:darker",
             "--model-args", "width=6", "--epochs", 1, "--batch-size", 4, "--device", "cpu", "--nproc", 1, "--onednn", "off",
             "--output-dir", "我的")
    done = call_in_memory(train, *flags)
    assert "only 8 validation images: " in done.out
    assert '{"output_dir": "我的", ' in done.out and "--checkpoint 我的 --model own_door:Net" in done.out.replace("'", "")
    assert done.status == 0 and json.loads(done.out.splitlines()[-1])["step"] == 2
    assert json.loads((own / "我的/last.json").read_text())["model"] == {"name": "own_door:Net", "arguments": {"width": 6}}
    picture = own / "a.png"
    from PIL import Image
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(picture)
    asked = ("--image", picture, "--checkpoint", "我的", "--device", "cpu", "--model", "own_door:Net")
    assert call_in_memory(infer, *asked, "--format", "own_door:lines").out in (f"{picture}|day\n", f"{picture}|night\n")
    judged = call_in_memory(train, *flags, "--eval-only")
    assert judged.status == 0 and json.loads(judged.out.splitlines()[-1])["checkpoint"] == "我的/best"
    predictor = Predictor.from_checkpoint(own / "我的", device="cpu", model="own_door:Net")
    assert predictor(picture).shape == (1, 2)
    assert isinstance(predictor.engine, Dygraph)   # its code may change: an export would not show that
    with pytest.raises(UserError, match=r"我的/best: its network, Net, has no method forward_features\(images\)"):
        predictor.features(picture)
    done = call_in_memory(report, "我的", "--model", "own_door:Net", "--dataset", "own_door:pictures", "--device", "cpu",
                          "--pictures", 1)
    assert done.status == 0 and (own / "我的/report/report.html").exists()
    assert setup.settings([*map(str, flags), "--resume"], "train.py", "", Config).model == "own_door:Net"


@pytest.mark.parametrize("name", ["os:system", "stranger:Net", "own_door:Net"])
def test_a_file_alone_runs_no_code(own, refused, name):
    rename(own / "run", name)
    told = f"its network is '{name}', code that is not run because a file says so; if it is yours, say so with --model {name} "
    refused(infer, told, "--image", "file", "--checkpoint", "run")
    refused(infer, f"its network is '{name}', not 'own_door:Other'", "--image", "file", "--checkpoint", "run", "--model",
            "own_door:Other")
    for flag in ("--resume", "--eval-only"):
        refused(train, f"run/config.yaml: model: '{name}' is code that is not run because a file says so; if it is yours, say so "
                       f"with --model {name}", flag, "--output-dir", "run", "--data-dir", "data", "--dataset", "cifar10")
    refused(train, told, "--eval-only", "--checkpoint", "run/last", "--output-dir", "new", "--data-dir", "data")
    assert not (own / "sentinel").exists() and "stranger" not in sys.modules


def test_a_report_takes_no_data_set_from_a_file(own, refused):
    settings = own / "run/config.yaml"
    settings.write_text(settings.read_text().replace("dataset: cifar10", "dataset: stranger:Net"))
    refused(report, "run/config.yaml: dataset: 'stranger:Net' is code that is not run because a file says so", "run")
    text = settings.read_text().replace("dataset: stranger:Net", "dataset: cifar10")
    settings.write_text(text.replace("augment: none", "augment: stranger:Net"))
    refused(train, "augment: 'stranger:Net' is code .* say so with --augment stranger:Net", "--resume", "--output-dir", "run")
    assert not (own / "sentinel").exists()


def test_the_users_word_must_be_the_checkpoints(own):
    write_checkpoint(own / "plain")
    with pytest.raises(UserError, match="its network is 'resnet', not 'stranger:Net'; leave that out"):
        Predictor.from_checkpoint(own / "plain", model="stranger:Net")
    assert not (own / "sentinel").exists()


def test_a_file_of_the_working_folder_hides_no_installed_module(own, monkeypatch):
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(own))])
    named.check("own_door:Net", "--model")
    assert sys.path[-1] == str(own) and sys.path.count(str(own)) == 1


@pytest.mark.parametrize("text, message", [
    ("own_door:Nett", r"--model own_door:Nett: unknown name in \S+own_door.py: 'Nett'; did you mean 'Net'\?"),
    ("own_door:number", "--model own_door:number: is a int, not a function or class"),
    ("own_dor:Net", r"--model own_dor:Net: no module 'own_dor' in the working folder or installed; did you mean 'own_door'\?"),
    ("own_door.py:Net", "--model own_door.py:Net: no module 'own_door.py'"),
    ("own_door:", "--model own_door:: is not of the form module:name, such as mymodule:Net"),
    ("../own_door:Net", "is not of the form module:name"),
    ("broken_door:Net", r"--model broken_door:Net: importing it fails at \S+broken_door.py:4: AttributeError: "),
    ("typo_door:Net", r"--model typo_door:Net: importing it fails at \S+typo_door.py:1: SyntaxError: "),
    ("lacking_door:Net", r"fails at \S+lacking_door.py:1: ModuleNotFoundError: No module named 'missing_door_library'"),
])
def test_what_cannot_be_found_is_told(own, text, message):
    with pytest.raises(UserError, match=message):
        named.load(text, "--model")


@pytest.mark.parametrize("name, arguments, message", [
    ("own_door:no_classes", {}, r"takes no num_classes; write def no_classes\(num_classes, ...\)"),
    ("own_door:needy", {}, "needs width; give it by --model-args width=..."),
    ("own_door:Net", {"width": "wide"}, "width='wide' is not a whole number"),
    ("own_door:Net", {"wide": 3}, "takes no wide; it takes: act, width"),
    ("own_door:lines", {}, "takes no num_classes"),
])
def test_what_a_network_takes(own, name, arguments, message):
    with pytest.raises(UserError, match=message):
        models.build_model(name, 2, **arguments)


def test_logits_are_checked_before_training(own):
    network = models.build_model("own_door:probabilities", 2)
    with pytest.raises(UserError, match=r"for one image it gives paddle.float32 \[1, 3\]; logits are needed, float32 \[1, 2\]"):
        models.check_logits("own_door:probabilities", network, 2, 16)


def test_tables_take_entries_from_outside(own, monkeypatch, call_in_memory):
    assert named.load("own_door:Net", "--model") is sys.modules["own_door"].Net
    own_door = sys.modules["own_door"]
    few = {"mine": own_door.Net, "named": "own_door:Net", "wrong": 3, "lost": "nowhere.Net"}
    monkeypatch.setattr(models, "MODELS", few)
    assert type(models.build_model("mine", 2)) is type(models.build_model("named", 2)) is own_door.Net
    with pytest.raises(UserError, match=r"MODELS\['wrong'\] = 3: is neither a function or class nor 'module:name' of one"):
        models.build_model("wrong", 2)
    with pytest.raises(UserError, match=r"MODELS\['lost'\] = 'nowhere.Net': .*; a network of another package is written "
                                        r"'package.module:Net'"):
        models.build_model("lost", 2)
    monkeypatch.setattr(models, "MODELS", {"mine": own_door.Net})
    assert call_in_memory(lister).out.splitlines()[1].split() == ["mine", "0.01", "M", "-", "-", "-"]
    monkeypatch.setitem(DATASETS, "mine", own_door.pictures)
    assert load_data("mine").classes == load_data("own_door:pictures").classes == ("day", "night")
    with pytest.raises(UserError, match=r"data set 'own_door:nothing' gives a list, not a paddle_cls.data.Data"):
        load_data("own_door:nothing")
    with pytest.raises(UserError, match="--table t.csv: not for data set 'mine'"):
        load_data("mine", table="t.csv")
    monkeypatch.setitem(infer.FORMATS, "mine", own_door.lines)
    infer.check_format("mine")
    with pytest.raises(UserError, match="--format: unknown value 'jsn'; did you mean 'json'"):
        infer.check_format("jsn")


def test_an_own_augmentation_comes_last_and_draws_from_the_batchs_generator(own):
    images = np.full((3, 8, 8, 3), 240, np.uint8)
    assert parse("flip,own_door:darker") == {"flip": (0.5,), "own_door:darker": ()}
    one, two = (batched("flip,own_door:darker", 4)(images, np.random.default_rng(seed)) for seed in (0, 0))
    assert one.shape == (3, 4, 4, 3) and np.array_equal(one, two) and set(np.unique(one)) <= {120, 80}
    with pytest.raises(UserError, match=r"own_door:smaller: gives uint8 \(1, 4, 4, 3\) of a batch uint8 \(3, 4, 4, 3\)"):
        batched("own_door:smaller", 4)(images, np.random.default_rng(0))
    with pytest.raises(UserError, match="own_door:darker takes no number"):
        parse("own_door:darker=3")
