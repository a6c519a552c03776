"""A folder that is replaced as a whole, and what is left by whoever was killed in the middle."""

import errno
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from paddle_cls.errors import UserError
from paddle_cls.system import files
from paddle_cls.system.files import hash_of, locked, opened, part_name, read_bytes, replacing, write_text


def content(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("one", "two"):
        with replacing(tmp_path / "new") as place:
            (place / text).write_text(text)
            assert text not in os.listdir(tmp_path / "new") if text == "two" else not (tmp_path / "new").exists()
    assert content(tmp_path) == {"new/two": "two"}


def test_all_files_below_are_on_the_disk_before_the_folder_counts(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync", lambda file: synced.append(file.name))
    with replacing(tmp_path / "new") as place:
        (place / "a" / "b").mkdir(parents=True)
        (place / "a" / "b" / "c").write_text("c")
    assert synced == ["c"] and content(tmp_path) == {"new/a/b/c": "c"}


def test_an_error_leaves_all_as_it_was(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("a")
    for name in ("old", "new"):
        with pytest.raises(ZeroDivisionError), replacing(tmp_path / name) as place:
            (place / "b").write_text("b")
            raise ZeroDivisionError
    assert content(tmp_path) == {"old/a": "a"} and os.listdir(tmp_path) == ["old"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout
    left = part_name(tmp_path).name.replace(f"-{os.getpid()}-", f"-{dead.strip()}-")
    for name in (left, ".new.old"):                # killed between two renamings: the old folder lies under another name
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "new"):
        raise ZeroDivisionError
    assert content(tmp_path) == {"new/a": ".new.old"}
    with replacing(tmp_path / "new") as place:
        (place / "b").write_text("b")
    assert content(tmp_path) == {"new/b": "b"} and os.listdir(tmp_path) == ["new"]


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"\.new\.lock: cannot be written: No such file or directory"), \
            replacing(tmp_path / "none" / "new"):
        pass


def test_two_processes_may_replace_a_folder_at_once(tmp_path):
    with replacing(tmp_path / "new") as one, replacing(tmp_path / "new") as other:
        (one / "a").write_text("one")
        (other / "a").write_text("other")
    assert content(tmp_path) == {"new/a": "one"} and os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("kind, told", [("fifo", "a FIFO, not a file"), ("socket", "a socket, not a file"),
                                        ("device", "a device, not a file"), ("folder", "a folder, not a file")])
def test_only_plain_files_are_read_and_nothing_is_waited_for(tmp_path, monkeypatch, kind, told):
    monkeypatch.chdir(tmp_path)                    # a socket's path must be short
    if kind == "fifo":
        os.mkfifo("it")
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind("it")
    elif kind == "device":
        os.symlink("/dev/zero", "it")
    else:
        os.mkdir("it")
    for read in (opened, read_bytes, hash_of):
        with pytest.raises(OSError, match=told) as error:
            read("it")
        assert error.value.filename == "it"


def test_a_file_over_the_bound_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(bytes(10))
    assert read_bytes(tmp_path / "a", 10) == bytes(10)
    with pytest.raises(OSError, match="larger than 9 bytes") as error:
        read_bytes(tmp_path / "a", 9)
    assert error.value.errno == errno.EFBIG


def test_writing_follows_no_link_and_leaves_no_part(tmp_path):
    (tmp_path / "target").write_text("before")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "before" and not (tmp_path / "link").is_symlink()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "folder", "new")
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "target"]


def test_a_lock_names_its_holder_and_is_free_after_kill_9(tmp_path):
    code = "from paddle_cls.system.files import *\nwith locked(Path('lock')): print('held', flush=True), input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              cwd=tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError, match=re.escape(f"process {holder.pid} works there")), locked(tmp_path / "lock"):
        pass
    holder.kill()
    holder.communicate()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "lock").exists()


def test_of_many_that_wait_for_a_lock_one_holds_it_at_a_time(tmp_path):
    inside, most = [], []

    def work() -> None:
        for _ in range(50):
            with locked(tmp_path / "lock", wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 400 and max(most) == 1 and not os.listdir(tmp_path)
