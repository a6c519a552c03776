"""A folder that is replaced as a whole, and what is left by whoever was killed in the middle."""

import os
from pathlib import Path

import pytest

from paddle_cls.errors import UserError
from paddle_cls.files import replacing


def content(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("one", "two"):
        with replacing(tmp_path / "new") as place:
            (place / text).write_text(text)
            assert text not in os.listdir(tmp_path / "new") if text == "two" else not (tmp_path / "new").exists()
    assert content(tmp_path) == {"new/two": "two"}


def test_an_error_leaves_all_as_it_was(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_text("a")
    for name in ("old", "new"):
        with pytest.raises(ZeroDivisionError), replacing(tmp_path / name) as place:
            (place / "b").write_text("b")
            raise ZeroDivisionError
    assert content(tmp_path) == {"old/a": "a"} and os.listdir(tmp_path) == ["old"]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    for name in (".new.part", ".new.old"):         # killed between two renamings: the old folder lies under another name
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "new"):
        raise ZeroDivisionError
    assert content(tmp_path) == {"new/a": ".new.old"}
    with replacing(tmp_path / "new") as place:
        (place / "b").write_text("b")
    assert content(tmp_path) == {"new/b": "b"} and os.listdir(tmp_path) == ["new"]


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"\.new\.part: cannot be written: No such file or directory"), \
            replacing(tmp_path / "none" / "new"):
        pass
