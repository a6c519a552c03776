"""Every field of a checkpoint's .json that somebody has edited or made up: one line, before any answer."""

import json
import os
import re
from pathlib import Path

import pytest
from fakes import rgb
from PIL import Image

from paddle_cls.checkpoints.info import CheckpointInfo, Description
from paddle_cls.errors import UserError
from paddle_cls.formats import strict_json
from paddle_cls.programs import infer, report, train

MEAN, STD = [0.49, 0.48, 0.44], [0.24, 0.24, 0.26]
GONE = object()
DEEP = 100_000


def edit(file: Path, changes: dict) -> None:
    """Set keys such as "model.arguments" of a checkpoint's .json, and leave out the checksum of it."""
    info = json.loads(file.read_text())
    info["sha256"].pop(".json", None)
    for key, value in changes.items():
        *places, last = key.split(".")
        owner = info
        for place in places:
            owner = owner[place]
        if value is GONE:
            del owner[last]
        else:
            owner[last] = value
    file.write_text(json.dumps(info))


def classes(*first: object) -> dict:
    return {"classes": [*first, *"cdefghijklm"][:10]}


FIELDS = [
    ("image_size -1", {"image_size": -1}, "image_size: -1 must be from 1 to 4096"),
    ("image_size 0", {"image_size": 0}, "image_size: 0 must be from 1 to 4096"),
    ("image_size true", {"image_size": True}, "image_size: True is not a whole number"),
    ("image_size 1e9", {"image_size": 1e9}, "image_size: 1000000000.0 is not a whole number"),
    ("image_size 50000", {"image_size": 50000}, "image_size: 50000 must be from 1 to 4096"),
    ("image_size 10**30", {"image_size": 10**30}, f"image_size: {10**30} must be from 1 to 4096"),
    ("std 0", {"normalization.std": [0.2, 0, 0.2]}, "normalization.std[1]: 0 must be a finite number over 0"),
    ("std nan", {"normalization.std": [0.2, float("nan"), 0.2]}, "truncated or not JSON (NaN is no number in JSON)"),
    ("std missing", {"normalization.std": GONE}, "normalization.std is missing"),
    ("mean str", {"normalization.mean": ["x", 0, 0]}, "normalization.mean[0]: 'x' is not a number"),
    ("mean 2", {"normalization.mean": [0, 0]}, "normalization.mean: [0, 0] has 2 numbers; one for each of red, green and blue is "
                                               "needed"),
    ("mean nested", {"normalization.mean": [[0], [0], [0]]}, "normalization.mean[0]: [0] is not a number"),
    ("mean null", {"normalization.mean": None}, "normalization.mean: None is not a list"),
    ("mean 10**399", {"normalization.mean": [10**399, 0, 0]}, "normalization.mean[0]: 100000000000000000...0000000000000000000 "
                                                              "must be a finite number"),
    ("normalization more", {"normalization.x": 1}, "normalization.x: has no place here"),
    ("outputs x", {"outputs": "x"}, "outputs: 'x' is not a whole number"),
    ("outputs 10**12", {"outputs": 10**12}, "outputs: 1000000000000 must be from 1 to 100000"),
    ("outputs null", {"outputs": None}, "outputs: None is not a whole number"),
    ("outputs 1.5", {"outputs": 1.5}, "outputs: 1.5 is not a whole number"),
    ("outputs 7 of 10", {"outputs": 7}, "outputs: 7 must be 10, one for each class, or 1 for two classes"),
    ("outputs 1 of 10", {"outputs": 1}, "outputs: 1 must be 10, one for each class, or 1 for two classes"),
    ("classes ints", classes(4), "classes[0]: 4 is not a text"),
    ("classes nulls", classes("a", None), "classes[1]: None is not a text"),
    ("classes lists", classes([1]), "classes[0]: [1] is not a text"),
    ("classes surrogate", classes("a\ud800"), r"classes[0]: 'a\ud800' has characters that are no text (line ends, controls, half "
                                              "characters)"),
    ("classes escape", classes("a\x1b[2J"), r"classes[0]: 'a\x1b[2J' has characters that are no text (line ends, controls, half "
                                            "characters)"),
    ("classes empty text", classes(" "), "classes[0]: ' ' must be a text of 1 to 1000 characters"),
    ("classes twice", classes("a", "a"), "classes: 'a' is there twice"),
    ("classes one", {"classes": ["a"]}, "classes: 1 are listed; allowed: from 2 to 100,000"),
    ("classes dict", {"classes": {"a": 1}}, "classes: {'a': 1} is not a list"),
    ("model name 5", {"model.name": 5}, "model.name: 5 is not a text"),
    ("model name list", {"model.name": ["resnet"]}, "model.name: ['resnet'] is not a text"),
    ("model name null", {"model.name": None}, "model.name: None is not a text"),
    ("model name path", {"model.name": "../x"}, "unknown model '../x'; paddle-cls models lists the known"),
    ("model str", {"model": "resnet"}, "model: 'resnet' is not a dictionary"),
    ("arguments depth x", {"model.arguments.depth": "x"}, "model 'resnet': depth='x' is not a whole number"),
    ("arguments depth true", {"model.arguments.depth": True}, "model 'resnet': depth=True is not a whole number"),
    ("arguments name", {"model.arguments.name": "vgg"}, "model 'resnet' takes no name; it takes: depth, zero_init_last"),
    ("arguments num_classes", {"model.arguments.num_classes": 3}, "model 'resnet' takes no num_classes; it takes: depth, "
                                                                  "zero_init_last"),
    ("depth null", {"model.arguments.depth": None}, "model 'resnet': depth=None is not a whole number"),
    ("depth 600002", {"model.arguments.depth": 600002}, "model.arguments.depth: 600002 must be a finite number from -100000 to "
                                                        "100000"),
    ("dataset 5", {"dataset": 5}, "dataset: 5 is not a text"),
    ("figures null", {"figures": None}, "figures: None is not a dictionary"),
    ("figures text", {"figures.val/acc1": "x"}, "figures.val/acc1: 'x' is not a number"),
    ("threshold 3", {"figures.val/threshold": 3}, "figures: val/threshold: 3 must be from 0 to 1"),
    ("sha256 null", {"sha256": {".pdparams": None}}, "sha256..pdparams: None is not a text"),
    ("format true", {"format": True}, "written in format True, this version reads 1"),
    ("format missing", {"format": GONE}, "format is missing"),
]
TEXTS = [
    ("mean 1e400", lambda text: text.replace('"step": 1', '"step": 1e400'), "'1e400' is larger or longer than any number here"),
    ("5000 digits", lambda text: text.replace('"step": 1', f'"step": {5000 * "1"}'), "a number of 5,000 digits"),
    ("deep nested json", lambda text: DEEP * "[", "nested too deeply"),
    ("deep nested in dict", lambda text: text.replace('"step": 1', f'"step": {DEEP * "["}'), "nested too deeply"),
    ("key twice", lambda text: text.replace('"step": 1', '"step": 1, "step": 2'), "the key 'step' is there twice"),
    ("UTF-16", lambda text: text.encode("utf-16"), "byte 0 is no UTF-8"),
    ("17 MB", lambda text: (17 << 20) * " ", "cannot be read: larger than 16,777,216 bytes"),
]


