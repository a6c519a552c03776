"""What users get wrong with pictures of their own: every mistake at once, with file and line, before anything is trained."""

import re
from pathlib import Path

import pytest
from fake_own import arguments, fashion, jpeg, pictures, rows, table, write
from fakes import bomb, png

from paddle_cls.programs import train

KINDS = "(.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm)"
GOOD = pictures("cat", "dog")
BOTH = {f"{part}/{name}": content for start, part in enumerate(("train", "val"))
        for name, content in pictures("cat", "dog", start=100 * start).items()}
NO_PICTURE = "not a picture, or a kind that Pillow cannot read"
CUT = jpeg(7, 40, 40)[:-300]

# name: (files of the folder own/, what must be said; flags)
FOLDERS = {
    "an empty folder": ({"notes.txt": "?"}, "own: no folders in it; put the pictures of each class into a folder named like it, "
                                            "or list them in a table (--dataset table --table FILE)"),
    "no folder of a class": ({f"{i}.jpg": jpeg(i) for i in range(3)}, "own: no folders in it, but 3 pictures; put the pictures"),
    "one class": (pictures("cat"), "own: only one class folder, 'cat'; a folder for each of two or more classes is needed"),
    "an empty class": ({**GOOD, "owl/.hidden": ""}, "own/owl: no picture of this class"),
    "one image": ({**GOOD, "owl/1.jpg": jpeg(1)}, "--val-split 0.1: each class must have at least 2 images, some for either "
                                                  "part; owl has 1; add images, or leave out the class"),
    "a picture outside": ({**GOOD, "a.jpg": jpeg(1)}, "own/a.jpg: a picture outside the class folders; move it into one"),
    "a folder of folders": ({**GOOD, "cat/more/a.jpg": jpeg(1)}, "own/cat/more: a folder among pictures; move it elsewhere"),
    "all a level too deep": ({f"all/{name}": content for name, content in GOOD.items()},
                             "3 problems: own/all/cat: a folder among pictures; move it elsewhere; own/all/dog: a folder among "
                             "pictures; move it elsewhere; own: only one class folder, 'all'; a folder for each of two"),
    "no picture": ({**GOOD, "cat/notes.txt": "?"}, f"own/cat/notes.txt: not a picture {KINDS}; move it elsewhere"),
    "a file of 0 bytes": ({**GOOD, "cat/a.jpg": ""}, "own/cat/a.jpg: the file is empty"),
    "a text that is called a picture": ({**GOOD, "cat/a.png": "hello"}, f"own/cat/a.png: {NO_PICTURE}"),
    "a JPEG cut off": ({**GOOD, "cat/a.jpg": CUT}, "own/cat/a.jpg: cannot be read: "),
    "a PNG cut off": ({**GOOD, "cat/a.png": png(b"\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0", b"")[:-14]},
                      "own/cat/a.png: cannot be read: "),
    "a bomb": ({**GOOD, "cat/a.png": bomb(30_000)}, "own/cat/a.png: more pixels than the 178,956,970 allowed; shrink it first"),
    "two classes of one name": ({**GOOD, "Cat/a.jpg": jpeg(1)},
                                "own: Cat and cat differ in the case of letters only; rename one"),
    "two files of one name": ({**GOOD, "cat/0.JPG": jpeg(1)},
                              "own/cat: 0.JPG and 0.jpg differ in the case of letters only; rename one"),
    "a name that is no text": ({**GOOD, "cat/a\udcff.jpg": jpeg(1)},
                               r"own/cat: the name 'a\udcff.jpg' has characters that are no text; rename it"),
    "a class only in val": ({**BOTH, "val/owl/1.jpg": jpeg(1)},
                            "own/val/owl: a class that own/train does not have; it has cat, dog"),
    "an empty train": ({**{name: content for name, content in BOTH.items() if "val" in name}, "train/.x": ""},
                       "own/train: no class folders; a folder for each of two or more"),
    "pictures right in train": ({**BOTH, "train/a.jpg": jpeg(1)}, "own/train/a.jpg: not a class folder; move it elsewhere"),
    "a folder beside train": ({**BOTH, "more/a.jpg": jpeg(1)}, "own/more: a folder beside train; move it elsewhere"),
    "too many parts": (GOOD, "--val-split 2/5: each class must have at least 5 images, some for either part; cat has 4, dog "
                             "has 4; add images", "--val-split", "2/5"),
    "a task": (GOOD, "--task x: not for data set 'folder'; leave it out, or choose another --dataset", "--task", "x"),
    "a table": (GOOD, "--table x.csv: not for data set 'folder'; leave it out", "--table", "x.csv"),
    "everything at once": ({**GOOD, "a.jpg": jpeg(1), "cat/b.txt": "?", "owl/.x": "", "cat/c.jpg": "", "dog/d.gif": "GIF"},
                           f"5 problems: own/a.jpg: a picture outside the class folders; move it into one; own/cat/b.txt: not a "
                           f"picture {KINDS}; move it elsewhere; own/owl: no picture of this class; own/cat/c.jpg: the file is "
                           f"empty; own/dog/d.gif: {NO_PICTURE}"),
}
T, SPLIT = "own/t.csv", "path,label,split"
# name: (the table own/t.csv, what must be said; flags); own/ has GOOD
TABLES = {
    "an empty table": ("", f"{T}: the table is empty"),
    "a header and no more": (table(), f"{T}: the table is empty: it has a header and no rows"),
    "no column of paths": (table(*rows("cat", "dog"), header="what,label"),
                           f"{T}:1: no columns for the path (path, file, filename, "),
    "no header": (table(*rows("cat", "dog"), header=""), f"2 problems: {T}:1: no columns for the path (path, file, "),
    "two columns of labels": (table("cat/0.jpg,cat,0", header="path,label,class"),
                              f"{T}:1: 2 columns for the label (label, class, category, target, label_name, class_name) among: "
                              f"path, label, class; name them with --columns FILE,LABEL"),
    "a column that is not there": (table(*rows("cat", "dog")), f"{T}:1: no columns for the label (breed) among: path, label; "
                                                               f"name them with", "--columns", "path,breed"),
    "one column": (table(*rows("cat", "dog")), "--columns path: name two or three columns: FILE,LABEL or FILE,LABEL,SPLIT",
                   "--columns", "path"),
    "a missing file": (table(*rows("cat", "dog"), "cat/9.jpg,cat"),
                       f"{T}:10: own/cat/9.jpg: cannot be read: No such file or directory"),
    "the wrong folder": (table(*rows("cat", "dog")), f"{T}: there is no new/cat/0.jpg, nor any other of its first pictures; name "
                                                     f"the folder that the paths begin in with --data-dir", "--data-dir", "new"),
    "mixed separators": (table(*rows("cat", "dog", count=2), *(row.replace(",", ";") for row in rows("dog")[2:])),
                         f"2 problems: {T}:6: not separated by ',', as the first line is; {T}:7: not separated by ','"),
    "a long line": (table(*rows("cat", "dog"), "cat/9.jpg,cat,1,2"), f"{T}:10: 4 fields, the header has 2"),
    "no label": (table(*rows("cat", "dog"), "cat/9.jpg,"), f"{T}:10: no label"),
    "no path": (table(*rows("cat", "dog"), ",cat"), f"{T}:10: no path"),
    "two rows of one file": (table(*rows("cat", "dog"), "dog/0.jpg,cat"), f"{T}:10: dog/0.jpg again, first in {T}:6"),
    "two spellings of one file": (table(*rows("cat", "dog"), "./dog//0.jpg,dog"), f"{T}:10: dog/0.jpg again, first in {T}:6"),
    "an unknown split": (table("cat/0.jpg,cat,train", "dog/0.jpg,dog,trian", "dog/1.jpg,dog,train", header=SPLIT),
                         f"{T}:3: unknown split 'trian'; did you mean 'train'?"),
    "no split": (table("cat/0.jpg,cat,train", "dog/0.jpg,dog,", "dog/1.jpg,dog,train", header=SPLIT), f"{T}:3: no split"),
    "nothing to train on": (table("cat/0.jpg,cat,val", "dog/0.jpg,dog,val", header=SPLIT),
                            f"{T}: no picture to train on; two classes or more are needed"),
    "a label only in val": (table("cat/0.jpg,cat,train", "dog/0.jpg,dog,train", "cat/1.jpg,owl,val", header=SPLIT),
                            f"{T}:4: label 'owl' is not among those to train on: cat, dog"),
    "numbers and names": (table(*rows("cat", "dog", count=3), "cat/3.jpg,1"),
                          f"{T}:8: label '1' is a number, where others are names such as 'cat'"),
    "a label in other case": (table(*rows("cat", "dog", count=3), "cat/3.jpg,Cat"),
                              f"{T}:8: label 'Cat' differs in the case of letters only from another"),
    "one label": (table(*rows("cat")), f"{T}: all pictures have the label 'cat'; two classes or more are needed"),
    "one image of a label": (table(*rows("cat"), "dog/0.jpg,dog"), "--val-split 0.1: each class must have at least 2 images, "
                                                                   "some for either part; dog has 1; add images"),
    "a broken file": (table(*rows("cat", "dog"), "broken.jpg,dog"), f"{T}:10: own/broken.jpg: {NO_PICTURE}"),
    "not UTF-8": ("path,label\nGrün.jpg,cat\n".encode("latin-1"), f"{T}:2: not UTF-8; save it as CSV UTF-8"),
    "a task of a plain table": (table(*rows("cat", "dog")), f"--task x: {T} has no tasks; leave out --task", "--task", "x"),
    "no second table": (table(*rows("cat", "dog")), "own/v.csv: cannot be read: No such file", "--val-table", "own/v.csv"),
    "a file in both tables": (table(*rows("cat", "dog")), f"own/both.csv:2: cat/0.jpg again, first in {T}:2",
                              "--val-table", "own/both.csv"),
    "a label outside the classes": (table(*rows("cat", "dog", count=2)),
                                    "own/val.csv:3: label 'owl' is not among those to train on: cat, dog",
                                    "--val-table", "own/val.csv"),
    "a second table and a split": (table("cat/0.jpg,cat,train", header=SPLIT),
                                   f"--val-table own/val.csv: {T} tells the split of each line; leave out one of the two",
                                   "--val-table", "own/val.csv"),
    "everything at once": (table("cat/0.jpg,cat,train", "dog/0.jpg,dog,train", "cat/0.jpg,cat,val", "dog/9.jpg,dog,val",
                                 "dog/1.jpg,,val", "dog/2.jpg,dog,vla", "broken.jpg,owl,val", "a,b,c,d", header=SPLIT),
                           f"7 problems: {T}:9: 4 fields, the header has 3; {T}:6: no label; {T}:7: unknown split 'vla'; did you "
                           f"mean 'val'?; {T}:4: cat/0.jpg again, first in {T}:2; {T}:8: label 'owl' is not among those to train "
                           f"on: cat, dog; {T}:5: own/dog/9.jpg: cannot be read: No such file or directory; "
                           f"{T}:8: own/broken.jpg: {NO_PICTURE}"),
}
LENGTHS = {"skirt_length_labels": 3, "coat_length_labels": 4}
F = "own/Annotations/label.csv"
# name: (tasks of the set in own/, a line more, what must be said; flags)
FASHION = {
    "several tasks": (LENGTHS, "", f"{F}: 2 tasks; choose one with --task: coat_length_labels, skirt_length_labels"),
    "an unknown task": (LENGTHS, "", f"--task skirt: {F} has no such task; it has: coat_length_labels, skirt_length_labels",
                        "--task", "skirt"),
    "no y": ({"a": 2}, "Images/a/0000.jpg,a,nn\n", f"{F}:31: 'nn' is not 2 letters, one y and the others n or m"),
    "two y": ({"a": 2}, "Images/a/0000.jpg,a,yy\n", f"{F}:31: 'yy' is not 2 letters"),
    "a line of the test set": ({"a": 2}, "Images/a/0000.jpg,a,?\n", f"{F}:31: '?' is not 2 letters"),
    "too many letters": ({"a": 2}, "Images/a/0000.jpg,a,yn n\n", f"{F}:31: 'yn n' is not 2 letters"),
    "a class without a picture": ({"a": 2}, "Images/a/0001.jpg,b,ynn\nImages/a/0000.jpg,b,nyn\n",
                                  f"{F}: no picture to train on of class '2'", "--task", "b"),
}


