"""CheckpointInfo: the only one that knows a checkpoint's keys; and `best`, which has no .pdopt."""

import ast
import json
import os
from pathlib import Path

import pytest
from conftest import ROOT
from test_checkpoint import ABOUT, INFO, equal, network, save

import paddle_cls
from paddle_cls.checkpoints import checkpoint, storage
from paddle_cls.checkpoints.info import CheckpointInfo, Description
from paddle_cls.errors import UserError

METRICS = {"val/acc1": 0.5, "val/tp": 3, "val/threshold": 0.25}
KEYS = {field.alias or name for kind in (Description, CheckpointInfo) for name, field in kind.model_fields.items()}
ROWS = {"epoch", "step", "classes", "model", "dataset", "best"}      # keys of metrics.jsonl, figures.json and others, too


def written(**more) -> CheckpointInfo:
    return CheckpointInfo.new(INFO.about, epoch=2, step=9, totals={"loss": 1, "count": 4.0}, metrics=METRICS, **more)


def test_a_description_comes_back_as_it_was():
    info = written(best=METRICS).sealed({".pdparams": "a"})
    content = json.loads(info.to_json())
    assert list(content) == ["format", "version", "model", "classes", "image_size", "normalization", "epoch", "step", "totals",
                             "figures", "best", "sha256"]
    assert (content["format"], content["version"]) == (1, paddle_cls.__version__)
    assert content["totals"] == {"loss": 1, "correct": 0.0, "count": 4.0, "wait": 0.0}
    assert repr(content["figures"]) == repr(METRICS)           # 3, not 3.0
    back = CheckpointInfo.from_json(info.to_json().encode(), "x")
    assert back == info and back.to_json() == info.to_json() and back.about == INFO.about
    with pytest.raises(ValueError, match="frozen"):
        back.step = 3


def test_a_yes_or_no_network_is_known_by_its_outputs():
    one = Description.of("resnet", {}, classes="ab", image_size=8, normalization=ABOUT["normalization"], outputs=1)
    two = Description.of("resnet", {}, classes="ab", image_size=8, normalization=ABOUT["normalization"], outputs=2)
    assert [CheckpointInfo.new(about, metrics=METRICS).threshold for about in (one, two)] == [0.25, None]
    assert (CheckpointInfo.new(one).threshold, one.outputs, two.outputs) == (0.5, 1, 2)
    assert one.to_dictionary()["outputs"] == 1 and "outputs" not in two.to_dictionary()
    with pytest.raises(UserError, match="data: outputs: 3 must be 2, one for each class, or 1 for two classes; choose"):
        Description.of("resnet", {}, classes="ab", image_size=8, normalization=ABOUT["normalization"], outputs=3)


def test_older_files_have_no_version_and_flags_in_their_totals():
    content = {**written().to_dictionary(), "totals": {"loss": 1.0, "flags": [0.0, 1.0]}}
    del content["version"]
    info = CheckpointInfo.from_json(json.dumps(content).encode(), "x")
    assert info.version == "" and info.totals.flags == [0, 1]
    assert "version" not in info.to_dictionary() and "flags" not in info.to_dictionary()["totals"]


def named(node: ast.AST) -> tuple[str, str]:
    """Return (the variable, the key) of x["key"] and x.get("key"), else two empty texts."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        owner, key = node.func.value, node.args[0]
    elif isinstance(node, ast.Subscript):
        owner, key = node.value, node.slice
    else:
        return "", ""
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return name, key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""


def test_nobody_else_spells_the_keys():
    """A key that rows and reports have too is a checkpoint's where the variable says so."""
    found = []
    for file in sorted((ROOT / "paddle_cls").rglob("*.py")):
        if file.parent.name == "checkpoints" and file.stem in ("info", "schema"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            owner, key = named(node)
            exempt = owner in ("kwargs", "given", "row", "metadata")      # of networks, of a .safetensors
            if key in (KEYS if owner in ("info", "about") else () if exempt else KEYS - ROWS):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} {owner}[{key!r}]")
    assert found == []
    assert named(ast.parse('info["sha256"]').body[0].value) == ("info", "sha256")
    assert named(ast.parse('source.info.get("model")').body[0].value) == ("info", "model")


def save_best(path: Path, seed: int, epoch: int) -> None:
    """Save as `Run` saves `best`."""
    checkpoint.save(path, network(seed), None, CheckpointInfo.new(INFO.about, epoch=epoch))


class Kill(BaseException):
    """As kill -9."""


@pytest.mark.parametrize("moment", range(1, 7))
def test_a_best_of_older_versions_loses_its_pdopt_to_the_next(tmp_path, monkeypatch, moment):
    """Killed before each of: the pickle, the .json and its rename, the weights' rename, the removal, the last rename."""
    save(tmp_path / "best", 1, epoch=1)
    assert (tmp_path / "best.pdopt").exists()
    done, unlink = [], Path.unlink

    def counted(original):
        def operation(*args, **kwargs):
            done.append(original)
            if len(done) == moment:
                raise Kill
            return original(*args, **kwargs)
        return operation

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.paddle, "save", counted(checkpoint.paddle.save))
        patch.setattr(checkpoint, "write_text", counted(checkpoint.write_text))
        patch.setattr(os, "replace", counted(os.replace))
        remove = counted(unlink)                   # nothing cleans up after a kill
        patch.setattr(Path, "unlink", lambda file, missing_ok=False: remove(file) if file.name == "best.pdopt" else None)
        with pytest.raises(Kill):
            save_best(tmp_path / "best", 2, epoch=2)
    info = checkpoint.read_info(tmp_path / "best")
    assert info.epoch == (1 if moment < 4 else 2)
    back = network(9)
    checkpoint.load(tmp_path / "best", back, info)
    assert equal(back, network(info.epoch))
    if info.epoch == 1:
        assert checkpoint.read_optimizer(tmp_path / "best", info)["x"].tolist() == [1, 1, 1]
    storage.finish(tmp_path / "best")              # as the next start does
    assert checkpoint.read_info(tmp_path / "best").epoch == info.epoch
    assert (tmp_path / "best.pdopt").exists() == (info.epoch == 1)
    monkeypatch.setattr("paddle_cls.system.files._alive", lambda process: False)
    save_best(tmp_path / "best", 3, epoch=3)
    assert sorted(os.listdir(tmp_path)) == ["best.json", "best.pdparams"]
    with pytest.raises(UserError, match=r"best\.pdopt: missing; use another checkpoint$"):
        checkpoint.read_optimizer(tmp_path / "best", checkpoint.read_info(tmp_path / "best"))


def test_a_description_alone_leaves_the_optimizer_where_it_is(tmp_path):
    hashes = checkpoint.save(tmp_path / "last", network(1), {}, INFO)
    checkpoint.restate(tmp_path / "last", hashes, written())
    assert checkpoint.read_info(tmp_path / "last").step == 9 and checkpoint.complete(tmp_path / "last", hashes)
    assert checkpoint.read_optimizer(tmp_path / "last", checkpoint.read_info(tmp_path / "last")) == {}