@pytest.mark.parametrize("changes, message", [case[1:] for case in FIELDS], ids=[f"json {case[0]}" for case in FIELDS])
def test_a_field_that_is_wrong(refused, here, changes, message):
    edit(here / "run/best.json", changes)
    Image.fromarray(rgb(0)).save(here / "good.png")
    refused(infer, f"^infer.py: error: run/best.json: {re.escape(message)}; use another checkpoint\n$", "--image", "good.png",
            "--checkpoint", "run")


@pytest.mark.parametrize("change, message", [case[1:] for case in TEXTS], ids=[f"json {case[0]}" for case in TEXTS])
def test_a_text_that_is_no_json(refused, here, change, message):
    content = change((here / "run/best.json").read_text())
    (here / "run/best.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    Image.fromarray(rgb(0)).save(here / "good.png")
    refused(infer, rf"^infer.py: error: run/best.json: .*{re.escape(message)}\)?; use another checkpoint\n$",
            "--image", "good.png", "--checkpoint", "run")


@pytest.mark.parametrize("name", ["best.json", "best.pdparams"])
def test_a_fifo_is_never_waited_for(here, name, call):
    (here / "run" / name).unlink()
    os.mkfifo(here / "run" / name)
    Image.fromarray(rgb(0)).save(here / "good.png")
    done = call(infer, "--image", "good.png", "--checkpoint", "run")
    text = f"infer.py: error: run/{name}: cannot be read: a FIFO, not a file; use another checkpoint\n"
    assert (done.status, done.err) == (2, text)


RESUMED = [
    ("epoch inf", {"epoch": float("inf")}, r"not JSON \(Infinity is no number"), ("epoch -1", {"epoch": -1}, "epoch: -1 must be"),
    ("epoch 10**30", {"epoch": 10**30}, f"epoch: {10**30} must be from 0 to {2**53}"),
    ("epoch missing", {"epoch": GONE}, "epoch is missing"), ("step -5", {"step": -5}, "step: -5 must be from 0 to"),
    ("step 10**12", {"step": 10**12}, f"has epoch = 1, step = {10**12} and sums over 0 images, which cannot be"),
    ("step of no epoch", {"step": 2}, "has epoch = 1, step = 2 and sums over 0 images, which cannot be"),
    ("epoch too many", {"epoch": 2}, "has epoch = 2, step = 1 and sums over 0 images, which cannot be"),
    ("totals str", {"totals.count": "y"}, "totals.count: 'y' is not a number"), ("totals list", {"totals": [1]}, "is not a dict"),
    ("totals flags", {"totals.flags": {}}, "totals.flags: {} is not a list"),
    ("totals of no step", {"totals.count": 20.0}, "step = 1 and sums over 20 images"),
    ("best str", {"best": "x"}, "best: 'x' is not a dictionary"),
    ("best no acc", {"best": {"epoch": 1}}, "best: val/acc1 is missing"),
    ("best acc text", {"best": {"val/acc1": "1"}}, "best.val/acc1: '1' is not a number"),
]


@pytest.mark.parametrize("changes, message", [case[1:] for case in RESUMED], ids=[f"json resume {case[0]}" for case in RESUMED])
def test_a_resumed_run(refused, here, changes, message):
    edit(here / "run/last.json", changes)
    refused(train, f"^train.py: error: .*run/last.json.*{message}.*; (use another checkpoint|.*another --output-dir)\n$",
            "--resume", "--nproc", 1, "--device", "cpu", "--data-dir", "data", "--output-dir", "run", "--epochs", 2)


OTHERS = [
    ("report step missing", report, {"step": GONE}, "step is missing", "run"),
    ("report step str", report, {"step": "7"}, "step: '7' is not a whole number", "run"),
    ("report name null", report, {"model.name": None}, "model.name: None is not a text", "run"),
    ("report image_size 5000", report, {"image_size": 5000}, "image_size: 5000 must be from 1 to 4096", "run"),
    ("eval image_size -1", train, {"image_size": -1}, "image_size: -1 must be", "--eval-only --checkpoint run --data-dir data"),
    ("eval mean 2", train, {"normalization.mean": [0, 0]}, "has 2 numbers", "--eval-only --checkpoint run --data-dir data"),
    ("pretrained classes ints", train, classes(4), r"classes\[0\]: 4 is not a text",
     "--pretrained run --depth 8 --epochs 1 --nproc 1 --data-dir data --output-dir new"),
    ("pretrained model str", train, {"model": "x"}, "model: 'x' is not a dictionary",
     "--pretrained run --depth 14 --epochs 1 --nproc 1 --data-dir data --output-dir new"),
]


@pytest.mark.parametrize("script, changes, message, flags", [case[1:] for case in OTHERS],
                         ids=[f"json {case[0]}" for case in OTHERS])
def test_other_doors(refused, here, script, changes, message, flags):
    edit(here / "run/best.json", changes)
    refused(script, f"error: run/best.json: .*{message}.*; use another checkpoint\n$", *flags.split())


def test_what_is_left_alone(here):
    """Keys of a later version, names in any writing, whole numbers as fractions: read and given back as they are."""
    names = ["狗", "Straße", "a b", "<b>", "名前\u30001", "=1", "😀", "x/y", "א", "'"]
    edit(here / "run/best.json", {"classes": names, "more": {"a": [1]}, "normalization.mean": [0, 1, 2], "best": None})
    info = CheckpointInfo.from_json((here / "run/best.json").read_bytes(), "best.json")
    assert info.classes == names and info.normalization.mean == [0, 1, 2]
    assert info.to_dictionary()["more"] == {"a": [1]}


def test_a_training_does_not_begin_whose_checkpoints_nobody_could_read():
    about = {"model": {"name": "resnet", "arguments": {}}, "classes": ["a", "b\n"], "image_size": 32,
             "normalization": {"mean": MEAN, "std": STD}}
    with pytest.raises(UserError, match=r"classes\[1\]: 'b\\n' has characters that are no text .*; choose others, for no"):
        Description.from_dictionary(about)


def test_messages_stay_short(here):
    edit(here / "run/best.json", {"image_size": {str(i): DEEP * "x" for i in range(1000)}})
    with pytest.raises(UserError) as error:
        CheckpointInfo.from_json((here / "run/best.json").read_bytes(), "best.json")
    assert len(str(error.value)) < 800 and len(strict_json.shown([[[[[1]]]]] * 1000)) < 300
