"""Exports and photographs in a cache that somebody has changed, killed processes, two at once, folders of the user's own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import rgb
from PIL import Image

from paddle_cls.data.images.transforms import CIFAR10
from paddle_cls.errors import UserError
from paddle_cls.inference import cached
from paddle_cls.models import build_model
from paddle_cls.programs import infer
from paddle_cls.system import cache

PROGRAM, WEIGHTS = "network.xml", "network.bin"
ANSWERING = "answers by run/best: validation accuracy 0.100, epoch 1\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of an exported ResNet-8, not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "export"
    cached.make(folder, build_model("resnet", 10, depth=8), CIFAR10, 32)
    return folder


@pytest.fixture
def entry(made, tmp_path) -> Path:
    """A copy of `made`, in a private folder."""
    shutil.copytree(made, tmp_path / "export")
    assert cached.load(tmp_path / "export")
    return tmp_path / "export"


def with_sums(entry: Path, **changed: str) -> None:
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in entry.iterdir() if path.name != cached.SUMS}
    content = json.dumps(sums | changed).encode()
    (entry / cached.SUMS).write_bytes((entry / cached.SUMS).read_bytes()[:cache.SEAL + 1] + content)
    (entry / "sha256.json").write_bytes(content)   # as earlier versions had them
    (entry / "sha256.json").unlink()


def with_weights(entry: Path, content: bytes) -> None:
    """Change the weights, and write the sums that an attacker can: right ones, without the key."""
    (entry / WEIGHTS).write_bytes(content)
    with_sums(entry)


def instead(path: Path, plant) -> None:
    path.unlink()
    plant(path)


DAMAGES = {
    "hostile weights": lambda entry: with_weights(entry, (entry / WEIGHTS).read_bytes()[::-1]),
    "no weights": lambda entry: with_weights(entry, b""),
    "hostile network": lambda entry: ((entry / PROGRAM).write_text("<net>"), with_sums(entry)),
    "sums [1]": lambda entry: (entry / cached.SUMS).write_text("[1]"),
    "sums [1] behind a seal": lambda entry: (entry / cached.SUMS).write_text("0" * 64 + "\n[1]"),
    "sums deep": lambda entry: (entry / cached.SUMS).write_text("0" * 64 + "\n" + "[" * 50_000),
    "sums with a path": lambda entry: with_sums(entry, **{"../x": "0"}),
    "sums large": lambda entry: os.truncate(entry / cached.SUMS, 1 << 40),
    "sha256.json fifo": lambda entry: instead(entry / cached.SUMS, os.mkfifo),
    "sums folder": lambda entry: instead(entry / cached.SUMS, os.mkdir),
    "sums link": lambda entry: instead(entry / cached.SUMS, lambda path: path.symlink_to("/dev/zero")),
    "network fifo": lambda entry: instead(entry / PROGRAM, os.mkfifo),
    "network folder": lambda entry: instead(entry / PROGRAM, os.mkdir),
    "weights link": lambda entry: instead(entry / WEIGHTS, lambda path: path.symlink_to("/dev/zero")),
    "weights link to the same": lambda entry: ((entry / WEIGHTS).rename(entry.with_name("far")),
                                               (entry / WEIGHTS).symlink_to(entry.with_name("far"))),
    "another file": lambda entry: (entry / "inference.pdmodel").write_bytes(b"x"),
    "of an earlier version": lambda entry: (entry / cached.SUMS).rename(entry / "sha256.json"),
    "another's": lambda entry: entry.chmod(0o777),
    "a link": lambda entry: (entry.rename(entry.with_name("far")), entry.symlink_to(entry.with_name("far"))),
    "a fifo": lambda entry: (shutil.rmtree(entry), os.mkfifo(entry)),
    "another key": lambda entry: (cache.root() / cache.KEY).write_bytes(bytes(32)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_nothing_that_was_changed_reaches_native_code_and_it_is_made_anew(entry, damage, monkeypatch):
    key = cache.root() / cache.KEY
    before = key.read_bytes()
    damage(entry)
    with monkeypatch.context() as patch:
        patch.setattr(cached, "ENGINES", {suffix: lambda *_, **__: pytest.fail("loaded") for suffix in (".xml", ".json")})
        assert cached.load(entry) is None
    with monkeypatch.context() as patch:           # what takes seconds: copied instead
        patch.setattr(cached, "export", lambda *given: (given[3].mkdir(), (given[3] / WEIGHTS).write_text("new")))
        cached.make(entry, None, CIFAR10, 32)
        assert cached._intact(entry) and (entry / WEIGHTS).read_text() == "new"
    key.write_bytes(before)


def test_an_export_is_not_taken_for_another_networks(entry):
    replaced = entry.with_name("another network")
    entry.rename(replaced)
    assert cached.load(replaced) is None
    replaced.rename(entry)
    assert cached.load(entry)


def test_another_network_that_is_put_beside_it_is_not_taken(entry):
    (entry / "network.json").write_bytes(b"{}")
    assert cached.load(entry) is None


def test_infer_answers_as_before_when_its_cache_was_changed(call, here):
    Image.fromarray(rgb(3)).save("good.png")
    flags = "--image", "good.png", "--checkpoint", "run", "--device", "cpu"
    first = call(infer, *flags)
    folder, = Path("cache/exports").iterdir()
    with_weights(folder, bytes(8))
    again = call(infer, *flags)
    assert (again.status, again.out, again.err) == (0, first.out, ANSWERING) and cached.load(folder.absolute())


def test_a_cache_that_others_may_write_is_told_once_and_not_used(call, here):
    Image.fromarray(rgb(3)).save("good.png")
    flags = "--image", "good.png", "--checkpoint", "run", "--device", "cpu"
    first = call(infer, *flags)
    os.chmod("cache/exports", 0o777)
    again = call(infer, *flags)
    assert (again.status, again.out) == (0, first.out)
    assert again.err == (f"{here}/cache/exports: others may write there; chmod 700 it, or name another folder with "
                         f"PADDLE_CLS_CACHE; the network is exported again at each start\n" + ANSWERING)


def test_a_network_that_gives_no_number_is_refused(call, here):
    import paddle
    weights = paddle.load("run/best.pdparams")
    weights["fc.bias"] = np.full(10, np.nan, np.float32)
    network = build_model("resnet", 10, depth=8)
    network.set_state_dict(weights)
    message = r"^the network's answers are no numbers \(NaN or infinity\); use another checkpoint$"
    with pytest.raises(UserError, match=message):
        cached.make(here / "cache" / "exports" / "a", network, CIFAR10, 32)
    assert not list((here / "cache" / "exports").iterdir())


def fake_export(monkeypatch) -> None:
    monkeypatch.setattr(cached, "export", lambda *given: (given[3].mkdir(), (given[3] / "network.xml").write_text("w")))
    monkeypatch.setattr(cached, "ENGINES", {".xml": lambda file, precision: file})


def test_clearing_removes_exports_only(tmp_path, monkeypatch):
    """A folder of the user's own with 10 entries lost 3."""
    fake_export(monkeypatch)
    monkeypatch.setattr(cached, "KEPT", 2)
    for number in range(10):
        (tmp_path / f"mine{number}").mkdir()
        (tmp_path / f"mine{number}" / "file").write_text("mine")
        os.utime(tmp_path / f"mine{number}", (0, 0))
    (tmp_path / "mine0" / cached.SUMS).write_text("0" * 64 + "\n{}")
    (tmp_path / "link").symlink_to(tmp_path / "mine1")
    for number in range(5):
        cached.make(tmp_path / str(number), None, CIFAR10, 32)
        os.utime(tmp_path / str(number), (number, number))
        if number == 0:
            shutil.copytree(tmp_path / "0", tmp_path / "copy")         # under another name it is the user's
            (tmp_path / "0" / "note").write_text("mine")
            os.utime(tmp_path / "0", (0, 0))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*(f"mine{number}" for number in range(10)), "link", "copy", "0", "3", "4"}
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["note"]
    assert all((tmp_path / f"mine{number}" / "file").read_text() == "mine" for number in range(10))


