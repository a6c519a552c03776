"""Shrunken photographs in a cache that somebody has changed, killed processes, folders of others."""

import io
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_palm import picture

from paddle_cls.data.images import resized_cache
from paddle_cls.system import cache

PATHS = [Path("photos", f"{i}.jpg") for i in range(3)]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with photos/ and an empty cache, made the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    for number, path in enumerate(PATHS):
        picture(path, 50 * number)
    return tmp_path


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that are decoded from now on."""
    decode, files = resized_cache.decode, []
    monkeypatch.setattr(resized_cache, "decode", lambda path, size: files.append(path) or decode(path, size))
    return files


def npz(**changed) -> bytes:
    """Return what earlier versions kept: an .npz, with some of its arrays changed."""
    keys = [f"{path.name}|{path.stat().st_size}|{path.stat().st_mtime_ns}" for path in PATHS]
    file = io.BytesIO()
    np.savez(file, **({"keys": np.array(keys), "images": np.zeros((3, 8, 8, 3), np.uint8)} | changed))
    return file.getvalue()


def patched(offset: int, value: bytes) -> bytes:
    """Return an .npz with bytes of each entry's two headers changed, as far as the first one's field lies at `offset`."""
    content = bytearray(npz())
    for magic, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = -1
        while (place := content.find(magic, place + 1)) >= 0:
            content[place + offset + shift:place + offset + shift + len(value)] = value
    return bytes(content)


def array(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


UNSEALED = {
    "images other size": lambda: npz(images=np.zeros((3, 5, 5, 3), np.uint8)),
    "images strings": lambda: npz(images=np.full((3, 8, 8, 3), "x")),
    "keys 2-d": lambda: npz(keys=np.zeros((3, 2))),
    "encrypted flag bit": lambda: patched(6, b"\x01\x00"),
    "unknown method": lambda: patched(8, b"\x63\x00"),
    "zip version": lambda: patched(4, bytes([99, 0])),
    "is a plain .npy": lambda: array(np.zeros(5)),
    "right in all but the seal": npz,
    "nothing": lambda: b"",
    "a line end": lambda: b"\n",
}
SEALED = {                                         # by the user's own key: a version to come, or an error of ours
    "nothing": b"", "no array": b"x" * 1000, "one array": array(np.zeros(3)), "objects": array(np.zeros(3, "U5")) + b"\x93NUMPY",
    "other size": array(np.zeros(3, "U5")) + array(np.zeros((3, 5, 5, 3), np.uint8)),
    "other count": array(np.zeros(2, "U5")) + array(np.zeros((3, 8, 8, 3), np.uint8)),
    "strings": array(np.zeros(3, "U5")) + array(np.full((3, 8, 8, 3), "x")),
    "zip": b"PK\x03\x04" + bytes(100), "no keys": array(np.array(5)) + array(np.zeros((3, 8, 8, 3), np.uint8)),
}
PLANTED = {"a FIFO": os.mkfifo, "a folder": os.mkdir, "a link": lambda path: path.symlink_to("/dev/zero")}
CONTENTS = {**UNSEALED, **{f"sealed: {name}": content for name, content in SEALED.items()}, **PLANTED}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=list(CONTENTS))
def test_kept_photographs_that_were_changed_are_decoded_again(folder, decoded, content, capsys):
    expected, problems = resized_cache.load_resized(PATHS, 8)
    file = resized_cache.cache_file(PATHS[0].parent, 8)
    if content in PLANTED.values():
        file.unlink()
        content(file)
    elif isinstance(content, bytes):
        file.write_bytes(cache.seal(resized_cache._label(file), content))
    else:
        file.write_bytes(content())
    assert len(decoded) == 3 and not problems and len(np.unique(expected)) > 1
    again, problems = resized_cache.load_resized(PATHS, 8)
    assert np.array_equal(again, expected) and not problems and len(decoded) == 6
    assert capsys.readouterr().err == f"{file}: not readable, decoding the photographs again\n"
    assert np.array_equal(resized_cache.load_resized(PATHS, 8)[0], expected) and len(decoded) == 6
    assert [path.name for path in file.parent.iterdir()] == [file.name] and stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name, error", [("encrypted flag bit", RuntimeError), ("unknown method", NotImplementedError),
                                         ("zip version", NotImplementedError)])
def test_the_archives_are_what_made_the_reader_of_zip_fail(folder, name, error):
    with pytest.raises(error):
        zipfile.ZipFile(io.BytesIO(UNSEALED[name]())).read("keys.npy")


def test_a_crash_while_photographs_are_kept(folder, decoded, monkeypatch, capsys):
    for module, step in ((os, "replace"), (np, "save"), (cache, "seal_of"), (os, "chmod")):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                resized_cache.load_resized(PATHS, 8)
        assert not list((folder / "cache" / "photos").iterdir())
    resized_cache.load_resized(PATHS, 8)
    assert len(decoded) == 15 and resized_cache.load_resized(PATHS, 8) and len(decoded) == 15 and capsys.readouterr().err == ""


def test_a_photos_folder_that_others_may_write_is_told_and_not_used(folder, decoded, capsys):
    (folder / "cache" / "photos").mkdir(parents=True)
    (folder / "cache" / "photos").chmod(0o777)
    for _ in range(2):
        resized_cache.load_resized(PATHS, 8)
        assert capsys.readouterr().err == (f"{folder}/cache/photos: others may write there; chmod 700 it, or name another folder "
                                           f"with PADDLE_CLS_CACHE; the photographs are decoded again at each start\n")
    assert len(decoded) == 6 and not list((folder / "cache" / "photos").iterdir())
