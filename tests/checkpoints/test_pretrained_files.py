"""Where weights to start from come from: files that are broken, harmful or missing, and the names that Paddle knows."""

import hashlib
import pickle

import numpy as np
import paddle
import pytest
from fakes import Harmful
from test_pretrained import HEAD, logits, net

from paddle_cls.checkpoints import pretrained
from paddle_cls.checkpoints.pretrained import fetch, load, published, read
from paddle_cls.errors import UserError
from paddle_cls.models import MODELS


def test_files_that_cannot_be_read(tmp_path, monkeypatch, run_folder):
    (tmp_path / "code.pdparams").write_bytes(pickle.dumps({"a": Harmful(tmp_path / "ran")}))
    with pytest.raises(UserError, match=r"code\.pdparams: refused: it asks for .*open, which data never needs"):
        read(tmp_path / "code.pdparams")
    assert not (tmp_path / "ran").exists()
    for name, text in (("x.safetensors", "truncated or not safetensors"), ("x.pdparams", "truncated or not a pickle")):
        (tmp_path / name).write_bytes(b"\x08\0\0\0\0\0\0\0{")
        with pytest.raises(UserError, match=rf"{name}: {text}"):
            read(fetch(str(tmp_path / name)))
    (tmp_path / "model.pth").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"model\.pth: not a kind of file .*save its state_dict\(\) with safetensors\.torch"):
        fetch(str(tmp_path / "model.pth"))
    for name in ("no.pdparams", "no/such/run"):
        with pytest.raises(UserError, match=f"{name}: no such file; --pretrained takes a .pdparams, a .safetensors, "):
            fetch(str(tmp_path / name))
    with pytest.raises(UserError, match=r"no checkpoint \(best.json or last.json\) in this folder"):
        fetch(str(tmp_path))
    with pytest.raises(UserError, match=r"--pretrained: unknown name 'resnet19'; did you mean 'resnet1[58]2?'\?; or a"):
        fetch("resnet19")


def test_a_changed_checkpoint_is_refused(run_folder, tmp_path):
    for file in run_folder.glob("best.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "best.pdparams").write_bytes((run_folder / "best.pdparams").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"best\.pdparams: truncated or changed since it was saved \(checksum differs\)"):
        read(fetch(str(tmp_path)))


def test_paddles_own_tables_name_the_weights():
    known = published()
    assert known["resnet50"] == ("https://paddle-hapi.bj.bcebos.com/models/resnet50.pdparams", "ca6f485ee1ab0492d38f323885b0ad80")
    assert {"vgg16", "mobilenetv2_1.0", "shufflenet_v2_x0_5", "densenet121"} <= set(known)
    assert {pretrained._plain(name) for name in known} <= {pretrained._plain(name) for name in MODELS}
    assert all(url.endswith(".pdparams") and len(md5) == 32 for url, md5 in known.values())


@pytest.mark.parametrize("key, name", [("resnet18", "resnet18"), ("mobilenetv2_1.0", "mobilenet_v2"),
                                       ("mobilenet_v3_large_x1.0", "mobilenet_v3_large"), ("mobilenetv2_1.0", "mobilenetv2_1.0"),
                                       ("shufflenet_v2_x1_0", "shufflenet_v2_x1_0"), ("squeezenet1_1", "squeezenet1_1")])
def test_a_name_is_downloaded_into_the_cache_and_checked(tmp_path, monkeypatch, server, key, name):
    paddle.save(net(0).state_dict(), str(tmp_path / "made.pdparams"))
    server.content = (tmp_path / "made.pdparams").read_bytes()
    url = server.url.replace("file.bin", "served.pdparams")
    places = published() | {key: (url, "0" * 32)}
    monkeypatch.setattr(pretrained, "published", lambda: places)
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"served\.pdparams: the download has the checksum [0-9a-f]{32}, not 0{32}; it was "
                                        r"deleted; try again later .*, or fetch it yourself and name the file with --pretrained"):
        fetch(name)
    places[key] = (url, hashlib.md5(server.content).hexdigest())
    file = fetch(name)
    assert file == tmp_path / "cache/weights/served.pdparams" and fetch(name) == file and len(server.asked) == 2
    ours = net(1)
    load(ours, read(file), HEAD)
    assert np.array_equal(logits(ours), logits(net(0)))
