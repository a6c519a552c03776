"""Downloads against servers that dawdle, lie about lengths or never end, odd things in the folder, two processes at once."""

import contextlib
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from fakes import CONTENT

from paddle_cls.errors import UserError
from paddle_cls.system import download as module
from paddle_cls.system.download import download

SHA256 = hashlib.sha256(CONTENT).hexdigest()


@contextlib.contextmanager
def serving(answer):
    """Have the URL of a server that calls answer(handler) for each request inside the block."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(OSError):
                answer(self)
            self.close_connection = True

        def log_message(self, *_):
            """Say nothing on stderr."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file.bin"
    server.shutdown()
    server.server_close()


def dribble(handler, text: bytes) -> None:
    """Send a byte every 20 ms, without end."""
    while True:
        handler.wfile.write(text)
        handler.wfile.flush()
        time.sleep(0.02)


def slow_content(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    dribble(handler, b"x")


def slow_chunk_length(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    dribble(handler, b"x")


def slow_status(handler) -> None:
    dribble(handler, b"x")


def nothing_at_all(handler) -> None:
    time.sleep(2)


@pytest.mark.parametrize("answer, count", [(slow_content, r"\d+"), (slow_chunk_length, "0"), (slow_status, "0"),
                                           (nothing_at_all, "0")], ids=lambda value: getattr(value, "__name__", ""))
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(answer, count, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.4)
    start = time.monotonic()
    message = (rf": cannot be downloaded: {count} bytes in 0\.4 seconds are too few to wait for; try again later "
               r"\(what has arrived is kept\), or put")
    with serving(answer) as url, pytest.raises(UserError, match=message):
        download(url, tmp_path / "file.bin", sha256=SHA256)
    assert time.monotonic() - start < 2 and {path.name for path in tmp_path.iterdir()} <= {"file.bin.part"}


def test_a_steady_server_may_take_longer_than_one_such_time(tmp_path, monkeypatch):
    def steady(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "6000")
        handler.end_headers()
        for _ in range(6):
            handler.wfile.write(bytes(1000))
            handler.wfile.flush()
            time.sleep(0.1)

    monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(module, "LEAST", 1000)
    with serving(steady) as url:
        assert download(url, tmp_path / "file.bin").read_bytes() == bytes(6000)


def test_content_without_a_length_and_without_an_end_is_bounded(tmp_path, monkeypatch):
    def endless(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(bytes(1 << 16))

    monkeypatch.setattr(module, "MOST", 10**6)
    with serving(endless) as url, pytest.raises(UserError, match="cannot be downloaded: over 1,000,000 bytes, and no end; try"):
        download(url, tmp_path / "file.bin")
    assert (tmp_path / "file.bin.part").stat().st_size < 10**7


def test_more_than_was_announced_is_not_taken(tmp_path):
    def generous(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT * 3)

    with serving(generous) as url:
        assert download(url, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_what_the_disk_cannot_hold_is_told_at_once(tmp_path):
    def boast(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "9" * 17)
        handler.end_headers()
        time.sleep(5)

    message = (r"part: cannot be written: 99,999,999,999,999,999 bytes are to come, and [\d,]+ are free; free some space, or "
               "name another folder with PADDLE_CLS_CACHE$")
    with serving(boast) as url, pytest.raises(UserError, match=message):
        download(url, tmp_path / "file.bin")


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "9" * 5000])
def test_a_length_that_is_none(tmp_path, length):
    def odd(handler):
        handler.wfile.write(f"HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + CONTENT)

    with serving(odd) as url:
        assert download(url, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_dropped(tmp_path):
    def answer(handler):
        if handler.headers.get("Range"):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT)

    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"of another file")
    with serving(answer) as url:
        assert download(url, tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("plant, message", [
    (os.mkfifo, "No such device or address"),
    (lambda part: part.symlink_to(part.with_name("victim")), "Too many levels of symbolic"),
], ids=["FIFO", "link"])
def test_odd_things_in_the_place_of_the_part(server, tmp_path, plant, message):
    (tmp_path / "victim").write_text("mine")
    plant(tmp_path / "file.bin.part")
    with pytest.raises(UserError, match=rf"file\.bin\.part: cannot be written: {message}"):
        download(server.url, tmp_path / "file.bin", sha256=SHA256)
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_full_disk_is_one_line(server, tmp_path):
    import resource
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written: File too large; free some space, or name another folder with"):
            download(server.url, tmp_path / "file.bin", sha256=SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert download(server.url, tmp_path / "file.bin", sha256=SHA256).read_bytes() == CONTENT


def test_of_several_at_once_one_fetches_and_the_others_wait(tmp_path, capsys):
    asked = []

    def answer(handler):
        asked.append(1)
        time.sleep(0.3)
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT)

    with serving(answer) as url:
        threads = [threading.Thread(target=download, args=(url, tmp_path / "file.bin")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(asked) == 1 and {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file.bin": CONTENT}
    lines = capsys.readouterr().err.splitlines()
    waiting = f"{tmp_path}/file.bin: process {os.getpid()} works there; waiting until it has arrived"
    assert [line for line in lines if "waiting" in line] == [waiting] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_process_leaves_what_has_arrived_and_no_lock(tmp_path, number):
    halves = [True]

    def answer(handler):
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(CONTENT) - start))
        handler.end_headers()
        handler.wfile.write(CONTENT[start:start + 50_000] if halves else CONTENT[start:])
        handler.wfile.flush()
        while halves:
            time.sleep(0.01)

    code = ("import sys; from pathlib import Path; from paddle_cls.system.download import download; "
            "download(sys.argv[1], Path(sys.argv[2]))")
    with serving(answer) as url:
        process = subprocess.Popen([sys.executable, "-c", code, url, tmp_path / "file.bin"], cwd=ROOT, stderr=subprocess.PIPE)
        part = tmp_path / "file.bin.part"
        end = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
            time.sleep(0.02)
        start = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == -number and time.monotonic() - start < 1
        process.stderr.close()
        halves.clear()
        assert download(url, Path(tmp_path, "file.bin"), sha256=SHA256).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]
