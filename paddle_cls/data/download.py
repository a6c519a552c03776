"""One file from the network into a cache folder: resumed where it broke off, checked, renamed when whole."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError
from ..files import hash_of

CHUNK = 1 << 20                                    # bytes a read
TIMEOUT = 30                                       # seconds without an answer


def cache_dir() -> Path:
    """Return the folder for downloads: $PADDLE_CLS_CACHE, else paddle_cls in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("PADDLE_CLS_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddle_cls"


def download(url: str, path: Path, *, sha256: str | None = None, md5: str | None = None,
             otherwise: str | None = None, tries: int = 3) -> Path:
    """Fetch `url` into `path` (unless it is there) and return `path`.

    What a broken connection left in `path`.part is continued, up to `tries` times in this call and again in the next.
    sha256, md5: of the whole file in hex; None checks nothing. otherwise: what a user without the network can do.
    Raises UserError: no network, a refusal of the server, a wrong checksum (the part is deleted then), a folder that
    cannot be written.
    """
    if path.exists():
        return path
    part = path.with_name(path.name + ".part")
    remedy = ("try again later (what has arrived is kept), or "
              + (otherwise or f"put {path.name} into a folder and name it with --data-dir"))
    reason = ""
    for _ in range(tries):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _fetch(url, part):
                break
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            raise UserError(f"{url}: the server answers {error.code} {error.reason}; {remedy}") from None
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (ValueError, http.client.InvalidURL) as error:
            raise UserError(f"{url}: not a URL ({error})") from None
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__} {error}".strip()
        except OSError as error:
            raise UserError(f"{error.filename or part}: cannot be written: {error.strerror or error}") from None
    else:
        raise UserError(f"{url}: cannot be downloaded: {reason}; {remedy}")
    for kind, wanted in (("sha256", sha256), ("md5", md5)):
        if wanted and (found := hash_of(part, kind)) != wanted:
            part.unlink()
            raise UserError(f"{url}: the download has the checksum {found}, not {wanted}; it was deleted; {remedy}")
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path) -> bool:
    """Append to `part` what is missing of `url`; return whether it is whole."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:                      # nothing is missing
            return True
        raise
    with answer:
        if answer.status != 206:                   # this server starts anew
            have = 0
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length else None
        with (open(part, "ab" if have else "wb") as file,
              tqdm(total=whole, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar):
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            return whole is None or file.tell() == whole
