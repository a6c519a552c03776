"""The gravest pickles at every door that a file of somebody else's comes in by: one line, status 2, in a moment."""

import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from fakes import forge, rgb, write_cifar
from hostile import GRAVEST, P4, WITHIN, array, content, dtype, put, under
from PIL import Image
from safetensors.numpy import save_file
from test_pretrained import HEAD, arrays, net
from test_wrong_inputs import NEW, RESUME

from paddle_cls.checkpoints.checkpoint import load_weights
from paddle_cls.checkpoints.info import Description
from paddle_cls.checkpoints.pretrained import load, read
from paddle_cls.checkpoints.weights import read_state, read_weights
from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError
from paddle_cls.models import build_model, head
from paddle_cls.programs import infer, train
from paddle_cls.training.optimizers import EMA, build_optimizer
from paddle_cls.training.run import Run

INFER = ("--image", "picture.png", "--device", "cpu", "--checkpoint")


def pretrained(here: Path, data: bytes) -> tuple:
    (here / "x.pdparams").write_bytes(data)
    return train, *NEW, "--pretrained", "x.pdparams"


def pretrained_run(here: Path, data: bytes) -> tuple:
    forge(here / "run", "best.pdparams", data)
    return train, *NEW, "--pretrained", "run"


def answer(here: Path, data: bytes) -> tuple:
    forge(here / "run", "best.pdparams", data)
    Image.fromarray(rgb(1)).save(here / "picture.png")
    return infer, *INFER, "run"


def resume_weights(here: Path, data: bytes) -> tuple:
    forge(here / "run", "last.pdparams", data)
    return train, *RESUME


def resume_optimizer(here: Path, data: bytes) -> tuple:
    forge(here / "run", "last.pdopt", data)
    return train, *RESUME


def batch(here: Path, data: bytes) -> tuple:
    shutil.rmtree(here / "other", ignore_errors=True)
    write_cifar(here / "other", test_batch=data)
    return train, *NEW, "--data-dir", "other"


def archive(here: Path, data: bytes) -> tuple:
    shutil.rmtree(here / "other", ignore_errors=True)
    write_cifar(here / "other", archive=True, data_batch_2=data)
    return train, *NEW, "--data-dir", "other"


