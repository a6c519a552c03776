"""The reader of pickles: it takes what data needs, and does nothing that a file asks for beyond that."""

import pickle
import subprocess
from collections import OrderedDict

import numpy as np
import paddle
import pytest
from fakes import Harmful, python2_pickle

from paddle_cls.errors import UserError
from paddle_cls.formats import safe_pickle

DATA = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "step": 3, "name": "resnet", "flags": [True, None],
        "pair": ("w", np.float64(0.5)), "many": OrderedDict(a=np.zeros(3, np.int64)), "whole": np.arange(3)[::-1]}


def same(ours, theirs) -> bool:
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and np.array_equal(ours, theirs) and np.asarray(ours).dtype == np.asarray(theirs).dtype


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back(protocol, tmp_path):
    content = pickle.dumps(DATA, protocol)
    assert same(safe_pickle.load(content), DATA)
    (tmp_path / "file").write_bytes(content)
    assert same(safe_pickle.load(tmp_path / "file"), DATA)


@pytest.mark.parametrize("old, new", [(b"numpy._core.", b"numpy.core."), (b"numpy.core.", b"numpy._core.")])
def test_files_of_numpy_1_and_of_numpy_2(old, new):
    content = pickle.dumps(np.arange(4), 0).replace(old, new)
    assert new in content and safe_pickle.load(content).tolist() == [0, 1, 2, 3]


def test_files_of_python_2():
    assert safe_pickle.load(python2_pickle({"data": np.arange(3)}), encoding="bytes")[b"data"].tolist() == [0, 1, 2]


def test_files_that_paddle_writes(tmp_path):
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    optimizer = paddle.optimizer.Adam(parameters=layer.parameters())
    layer(paddle.ones([1, 3, 5, 5])).mean().backward()
    optimizer.step()
    for name, state in [("a.pdparams", layer.state_dict()), ("a.pdopt", optimizer.state_dict())]:
        paddle.save(state, str(tmp_path / name))
        ours, theirs = safe_pickle.load(tmp_path / name), paddle.load(str(tmp_path / name), return_numpy=True)
        ours.pop("StructuredToParameterName@@", None)      # Paddle's own note, which it leaves out too
        assert len(ours) > 5 and same(ours, theirs)


class Call:
    """An object whose pickle calls `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def harmful(sentinel) -> dict[str, bytes]:
    """Return pickles that make the file `sentinel` where they are loaded without care."""
    code = f"open({str(sentinel)!r}, 'w')"
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93."
    return {
        "open": pickle.dumps(Harmful(sentinel)),
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps(Call(exec, code), 0),
        "system": pickle.dumps(Call(__import__("os").system, f"touch {sentinel}"), 2),
        "subprocess": pickle.dumps(Call(subprocess.call, ["touch", str(sentinel)])),
        "deep inside": pickle.dumps({**DATA, "list": [{"x": (1, Harmful(sentinel))}]}),
        "inside an array": pickle.dumps({"w": np.array([Harmful(sentinel), 1], object)}),
        "getattr": pickle.dumps(Call(getattr, Call(__import__, "os"), "system")),
        "a name with dots": dotted,
        "an unpickler": pickle.dumps(Call(pickle.loads, pickle.dumps(Harmful(sentinel)))),
        "numpy's own": pickle.dumps(Call(np.load, str(sentinel), "r", True)),
    }


@pytest.mark.parametrize("what", sorted(harmful("x")))
def test_harmful_pickles_are_refused_before_they_do_anything(what, tmp_path):
    sentinel, file = tmp_path / "sentinel", tmp_path / "model.pdparams"
    file.write_bytes(harmful(sentinel)[what])
    with pytest.raises(UserError, match=r"model\.pdparams: refused: it asks for [\w.]+, which data never needs; nothing"):
        safe_pickle.load(file)
    assert not sentinel.exists()


def test_the_harmful_pickles_do_harm_without_care(tmp_path):
    """Otherwise the test above would prove nothing."""
    for what in ("open", "eval", "exec", "system", "subprocess", "deep inside", "inside an array", "an unpickler"):
        pickle.loads(harmful(tmp_path / what)[what])
        assert (tmp_path / what).exists(), what


def test_every_truncation_is_a_user_error():
    content = pickle.dumps(DATA, 4)
    for length in range(len(content)):
        with pytest.raises(UserError, match="pickle: truncated or not a pickle"):
            safe_pickle.load(content[:length])


@pytest.mark.parametrize("content", [b"<html>", b"\x89PNG\r\n", b"PK\x03\x04", b"\x80\xff.", b"\x80\x04P0\n.",
                                     b"\x80\x04\x82\x01."])
def test_what_is_no_pickle_is_a_user_error(content):
    with pytest.raises(UserError, match="truncated or not a pickle"):
        safe_pickle.load(content)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="none: cannot be read: No such file or directory"):
        safe_pickle.load(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read: a folder, not a file"):
        safe_pickle.load(tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_each_protocol_that_paddle_writes(tmp_path, protocol):
    """Tensors inside other things are calls of tuple, which protocol 2 names as Python 2 did; bfloat16 is written as uint16."""
    file = tmp_path / "a.pdparams"
    tensors = {kind: paddle.ones([2, 3], "float32").astype(kind) for kind in ("float32", "float16", "bfloat16", "int64", "bool")}
    paddle.save(tensors, str(file), protocol=protocol)
    ours = safe_pickle.load(file)
    ours.pop("StructuredToParameterName@@", None)
    theirs = {kind: np.asarray(tensor.numpy()) for kind, tensor in tensors.items()}
    assert theirs["bfloat16"].dtype == np.uint16 and same(ours, theirs)
    paddle.save({"deep": [tensors["float32"], {"more": tensors["int64"]}], "empty": paddle.zeros([0, 3]), "rate": 0.1}, str(file),
                protocol=protocol)
    ours = safe_pickle.load(file)
    (name, one), (_, two) = ours["deep"][0], ours["deep"][1]["more"]
    assert name == tensors["float32"].name and same([one, two], [theirs["float32"], theirs["int64"]])
    assert ours["rate"] == 0.1 and ours["empty"][1].shape == (0, 3)
