"""The cache folder against other users and odd places: private folders, seals, keys, a home that is not there."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT

from paddle_cls.errors import UserError
from paddle_cls.system import cache
from paddle_cls.system.download import download

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_private_whatever_the_umask(base):
    before = os.umask(0)
    try:
        cache.private(base / "exports")
        cache.seal("label", b"content")
    finally:
        os.umask(before)
    assert (mode(base), mode(base / "exports"), mode(base / cache.KEY)) == (0o700, 0o700, 0o600)
    assert len((base / cache.KEY).read_bytes()) == 32 and {path.name for path in base.iterdir()} == {"exports", cache.KEY}


@pytest.mark.parametrize("allowed", [0o700, 0o755, 0o500])
def test_a_folder_that_others_may_read_is_taken(base, allowed):
    (base / "exports").mkdir(parents=True)
    for path in (base, base / "exports"):
        path.chmod(allowed)
    cache.check(base / "exports")


@pytest.mark.parametrize("place", ["cache", "cache/exports"])
@pytest.mark.parametrize("bits", [0o777, 0o702, 0o720, 0o775])
def test_a_folder_where_others_may_write_is_refused(base, place, bits, monkeypatch):
    (base / "exports").mkdir(parents=True)
    path = base.parent / place
    if bits & 0o002 == 0:                          # a group with others in it
        monkeypatch.setattr("grp.getgrgid", lambda number: type("", (), {"gr_name": "staff", "gr_gid": 0, "gr_mem": []}))
    path.chmod(bits)
    with pytest.raises(UserError, match=rf"^{path}: others may write there; chmod 700 it, or name another folder with "
                                        rf"PADDLE_CLS_CACHE$"):
        cache.private(base / "exports")


def test_a_group_that_is_the_user_alone_is_nobody_else(base, monkeypatch):
    """Where useradd makes a group for each user, folders are made for the group to write (umask 002)."""
    import pwd
    own = pwd.getpwuid(os.geteuid()).pw_name
    cache.private(base / "exports")
    os.chmod(base, 0o775)
    group = type("", (), {"gr_name": own, "gr_gid": pwd.getpwuid(os.geteuid()).pw_gid, "gr_mem": [own]})
    monkeypatch.setattr("grp.getgrgid", lambda number: group)
    cache.check(base / "exports")
    group.gr_mem = [own, "other"]
    with pytest.raises(UserError, match="others may write there"):
        cache.check(base / "exports")


def test_a_folder_above_where_all_may_put_another_cache(base):
    cache.private(base / "exports")
    base.parent.chmod(0o777)
    with pytest.raises(UserError, match=rf"^{base.parent}: others may write there, and put another cache into its place; name"):
        cache.check(base / "exports")
    base.parent.chmod(0o1777)                      # as /tmp
    cache.check(base / "exports")
    base.chmod(0o1777)
    cache.check(base / "exports")


@as_root
@pytest.mark.parametrize("place", ["cache", "cache/exports"])
def test_a_folder_of_another_user_is_refused(base, place):
    (base / "exports").mkdir(parents=True)
    path = base.parent / place
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(UserError, match=rf"^{path}: belongs to (nobody|user 65534); name another folder with PADDLE_CLS_CACHE$"):
        cache.private(base / "exports")
    os.chown(path, 4242, 4242)
    with pytest.raises(UserError, match=rf"^{path}: belongs to user 4242; "):
        cache.check(base / "exports")


def test_a_link_or_a_file_in_the_place_of_a_folder_is_refused(base, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    base.mkdir()
    (base / "exports").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"^{base}/exports: not a folder; delete it, or name another folder with PADDLE_CLS_"):
        cache.private(base / "exports")
    (base / "exports").unlink()
    (base / "exports").write_text("")
    with pytest.raises(NotADirectoryError):
        cache.private(base / "exports")
    base.rename(tmp_path / "large disk")
    base.symlink_to(tmp_path / "large disk")       # the cache folder itself may lie elsewhere
    cache.private(base / "photos")
    assert (tmp_path / "large disk" / "photos").is_dir()


def test_a_seal_fits_its_content_label_and_key_only(base, tmp_path):
    sealed = cache.seal("export 1 a", b"content")
    assert cache.unseal("export 1 a", sealed) == b"content"
    for changed in (sealed[:-1], sealed + b"x", sealed[1:], b"0" * 64 + sealed[64:], sealed.replace(b"\n", b" "), b"", b"\n"):
        assert cache.unseal("export 1 a", changed) is None
    assert cache.unseal("export 1 b", sealed) is None and cache.unseal("export 2 a", sealed) is None
    assert cache.unseal("export 1 a", sealed, home=tmp_path / "none") is None
    with open(tmp_path / "file", "wb+") as file:
        file.write(b"content")
        file.seek(0)
        assert cache.seal_of("export 1 a", file) == sealed[:64].decode()
        assert cache.seal_of("export 1 a", file, tmp_path / "none") == ""


@pytest.mark.parametrize("damage", [
    lambda key: key.write_bytes(b""), lambda key: key.write_bytes(bytes(31)), lambda key: key.write_bytes(bytes(33)),
    lambda key: key.chmod(0o644), lambda key: (key.unlink(), os.mkfifo(key)), lambda key: key.unlink(),
    lambda key: (key.rename(key.with_name("far")), key.symlink_to(key.with_name("far"))),
    pytest.param(lambda key: os.chown(key, NOBODY, NOBODY), marks=as_root),
], ids=["empty", "short", "long", "readable for others", "FIFO", "gone", "link", "another user's"])
def test_a_key_that_may_be_anothers_counts_for_nothing_and_is_drawn_again(base, damage):
    sealed = cache.seal("a", b"content")
    damage(base / cache.KEY)
    assert cache.unseal("a", sealed) is None
    again = cache.seal("a", b"content")
    assert again != sealed and cache.unseal("a", again) == b"content" and mode(base / cache.KEY) == 0o600


def test_threads_and_a_killed_process_agree_on_one_key(base, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cache.seal("a", b"")
    assert list(base.iterdir()) == []
    seals: list[bytes] = []
    read, all_saw_none = cache._read_key, threading.Barrier(8)
    first = threading.local()

    def read_at_once(home):
        key = read(home)
        if not hasattr(first, "passed"):
            first.passed = all_saw_none.wait(10)
        return key

    monkeypatch.setattr(cache, "_read_key", read_at_once)
    threads = [threading.Thread(target=lambda: seals.append(cache.seal("a", b""))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seals) == 8 and len(set(seals)) == 1


def test_a_home_that_cannot_be_written_is_replaced_and_told(monkeypatch, capsys, tmp_path):
    kept = []
    monkeypatch.setattr("atexit.register", kept.append)
    monkeypatch.delenv("PADDLE_CLS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "file").write_text("")
    for given, reason in (("/proc", "HOME=/proc: cannot be written (No such file or directory)"), ("", "HOME is not set"),
                          ("rel", "HOME=rel: cannot be written (not an absolute path)"),
                          (f"{tmp_path}/file", f"HOME={tmp_path}/file: cannot be written (Not a directory)")):
        monkeypatch.setenv("HOME", given)
        cache.settle()
        assert capsys.readouterr().err == (f"{reason}: the cache lasts as long as this process; set HOME, or name a folder with "
                                           f"PADDLE_CLS_CACHE\n")
        assert not cache.lasts() and cache.root() == Path(os.environ["HOME"], ".cache/paddle_cls")
        home = Path(os.environ["HOME"])
        cache.settle()                             # a process started by this one has its home
        assert capsys.readouterr().err == "" and mode(home) == 0o700
        kept.pop()()
        assert not home.exists() and not kept
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("PADDLE_CLS_CACHE", str(tmp_path))
    cache.settle()
    assert capsys.readouterr().err == "" and cache.lasts() and cache.root() == tmp_path
    kept.pop()()


def test_no_home_and_no_folder_is_a_mistake(monkeypatch):
    monkeypatch.delenv("PADDLE_CLS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "rel")
    with pytest.raises(UserError, match="^no cache folder: HOME is not set; set it, or name a folder with PADDLE_CLS_CACHE$"):
        cache.root()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(cache.root()) == "/home/me/.cache/paddle_cls"
    monkeypatch.setenv("PADDLE_CLS_CACHE", "here")
    assert cache.root() == Path.cwd() / "here"


@pytest.mark.parametrize("given, message", [
    ("file", "file/data.* cannot be written: Not a directory"), ("/proc/none", "/proc/none: cannot be written: No such file"),
    ("x" * 300, "cannot be written: File name too long")], ids=["file", "no place", "long"])
def test_a_cache_that_cannot_be_made_is_told_before_the_network_is_asked(tmp_path, monkeypatch, given, message):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDLE_CLS_CACHE", given)
    with pytest.raises(UserError, match=f"{message}.*; free some space, or name another folder with PADDLE_CLS_CACHE$"):
        download("http://127.0.0.1:9/x", cache.root() / "data" / "x")


def test_a_process_without_a_home(tmp_path):
    """What only a process shows: Paddle and VisualDL end at their import in such a home."""
    code = "import sys; from paddle_cls.system import runtime; runtime.prepare(); import paddle, visualdl; print('imported')"
    environment = {k: v for k, v in os.environ.items() if k not in ("PADDLE_CLS_CACHE", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, env=environment | {"HOME": "/proc"},
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "imported\n") and done.stderr.count("\n") == 1
    assert "HOME=/proc: cannot be written" in done.stderr


def test_no_folder_for_temporary_files_is_a_mistake(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nothere", "/proc"])
    with pytest.raises(UserError, match=r"^No usable temporary directory found in \['/nothere', '/proc'\]; set TMPDIR to a "
                                        r"folder that can be written$"):
        cache.temporary()
