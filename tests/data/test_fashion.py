"""The form of the FashionAI tables: the place of y is the class, m counts as n."""

from pathlib import Path

import pytest
from fake_own import fashion, write
from test_folder import names

from paddle_cls.data.sets.fashion import is_fashion
from paddle_cls.data.sets.table import read_manifest
from paddle_cls.data.spreadsheets import read_cells


@pytest.mark.parametrize("line, expected", [
    ("a.jpg,skirt,nny", True), ("a.jpg,skirt,nmy", True), ("a.jpg,skirt,?", True), ("path,label,split", False), ("a,b", False),
    ("a.jpg,cat,", False), ("path,label,any", False)])
def test_the_form_is_known_by_its_third_column(tmp_path, line, expected):
    assert is_fashion(read_cells(write(tmp_path, {"t.csv": line + "\n"}) / "t.csv")) is expected


def test_one_task_of_several(tmp_path):
    table = fashion(tmp_path, {"skirt_length_labels": 3, "coat_length_labels": 4}, count=8)
    found = read_manifest(table=table, root=tmp_path, task="coat_length_labels")
    assert found.classes == ("0", "1", "2", "3") and found.problems == []
    assert names(found.train) == [(f"Images/coat_length_labels/{i:04d}.jpg", i % 4) for i in range(8)]
    assert found.notes == [f"{table}: 2 of 8 pictures are perhaps (m) of another class too, which counts as no"]
    assert found.train.images.where(0) == f"{table}:9: "


def test_a_single_task_need_not_be_named(tmp_path):
    found = read_manifest(table=fashion(tmp_path, {"neck": 5}, count=10), root=tmp_path)
    assert found.classes == ("0", "1", "2", "3", "4") and found.train.labels.tolist() == [0, 1, 2, 3, 4] * 2


def test_two_tables_of_this_form(tmp_path):
    train, val = (fashion(tmp_path / part, {"neck": 3}, count=6) for part in ("a", "b"))
    lines = val.read_text().replace("Images", "../b/Images")
    found = read_manifest(table=train, root=tmp_path / "a", val_table=write(tmp_path, {"v.csv": lines}) / "v.csv")
    assert found.problems == [] and (len(found.train), len(found.val)) == (6, 6)
    assert Path(found.val.images.path(0)).exists() and found.val.images.name(0) == "../b/Images/neck/0000.jpg"