def refuse(refused, message: str, dataset: str, *flags: object) -> None:
    """Assert that train.py says just this, or begins with it where `message` is cut."""
    refused(train, f"^train.py: error: {re.escape(message)}", *arguments("--output-dir", "new", *flags, dataset=dataset))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wrong_folder(name, here, refused):
    files, message, *flags = FOLDERS[name]
    write(here / "own", files)
    refuse(refused, message, "folder", "--data-dir", "own", *flags)


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table(name, here, refused):
    content, message, *flags = TABLES[name]
    write(here / "own", {**GOOD, "broken.jpg": "?", "t.csv": content, "both.csv": table("cat/0.jpg,cat"),
                         "val.csv": table("cat/3.jpg,cat", "dog/3.jpg,owl")})
    refuse(refused, message, "table", "--table", T, *flags)


@pytest.mark.parametrize("name", FASHION)
def test_a_wrong_table_of_the_fashionai_form(name, here, refused):
    tasks, more, message, *flags = FASHION[name]
    with open(fashion(here / "own", tasks), "a") as file:
        file.write(more)
    refuse(refused, message, "table", "--table", F, "--data-dir", "own", *flags)


@pytest.mark.parametrize("dataset, message", [
    ("folder", "--data-dir: where are the pictures? Name the folder that holds a folder for each class"),
    ("table", "--table: which table? Name a CSV, TSV or .xlsx file that lists pictures and their labels"),
    ("shapes --data-dir own", "--data-dir own: not for data set 'shapes'; leave it out"),
    ("cifar10 --columns a,b", "--columns a,b: not for data set 'cifar10'; leave it out"),
    ("folder --data-dir none", "--data-dir none: no such folder"),
    ("table --table none.csv", "none.csv: cannot be read: No such file or directory")])
def test_a_wrong_place(dataset, message, here, refused):
    Path("own").mkdir()
    refuse(refused, message, *dataset.split())
