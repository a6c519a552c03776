"""A font of this machine that holds Chinese letters, for charts whose own font has none; found by the names of files."""

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError, printable

VARIABLE = "PADDLE_CLS_FONT"                       # a font file to use before all others
# Beginnings of file names, the best first; all hold simplified Chinese.
KNOWN = ("notosanscjk", "notosanssc", "notosanshans", "sourcehansans", "pingfang", "msyh", "wqy-microhei", "wqy-zenhei",
         "hiragino sans gb", "stheiti", "simhei", "simsun", "droidsansfallback", "notoserifcjk", "uming", "ukai", "arialuni")
_LETTERS = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_told: set[str] = set()                            # what this process has said already


def folders() -> list[Path]:
    """Return the places where Linux, macOS and Windows keep their fonts and those of the user."""
    home = Path(os.path.expanduser("~"))
    windows = Path(os.environ.get("WINDIR", "C:/Windows"))
    places = (home / ".local/share/fonts", home / ".fonts", home / "Library/Fonts", Path("/usr/local/share/fonts"),
              Path("/usr/share/fonts"), Path("/Library/Fonts"), Path("/System/Library/Fonts"), windows / "Fonts",
              home / "AppData/Local/Microsoft/Windows/Fonts")
    return [place for place in places if place.is_dir()]


def find() -> Path | None:
    """Return the best font file with Chinese letters: what $PADDLE_CLS_FONT names, else the first of KNOWN, else None.

    Raises UserError where the variable names no file.
    """
    if own := os.environ.get(VARIABLE):
        if not Path(own).is_file():
            raise UserError(f"{VARIABLE}={own}: is no file; name a .ttf, .otf or .ttc font, or unset {VARIABLE}")
        return Path(own)
    files = sorted(Path(folder) / name for place in folders() for folder, _, names in os.walk(place) for name in names
                   if name.lower().endswith((".ttf", ".otf", ".ttc")))
    ranked = [(rank, "regular" not in file.name.lower(), file) for file in files
              for rank, start in enumerate(KNOWN) if file.name.lower().startswith(start)]
    return min(ranked)[2] if ranked else None


def for_names(names: Iterable[str]) -> Path | None:
    """Return the font file that names with Chinese, Japanese or Korean letters need; None where no name needs one.

    Where this machine has none it returns None too, and says so once a process, on stderr.
    """
    needing = next((name for name in names if _LETTERS.search(name)), None)
    if needing is None:
        return None
    font = find()
    if font is None:
        tell(f"no font for {printable(needing)!r} is installed, so that pictures show boxes in its place; install Noto Sans CJK "
             f"(Debian, Ubuntu: apt-get install fonts-noto-cjk), or name a font file with {VARIABLE}")
    return font


def tell(line: str) -> None:
    """Print a line on stderr, once a process."""
    if line not in _told:
        _told.add(line)
        print(line, file=sys.stderr)
