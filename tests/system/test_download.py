"""The download against a server on this machine that breaks off, lies, refuses or is not there."""

import hashlib
import socket

import pytest
from fakes import CONTENT, write_cifar

from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError
from paddle_cls.system.cache import root as cache_dir
from paddle_cls.system.download import download

SHA256 = hashlib.sha256(CONTENT).hexdigest()


def left(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_whole_in_one_go_and_not_asked_again(server, tmp_path, capfd):
    path = download(server.url, tmp_path / "new" / "file.bin", sha256=SHA256)
    assert left(path.parent) == {"file.bin": CONTENT}
    download(server.url, path, sha256=SHA256)
    assert server.asked == [("/file.bin", None)]
    assert "Traceback" not in capfd.readouterr().err


def test_a_broken_connection_is_continued_where_it_broke(server, tmp_path):
    server.breaks = [40_000, 30_000]
    download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {"file.bin": CONTENT}
    assert [wanted for _, wanted in server.asked] == [None, "bytes=40000-", "bytes=70000-"]


def test_after_three_breaks_the_next_call_continues(server, tmp_path):
    server.breaks = [10_000, 20_000, 30_000]
    with pytest.raises(UserError, match=r"file\.bin: cannot be downloaded: the connection broke off; try again later "
                                        r"\(what has arrived is kept\), or put file\.bin into a folder .*--data-dir"):
        download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {"file.bin.part": CONTENT[:60_000]}
    download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {"file.bin": CONTENT} and server.asked[-1][1] == "bytes=60000-"


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges, server.breaks = False, [40_000]
    download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {"file.bin": CONTENT} and len(server.asked) == 2


def test_a_part_that_is_already_whole(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {"file.bin": CONTENT}


@pytest.mark.parametrize("part", [b"", b"of another file"])
def test_a_wrong_checksum_deletes_the_part(server, tmp_path, part):
    if part:
        (tmp_path / "file.bin.part").write_bytes(part)
    wanted = SHA256 if part else "0" * 64
    with pytest.raises(UserError, match=rf"the download has the checksum [0-9a-f]{{64}}, not {wanted}; it was deleted"):
        download(server.url, tmp_path / "file.bin", sha256=wanted)
    assert left(tmp_path) == {}
    download(server.url, tmp_path / "file.bin", sha256=None)
    assert left(tmp_path) == {"file.bin": CONTENT}


@pytest.mark.parametrize("status, message", [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal Server Error")])
def test_a_refusal_is_told_at_once(server, tmp_path, status, message):
    server.status = status
    with pytest.raises(UserError, match=f"the server answers {message}; try again later"):
        download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {} and len(server.asked) == 1


@pytest.mark.parametrize("garbage", [b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab"])
def test_an_answer_that_is_no_http(server, tmp_path, garbage):
    server.garbage = garbage
    with pytest.raises(UserError, match="cannot be downloaded: "):
        download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert not (tmp_path / "file.bin").exists() and len(server.asked) == 3


def test_nobody_answers(tmp_path):
    with socket.socket() as free:                  # bound, but not listening
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"
        with pytest.raises(UserError, match=rf"{url}: cannot be downloaded: .*refused.*; try again later"):
            download(url, tmp_path / "file.bin", sha256=SHA256)
    assert left(tmp_path) == {}


@pytest.mark.parametrize("url, message", [
    ("cifar.tar.gz", "cifar.tar.gz: not a URL"), ("", "not a URL"), ("htp://a/b", "cannot be downloaded: unknown url type: htp"),
    ("http://127.0.0.1:port/b", "not a URL"), ("http://a b/c", "not a URL"), ("file:///no/such/file", "cannot be downloaded"),
])
def test_what_is_no_url(tmp_path, url, message):
    with pytest.raises(UserError, match=message):
        download(url, tmp_path / "file.bin", sha256=SHA256)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "a_file").write_text("in the way")
    with pytest.raises(UserError, match="a_file.*: cannot be written: (Not a directory|File exists)"):
        download(server.url, tmp_path / "a_file" / "below" / "file.bin", sha256=SHA256)
    (tmp_path / "file.bin.part").mkdir()
    with pytest.raises(UserError, match=r"file\.bin\.part: cannot be written: Is a directory"):
        download(server.url, tmp_path / "file.bin", sha256=SHA256)


def test_cifar_comes_from_the_url_of_the_variable(server, tmp_path, monkeypatch):
    server.content = (write_cifar(tmp_path / "made", 2, archive=True) / cifar10.ARCHIVE).read_bytes()
    server.breaks = [1000]
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(cifar10.URL_VARIABLE, server.url)
    monkeypatch.setenv(cifar10.SHA256_VARIABLE, "1" * 64)
    with pytest.raises(UserError, match=f"has the checksum [0-9a-f]{{64}}, not {'1' * 64}"):
        cifar10.load("train")
    monkeypatch.setenv(cifar10.SHA256_VARIABLE, hashlib.sha256(server.content).hexdigest())
    assert len(cifar10.load("train")) == 10 and len(cifar10.load("test")) == 2
    assert left(tmp_path / "cache" / "cifar10") == {cifar10.ARCHIVE: server.content}
    assert server.asked[1] == ("/file.bin", "bytes=1000-") and len(server.asked) == 3


def test_the_publishers_archive_has_a_checksum(monkeypatch):
    monkeypatch.delenv(cifar10.URL_VARIABLE, raising=False)
    monkeypatch.setenv(cifar10.SHA256_VARIABLE, "1" * 64)      # without a URL of one's own it counts for nothing
    asked = []

    def instead(url, path, *, sha256):
        asked.append((url, path.name, sha256))
        raise UserError("stopped here")

    monkeypatch.setattr(cifar10, "download", instead)
    monkeypatch.setenv("PADDLE_CLS_CACHE", "/nonexistent")
    with pytest.raises(UserError, match="stopped here"):
        cifar10.load("train")
    assert asked == [("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "cifar-10-python.tar.gz",
                      "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce")]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("PADDLE_CLS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(cache_dir()) == "/home/me/.cache/paddle_cls"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert str(cache_dir()) == "/var/cache/paddle_cls"
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
