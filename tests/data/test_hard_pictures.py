"""Pictures and folders that somebody made to hurt: none is waited for, run, or given all memory; each is named."""

import os
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_own import arguments, pictures, table, write
from fake_own import jpeg as picture
from fakes import png, rgb
from PIL import Image

from paddle_cls.data import load_data
from paddle_cls.data.images import jpeg
from paddle_cls.data.images.files import list_images
from paddle_cls.data.images.transforms import decode, measure
from paddle_cls.data.manifest import split_csv
from paddle_cls.data.sets import folder
from paddle_cls.data.spreadsheets import read_cells
from paddle_cls.errors import UserError, printable
from paddle_cls.programs import train
from paddle_cls.programs.shared.pictures import Found

transforms = sys.modules["paddle_cls.data.images.transforms"]           # the package has a function of this name

def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name(".pipe"))
    path.symlink_to(".pipe")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)                      # a socket's path may have 107 letters
        server.bind(path.name)


SPECIAL = {"a FIFO": (fifo, "a FIFO, not a file"), "a link to a FIFO": (link_to_fifo, "a FIFO, not a file"),
           "a socket": (bound, "a socket, not a file"), "a folder": (Path.mkdir, "a folder, not a file"),
           "a device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
           "a circle of links": (circle, "Too many levels of symbolic links"),
           "a link to nothing": (lambda path: path.symlink_to("nothing"), "No such file or directory")}