ABOUT = {"model": {"name": "resnet", "arguments": {"depth": 8}}, "classes": list(cifar10.CLASSES), "image_size": 32,
         "normalization": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
DOORS = (pretrained, pretrained_run, answer, resume_weights, resume_optimizer, batch, archive)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_the_gravest_are_refused_at_every_door(refused, here, door):
    for data, message in GRAVEST.values():
        script, *arguments = door(here, data)
        started = time.process_time()
        refused(script, message, *arguments)
        assert time.process_time() - started < 3   # of which the script's own beginning is the most


@pytest.mark.parametrize("door", DOORS[:5], ids=lambda door: door.__name__)
def test_data_in_the_place_of_an_array_is_refused_at_every_door(refused, here, door):
    """2**28 paths among them, which no message may follow."""
    for value, kind in WITHIN.values():
        key = "conv2d_0.w_0_moment1_0" if door is resume_optimizer else "fc.weight"
        script, *arguments = door(here, under(key, value))
        refused(script, rf"\.pd(params|opt): '?{key}'? is a {kind}, not an array$", *arguments)


@pytest.mark.parametrize("key", [b"data", b"labels"])
@pytest.mark.parametrize("what", WITHIN)
def test_data_in_the_place_of_images_and_labels_is_refused(tmp_path, key, what):
    values = {b"data": array((4, 3072), dtype("u1"), content(bytes(4 * 3072))), b"labels": put([1, 2, 3, 4])}
    for change in ({}, {key: WITHIN[what][0]}):
        made = (values | change).items()
        data = P4 + b"".join(value + b"q" + key[:1] for key, value in made)
        data += b"}" + b"".join(content(key) + b"h" + key[:1] + b"s" for key, _ in made) + b"."
        write_cifar(tmp_path, test_batch=data)
        if not change:
            assert cifar10.load("test", tmp_path).labels.tolist() == [1, 2, 3, 4]
    message = "'data' is not uint8" if key == b"data" else "(4 images, but labels of|not a CIFAR-10 batch: its 'labels')"
    with pytest.raises(UserError, match=f"test_batch: {message}"):
        cifar10.load("test", tmp_path)


def kinds(state: dict) -> dict:
    """Return {what: (the change of the weights, the refusal)}."""
    weight, name = state["fc.weight"], "conv1.bn._variance"
    ints = r"fc\.weight holds numbers that are not finite or no fractions"
    odd = {"an integer": (3, "int"), "nothing": (None, "NoneType"), "bytes": (b"a", "bytes")}
    return {
        "int64": ({"fc.weight": weight.astype("int64")}, rf"{ints} \(int64\)"),
        "uint16": ({"fc.weight": weight.astype("uint16")}, r"fc\.weight holds .* no fractions \(uint16\)"),     # bfloat16
        "bool": ({"fc.weight": weight > 0}, r"fc\.weight holds .* no fractions \(bool\)"),
        "complex": ({"fc.weight": weight.astype("complex64")}, "refused: it holds an array of type 'c8'; the types of data"),
        "text": ({"fc.weight": weight.astype("str")}, "refused: it holds an array of type 'U32'"),
        "objects": ({"fc.weight": weight.astype(object)}, "refused: it holds an array of type 'O8'"),
        "NaN": ({"fc.weight": np.full_like(weight, np.nan)}, r"fc\.weight holds numbers that are not finite .*\(float32\)"),
        "infinite": ({"fc.bias": np.full_like(state["fc.bias"], -np.inf)}, r"fc\.bias holds numbers that are not finite"),
        "1e300": ({"fc.weight": np.full(weight.shape, 1e300)}, r"fc\.weight holds numbers that are not finite .*\(float64\)"),
        "a negative variance": ({name: -state[name]}, rf"{name} holds a negative variance, -"),
        "another shape": ({"conv1.conv.weight": weight}, r"conv1\.conv\.weight"),
        **{f"{what} as name": ({key: weight}, f"the name of a weight is a {kind}, not text; paddle.save the state_dict")
           for what, (key, kind) in odd.items()},
        "a tuple as name": ({("a", 1): weight}, "refused: a key of it is a tuple; data has text as keys"),
        "a long name": ({"a" * 5000: weight}, "the name of a weight has 5,000 characters"),
        "an array as file": (weight, "holds a ndarray, not a dictionary of arrays"),
    }


@pytest.mark.parametrize("door", DOORS[:4], ids=lambda door: door.__name__)
def test_weights_of_other_kinds_are_refused(refused, here, door):
    """As they come from `paddle.save` and from others' scripts. What Paddle would only assert on is told before."""
    state = read_weights(here / "run" / "best.pdparams")
    for change, message in kinds(state).values():
        script, *arguments = door(here, pickle.dumps(state | change if isinstance(change, dict) else change))
        refused(script, message, *arguments)


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_other_fractions_become_float32_at_every_door(here, kind):
    """The same conversion for --pretrained and --checkpoint; the report of --pretrained says so."""
    state = read_weights(here / "run" / "best.pdparams")
    other = {name: array.astype(kind) for name, array in state.items()}
    (here / "x.pdparams").write_bytes(pickle.dumps(other))
    one, two = (build_model("resnet", 10, depth=8) for _ in range(2))
    load_weights(one, read_weights(here / "x.pdparams"), "x")
    report = load(two, read(here / "x.pdparams"), head(two, "resnet", 10, depth=8))
    assert f"converted to float32 from {kind}" in report.text().splitlines()
    for model in (one, two):
        for name, value in model.state_dict().items():
            assert str(value.dtype) == "paddle.float32" and np.array_equal(value.numpy(), other[name].astype("float32"))


MOMENT = "conv2d_0.w_0_moment1_0"


@pytest.mark.parametrize("change, message", [
    ({MOMENT: np.zeros((16, 3, 3, 3), "int32")}, rf"last\.pdopt: {MOMENT} holds .* no fractions \(int32\)"),
    ({MOMENT: np.zeros((16, 3, 3, 4), "float32")}, rf"last\.pdopt: {MOMENT} has shape \(16, 3, 3, 4\), .* \(16, 3, 3, 3\)"),
    ({MOMENT: np.full((16, 3, 3, 3), np.nan, "float32")}, rf"{MOMENT} holds numbers that are not finite"),
    ({"conv2d_0.w_0_beta1_pow_acc_0": np.zeros(2, "float32")}, r"beta1_pow_acc_0 has shape \(2,\), the model needs \(1,\)"),
    ({"conv2d_77.w_0_moment1_0": np.zeros(2, "float32")}, r"state of other parameters than this model's: \['conv2d_77"),
    ({3: np.zeros(2, "float32")}, "the name of a weight is a int, not text"),
])
def test_an_optimizer_of_other_kinds_is_refused(refused, here, change, message):
    script, *arguments = resume_optimizer(here, pickle.dumps(change))
    refused(script, message, *arguments)


@pytest.mark.parametrize("change, message", [
    (lambda value: value.astype("int64"), r"paddle_cls\.weights\.0 holds .* no fractions \(int64\)"),
    (lambda value: np.full_like(value, np.inf), r"paddle_cls\.weights\.0 holds numbers that are not finite"),
    (lambda value: value[:3], r"paddle_cls\.weights\.0 has shape \(3, 3, 3, 3\), the model needs \(16, 3, 3, 3\)"),
    (lambda value: [1, 2], r"paddle_cls\.weights\.0 is a list, neither an array nor a number"),
])
def test_averages_of_other_kinds_are_refused(tmp_path, change, message):
    def begun() -> Run:
        with paddle.utils.unique_name.guard():     # as in a new process
            model = build_model("resnet", 10, depth=8)
        return Run(tmp_path, model, build_optimizer("adam", model), ema=EMA(model, 0.9), about=Description.from_dictionary(ABOUT))
    begun().save("last")
    assert begun().resume()
    state, key = read_state(tmp_path / "last.pdopt"), "paddle_cls.weights.0"
    forge(tmp_path, "last.pdopt", pickle.dumps(state | {key: change(state[key])}))
    with pytest.raises(UserError, match=rf"last\.pdopt: {message}"):
        begun().resume()


@pytest.mark.parametrize("change, message", [
    ({"bn1._variance": -np.ones(8, "float32")}, r"bn1\._variance holds a negative variance, -1"),
    ({"fc.weight": np.ones((8, 3), "int32")}, r"fc\.weight holds .* no fractions \(int32\)"),
    ({"fc.bias": np.full(3, np.nan, "float16")}, r"fc\.bias holds numbers that are not finite .*\(float16\)"),
    ({}, None),
])
def test_a_safetensors_of_other_kinds_is_refused(tmp_path, change, message):
    model = net(0)
    before = arrays(model)
    save_file({name: array.astype("float16") for name, array in arrays(net(1)).items()} | change, tmp_path / "x.safetensors")
    if message is None:
        assert "converted to float32 from float16" in load(model, read(tmp_path / "x.safetensors"), HEAD).notes
        return
    with pytest.raises(UserError, match=rf"x\.safetensors: {message}"):
        load(model, read(tmp_path / "x.safetensors"), HEAD)
    assert all(np.array_equal(array, before[name]) for name, array in arrays(model).items())       # none was set


@pytest.mark.parametrize("name", ["x.pdparams", "x.safetensors", "run/best.pdparams", "run/last.pdopt",
                                  "other/cifar-10-batches-py/test_batch", "other/cifar-10-python.tar.gz"])
def test_a_fifo_is_refused_at_once(call, here, name):
    """None of them has anybody who writes into it."""
    write_cifar(here / "other", archive="tar.gz" in name)
    (here / name).unlink(missing_ok=True)
    os.mkfifo(here / name)
    flags = {"x": ("--pretrained", name), "o": ("--data-dir", "other"), "r": ("--pretrained", "run")}[name[0]]
    script, arguments = (train, RESUME) if name.endswith("pdopt") else (train, [*NEW, *flags])
    done = call(script, *arguments)
    assert done.status == 2 and done.err.count("\n") == 1 and "a FIFO, not a file" in done.err, done.err
