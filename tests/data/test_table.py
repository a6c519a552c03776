"""Tables of one's own pictures: every way in which they are written gives the same data set."""

import pandas
import pytest
from fake_own import jpeg, pictures, rows, table, write
from test_folder import names

from paddle_cls.data import load_data
from paddle_cls.data.manifest import in_order, split_csv
from paddle_cls.data.sets.table import read_manifest

CAT_AND_DOG = [(f"{name}/{i}.jpg", label) for label, name in enumerate(("cat", "dog")) for i in range(4)]
LINES = [line.split(",") for line in rows("cat", "dog")]


@pytest.fixture
def own(tmp_path):
    """Return a folder with four pictures of a cat and four of a dog."""
    return write(tmp_path, pictures("cat", "dog"))


GOOD = {
    "path and label": table(*LINES),
    "other names": table(*LINES, header="Image_Path,CATEGORY"),
    "more columns": table(*((i, label, "x", path) for i, (path, label) in enumerate(LINES)), header="id,class,note,file"),
    "an index column": table(*((i, *line) for i, line in enumerate(LINES)), header="path,label"),
    "its empty name": pandas.DataFrame(LINES, columns=["path", "label"]).to_csv(),
    "semicolons": table(*LINES).replace(",", ";"),
    "tabs": table(*LINES).replace(",", "\t"),
    "quotes": table(*((f'"{path}"', f'"{label}"') for path, label in LINES)),
    "BOM, CRLF and empty lines": "\ufeff" + table(*LINES).replace("\n", "\r\n\r\n"),
    "spaces": table(*((f" {path} ", f" {label} ") for path, label in LINES), header=" path , label "),
    "Windows's and odd paths": table(*((path.replace("/", "\\"), label) for path, label in LINES[:4]),
                                     *((f"./{path.replace('/', '//')}", label) for path, label in LINES[4:])),
    "other order": table(*LINES[::-1]),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_table_is_read(name, own):
    found = read_manifest(table=write(own, {"t.csv": GOOD[name]}) / "t.csv")
    assert found.problems == [] and found.classes == ("cat", "dog") and found.val is None
    assert sorted(names(found.train)) == CAT_AND_DOG
    assert all(image.shape == (12, 12, 3) for image in found.train.images)


def test_columns_can_be_named(own):
    lines = [(path, label, i, "val" if i % 4 == 3 else "train") for i, (path, label) in enumerate(LINES)]
    write(own, {"t.csv": table(*lines, header="Bild,Art,label,wofür")})
    found = read_manifest(table=own / "t.csv", columns="bild, art")
    assert sorted(names(found.train)) == CAT_AND_DOG and found.val is None
    found = read_manifest(table=own / "t.csv", columns="Bild,Art,Wofür")
    assert names(found.val) == [("cat/3.jpg", 0), ("dog/3.jpg", 1)] and len(found.train) == 6


def test_a_workbook_with_numbers_and_gaps(own):
    frame = pandas.DataFrame({"file": [path for path, _ in LINES], "note": [None, 3.5] * 4, "label": [7.0] * 4 + [12] * 4})
    frame.to_excel(own / "t.xlsx", index=False)
    found = read_manifest(table=own / "t.xlsx")
    assert found.problems == [] and found.classes == ("7", "12") and names(found.train) == CAT_AND_DOG


def test_a_workbook_with_a_cell_left_empty(own):
    frame = pandas.DataFrame({"file": [path for path, _ in LINES] + [None], "label": [1, None] + [2] * 6 + [1]})
    frame.to_excel(own / "t.xlsx", index=False)
    assert read_manifest(table=own / "t.xlsx").problems == [f"{own}/t.xlsx:10: no path", f"{own}/t.xlsx:3: no label"]


@pytest.mark.parametrize("labels, classes", [
    (["0", "1"], ("0", "1")), (["1.0", "0.0"], ("0", "1")), (["10", "9"], ("9", "10")), (["10.0", "9"], ("9", "10")),
    (["1.5", "2"], ("1.5", "2")), (["no", "yes"], ("no", "yes")), (["Äh", "狗"], ("Äh", "狗"))])
def test_labels_are_names_or_numbers(own, labels, classes):
    write(own, {"t.csv": table(*((path, labels[i % 2]) for i, (path, _) in enumerate(LINES)))})
    assert read_manifest(table=own / "t.csv").classes == classes


def test_in_order():
    assert in_order(["10", "9", "011"]) == ["9", "10", "011"] and in_order(["10", "9", "x"]) == ["10", "9", "x"]


@pytest.mark.parametrize("words, val, notes", [
    (["train", "val"], 2, 0), (["Training", "VALID"], 2, 0), (["train", "test"], 2, 0), (["train", "train"], 0, 0)])
def test_a_column_tells_the_split(own, words, val, notes):
    lines = [(path, label, words[i % 4 == 3]) for i, (path, label) in enumerate(LINES)]
    found = read_manifest(table=write(own, {"t.csv": table(*lines, header="path,label,split")}) / "t.csv")
    assert (len(found.train), len(found.val or ())) == (8 - val, val) and len(found.notes) == notes


def test_test_is_left_alone_where_val_is_there(own):
    lines = [(path, label, ("train", "train", "val", "test")[i % 4]) for i, (path, label) in enumerate(LINES)]
    write(own, {"t.csv": table(*lines, header="path,label,set")})
    found = read_manifest(table=own / "t.csv")
    assert names(found.val) == [("cat/2.jpg", 0), ("dog/2.jpg", 1)] and len(found.train) == 4
    assert found.notes == [f"{own}/t.csv: the 2 lines of the split test are not used"]
    assert read_manifest(table=own / "t.csv", val=False).val is None


def test_two_tables_and_a_folder_for_the_paths(own, tmp_path_factory):
    tables = write(tmp_path_factory.mktemp("tables"), {"t.csv": table(*LINES[:3], *LINES[4:7]), "v.csv": table(LINES[7])})
    data = load_data("table", own, table=tables / "t.csv", val_table=tables / "v.csv")
    assert names(data.val) == [("dog/3.jpg", 1)] and len(data.train) == 6 and not data.drawn
    assert data.notes[0] == "no validation picture of cat"
    lines = [(own / path, label) for path, label in LINES]       # whole paths
    assert len(load_data("table", table=write(tables, {"w.csv": table(*lines)}) / "w.csv").train) == 6


def test_the_written_split_gives_the_same_data(tmp_path):
    """Of numbers as classes too, whose order is by value, and names that CSV must quote."""
    own = write(tmp_path / "own", {**pictures("10", "9", "2"), '9/a,"b".jpg': jpeg(5)})
    data = load_data("folder", own)
    write(tmp_path, {"run/split.csv": split_csv(data)})
    again = load_data("table", own, table=tmp_path / "run/split.csv")
    assert again.classes == data.classes and not again.drawn
    for part in ("train", "val"):
        assert names(getattr(again, part)) == names(getattr(data, part))