@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_no_file_is_named_and_not_waited_for(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, message = SPECIAL[name]
    write(tmp_path, pictures("cat", "dog"))
    make(tmp_path / "cat/x.jpg")
    for look in (decode, measure):
        with pytest.raises(UserError, match=f"^{tmp_path}/cat/x.jpg: cannot be read: {message}$"):
            look(tmp_path / "cat/x.jpg")
    told = "a folder among pictures; move it elsewhere" if name == "a folder" else f"cannot be read: {message}"
    with pytest.raises(UserError, match=f"^{tmp_path}/cat/x.jpg: {told}$"):
        load_data("folder", tmp_path)
    write(tmp_path, {"t.csv": table("cat/x.jpg,cat", "cat/0.jpg,cat", "dog/0.jpg,dog", "dog/1.jpg,dog")})
    with pytest.raises(UserError, match=f"^{tmp_path}/t.csv:2: {tmp_path}/cat/x.jpg: cannot be read: {message}$"):
        load_data("table", table=tmp_path / "t.csv")


def test_a_picture_without_permission_is_named(tmp_path, monkeypatch):
    """Root may read everything: the system's refusal is played."""
    write(tmp_path, pictures("cat", "dog"))
    real = os.open

    def refuse(path, *more, **flags):
        if str(path).endswith("cat/1.jpg"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=f"^{tmp_path}/cat/1.jpg: cannot be read: Permission denied$"):
        load_data("folder", tmp_path)


def test_only_the_allowed_decoders_see_a_file(tmp_path, monkeypatch):
    """An EPS would start Ghostscript: here one that leaves a mark."""
    script = write(tmp_path, {"gs": f"#!/bin/sh\ntouch {tmp_path}/ran\n"}) / "gs"
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    for name, content in (("x.jpg", eps), ("y.png", b"II*\0"), ("z.gif", b"8BPS\0\1" + bytes(20))):
        write(tmp_path, {name: content})
        with pytest.raises(UserError, match=f"{name}: (not a picture|cannot be read)"):
            decode(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    opened = {Image.registered_extensions()[extension] for extension in transforms.EXTENSIONS}
    assert opened == set(transforms.FORMATS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "I;16", "I", "F", "CMYK"])
def test_strips_give_the_pixels_of_the_whole(mode, tmp_path, monkeypatch):
    picture = Image.fromarray(rgb(1, 37, 23))
    picture = Image.fromarray(rgb(1, 37, 23)[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
    picture.save(tmp_path / "a.tiff")
    whole = decode(tmp_path / "a.tiff")
    monkeypatch.setattr(transforms, "_STRIP", 23 * 5)
    assert np.array_equal(decode(tmp_path / "a.tiff"), whole) and whole.shape == (37, 23, 3)


def test_what_needs_too_much_memory_is_refused_by_its_header(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(b"\0\0\x30\0\0\0\x30\0\x08\6\0\0\0", b""))           # 12,288 x 12,288 RGBA
    (tmp_path / "b.jpg").write_bytes(picture(1, 40, 50))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(transforms, "MOST_MEMORY", 1_000_000_000)
    with pytest.raises(UserError, match="a.png: takes 1,207,959,552 bytes to decode, of 1,000,000,000 allowed; shrink it first$"):
        decode(tmp_path / "a.png")
    monkeypatch.setattr(transforms, "MOST_MEMORY", 17_999)
    with pytest.raises(UserError, match="b.jpg: takes 18,000 bytes to decode"):
        decode(tmp_path / "b.jpg")


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("no")])
def test_too_little_memory_is_an_error_of_the_file(error, tmp_path, monkeypatch):
    if isinstance(error, cv2.error):
        error.code = cv2.Error.StsNoMem
    write(tmp_path, {"a.jpg": picture(1)})

    def fail(*_):
        raise error
    monkeypatch.setattr(jpeg, "decode", fail)
    with pytest.raises(UserError, match="a.jpg: too little memory is free to decode it; free some, or shrink the picture$"):
        decode(tmp_path / "a.jpg")


def test_a_file_of_a_terabyte_is_refused(tmp_path):
    write(tmp_path, {"a.jpg": picture(1)})
    os.truncate(tmp_path / "a.jpg", 1 << 40)       # takes no place on the disk
    with pytest.raises(UserError, match="a.jpg: larger than the 1,073,741,824 bytes allowed; shrink the picture first$"):
        decode(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\x9bb", "a\x7fb", "a\u202eb", "a\u2066b", "a\u2028b", "a\udcffb"])
def test_names_that_steer_a_terminal(name, tmp_path):
    files = pictures("cat", "dog")
    write(tmp_path, {**files, f"cat/{name}.jpg": picture(1), f"{name}/1.jpg": picture(2)})
    problems = folder.read_manifest(root=tmp_path).problems
    assert sorted(problems) == sorted([
        f"{tmp_path}: the name {name!a} has characters that are no text; rename it",
        f"{tmp_path}/cat: the name {name + '.jpg'!a} has characters that are no text; rename it"])
    assert all(problem.isprintable() for problem in problems)
    assert printable(name).isprintable() and printable(f"{name} 狗 ä👩‍🚀").endswith(" 狗 ä👩‍🚀")


def test_names_in_any_script_are_text(tmp_path):
    odd = ["Größe 大", "x\u3000y", "\u0646\u0645\u06cc\u200c\u062e", "👩\u200d🚀", "a\xa0b"]
    assert folder.read_manifest(root=write(tmp_path, pictures(*odd))).problems == []


def test_hidden_files_and_those_of_macos_are_ignored(tmp_path):
    write(tmp_path, {"cat/._0.jpg": b"?", "cat/0.jpg": b"", "cat/.x.png": b"", "__MACOSX/cat/._0.jpg": b"?", ".git/x.png": b""})
    assert list_images(tmp_path / "cat") == (["0.jpg"], [])
    assert [picture.path for picture in Found((str(tmp_path),))] == [tmp_path / "cat/0.jpg"]


def test_train_beside_TRAIN(tmp_path):
    files = {f"{part}/{name}": content for part in ("train", "TRAIN") for name, content in pictures("cat", "dog").items()}
    assert f"{tmp_path}: TRAIN and train differ in the case of letters only; rename one" in folder.read_manifest(
        root=write(tmp_path, files)).problems


@pytest.mark.parametrize("output", ["own", "own/cat", "own/new", "link/new", "."])
def test_a_run_folder_among_the_pictures(output, here, refused):
    write(here / "own", pictures("cat", "dog"))
    (here / "link").symlink_to("own")
    data = "." if output == "." else "own"
    refused(train, f"--output-dir {output}: lies in the folder of the pictures, --data-dir {data}; choose another --output-dir",
            *arguments("--data-dir", data, "--output-dir", output))


def test_the_split_of_odd_names_is_read_back(tmp_path):
    files = pictures(" cat ", "\u3000dog", "cat")
    files |= {"cat/ a.jpg": picture(80), "cat/a\\b.jpg": picture(81), 'cat/ "x", .jpg': picture(82)}
    own = write(tmp_path / "own", files)
    data = load_data("folder", own)
    write(tmp_path, {"split.csv": split_csv(data)})
    again = load_data("table", own, table=tmp_path / "split.csv")
    assert again.classes == data.classes == (" cat ", "cat", "\u3000dog") and not again.drawn
    for part in ("train", "val"):
        one, other = getattr(data, part), getattr(again, part)
        assert one.images.names() == other.images.names() and one.labels.tolist() == other.labels.tolist()


def test_spaces_stay_inside_quotes_only(tmp_path):
    write(tmp_path, {"t.csv": 'path,label\n " a.jpg" , x \n" b.jpg ",y\n"c ""d"" ", y\n'})
    found = read_cells(tmp_path / "t.csv")
    assert found[0].tolist()[2:] == [" b.jpg ", 'c "d" '] and found[1].tolist()[1:] == ["x", "y", "y"]
