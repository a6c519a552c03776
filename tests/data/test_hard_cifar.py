"""CIFAR-10's archive as a stranger packs it: sizes that are claimed, members that are no files, bytes without end."""

import gzip
import io
import tarfile
import time

import pytest
from fakes import batch, python2_pickle, write_cifar

from paddle_cls.data.sets import cifar10
from paddle_cls.errors import UserError

NAME = f"{cifar10.FOLDER}/test_batch"
OVER = r"truncated or corrupt \(it claims to hold over 536,870,912 bytes\); delete it and download it again"
LACKS = "it lacks cifar-10-batches-py/test_batch; it is not CIFAR-10's archive"


def entry(name: str, size: int, kind: bytes = tarfile.REGTYPE, **more: str) -> bytes:
    """Return a header that claims `size` bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse(size: int) -> bytes:
    """Return a file of holes, which takes 1024 bytes in the archive."""
    header = bytearray(entry(NAME, 512, tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8                     # as the checksum is summed up
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512)


SIX = 6 << 30
ARCHIVES = {
    "a batch of 6 GB": (entry(NAME, SIX), OVER),
    "another file of 6 GB": (entry("readme.html", SIX), OVER),
    "a name of 6 GB": (entry("././@LongLink", SIX, tarfile.GNUTYPE_LONGNAME), OVER),
    "a description of 6 GB": (entry("pax", SIX, tarfile.XHDTYPE), OVER),
    "a common description of 6 GB": (entry("pax", SIX, tarfile.XGLTYPE), OVER),
    "holes of 6 GB": (sparse(SIX), LACKS),
    "a FIFO": (entry(NAME, 0, tarfile.FIFOTYPE), LACKS),
    "a device": (entry(NAME, 0, tarfile.CHRTYPE), LACKS),
    "a link": (entry(NAME, 0, tarfile.SYMTYPE, linkname="/etc/passwd"), LACKS),
    "a hard link": (entry(NAME, 0, tarfile.LNKTYPE, linkname="/etc/passwd"), LACKS),
    "a folder": (entry(NAME, 0, tarfile.DIRTYPE), LACKS),
    "a batch in another folder": (entry("x/test_batch", 0), LACKS),
    "a path that leads out": (entry(f"../{NAME}", 0), LACKS),
    "a negative size": (entry(NAME, -1), r"test_batch: truncated or not a pickle|truncated or corrupt"),
    "a description of nonsense": (entry("pax", 20, tarfile.XHDTYPE) + b"99999999999 size=-1\n".ljust(512, b"\0"), "truncated or"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_is_refused_in_a_moment(tmp_path, what):
    content, message = ARCHIVES[what]
    (tmp_path / cifar10.ARCHIVE).write_bytes(gzip.compress(content + bytes(10240)))
    started = time.process_time()
    with pytest.raises(UserError, match=rf"^{tmp_path}/cifar-10-python\.tar\.gz:? ?.*({message})"):
        cifar10.load("test", tmp_path)
    assert time.process_time() - started < 1


def test_bytes_without_end_are_not_read(tmp_path, monkeypatch):
    """Zeros pack to a thousandth: 6 MB would keep a processor busy for half a minute."""
    monkeypatch.setattr(cifar10, "MOST_UNPACKED", 3 << 20)
    file = io.BytesIO()
    with gzip.open(file, "wb", compresslevel=1) as zipped:
        zipped.write(bytes(5 << 20))
    (tmp_path / cifar10.ARCHIVE).write_bytes(file.getvalue())
    with pytest.raises(UserError, match=r"it claims to hold over 3,145,728 bytes"):
        cifar10.load("test", tmp_path)


def test_a_batch_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MOST", 10_000)
    with pytest.raises(UserError, match=r"test_batch: cannot be read: larger than 10,000 bytes"):
        cifar10.load("test", write_cifar(tmp_path, 4))


def test_a_batch_of_the_published_size_is_read_in_a_moment():
    """10,000 labels and names are 60,000 opcodes."""
    content = python2_pickle(batch(1, 10) | {b"labels": [3] * 10_000, b"filenames": [b"%d.png" % i for i in range(10_000)]})
    started = time.process_time()
    with pytest.raises(UserError, match=r"10 images, but labels of shape \(10000,\) and type int64"):
        cifar10._check("x", content)
    assert time.process_time() - started < 0.5