@pytest.mark.parametrize("module, step", [(os, "mkdir"), (os, "chmod"), (cached, "hash_of"), (cache, "seal"), (cache, "remove"),
                                          (os, "replace"), (cached, "_forget_oldest")], ids=lambda value: str(value)[-20:])
def test_a_crash_at_any_moment_leaves_nothing_that_is_trusted(tmp_path, monkeypatch, module, step):
    """Killed between any two of the steps: the next process makes it anew and clears away what was left."""
    fake_export(monkeypatch)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout.strip()
    cache.seal("a", b"")                           # the key is there
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: int(dead))
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)         # a killed process clears nothing away
        patch.setattr(module, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cached.make(tmp_path / "name", None, CIFAR10, 32)
    assert (cached.load(tmp_path / "name") is None) == (step != "_forget_oldest")
    cached.make(tmp_path / "name", None, CIFAR10, 32)
    assert cached.load(tmp_path / "name") and [path.name for path in tmp_path.iterdir()] == ["name"]


def test_several_make_the_same_export_at_once(tmp_path, monkeypatch, capsys):
    fake_export(monkeypatch)
    both = threading.Barrier(6)
    make, problems = cached._make, []
    monkeypatch.setattr(cached, "_make", lambda *arguments: (both.wait(10), make(*arguments))[1])

    def work() -> None:
        cached.make(tmp_path / "name", None, CIFAR10, 32)
        if not cached.load(tmp_path / "name"):
            problems.append("not found")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems and capsys.readouterr().err == "" and [path.name for path in tmp_path.iterdir()] == ["name"]
