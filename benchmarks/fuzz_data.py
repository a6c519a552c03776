"""Targets of fuzz.py that read data sets of one's own: tables, workbooks, folders of pictures, the cache of photographs."""

import contextlib
import io
import os
import random
from pathlib import Path

from benchmarks.fuzz_calls import Wrong
from benchmarks.fuzz_mutate import Mutator
from benchmarks.fuzz_seeds import table_rows
from benchmarks.fuzz_targets import Case, target

TABLES = ("table.csv", "table.tsv", "semicolons.csv", "fashion.csv")
NAMES = ("猫", "a b", " x", "x ", ".hidden", "a\nb", "a'b", 'a"b', "a,b", "=1+1", "<b>", "-x", "%s", "CAT", "Cat", "1", "train",
         "val", "test", os.fsdecode(b"\xff\xfe"), "e\u0301", "\u202egpj", "x" * 250)


def _read(case: Case, **settings: object) -> None:
    """Read a data set as train.py does, or look at it closely as data.check does."""
    from paddle_cls.data import load_data
    from paddle_cls.programs import check_data
    if case.mutate.maybe(0.35):
        place = settings.get("table") or settings["root"]
        more = [word for name in ("columns", "task", "val_split") if settings.get(name)
                for word in (f"--{name.replace('_', '-')}", str(settings[name]))]
        more += ["--data-dir", str(settings["root"])] if "table" in settings else []
        with contextlib.redirect_stdout(io.StringIO()):
            check_data.main([str(place), "--sheet", str(case.folder / "sheet.png"), *more])
        return
    data = load_data("table" if "table" in settings else "folder", **settings)
    for split in (data.train, data.val):
        images = split.fetch(range(min(4, len(split))))
        if len(images) != min(4, len(split)) or not (0 <= split.labels.min() <= split.labels.max() < len(data.classes)):
            raise Wrong("images or labels out of range")


def _settings(case: Case, name: str) -> dict:
    """Return further settings of a table, seldom wrong ones."""
    found = {"task": "neck"} if name == "fashion.csv" else {}
    if case.mutate.maybe(0.15):
        found["columns"] = case.mutate.choose(("path,label", "label,path", "path", "path,label,split", "0,1", "", ",",
                                               case.mutate.word()))
    if case.mutate.maybe(0.1):
        found["task"] = case.mutate.choose(("skirt", "", case.mutate.word()))
    if case.mutate.maybe(0.15):
        found["val_split"] = case.mutate.choose(("0.5", "1/2", "2/2", "1/3", case.mutate.word()))
    return found


@target("table", 9)
def _table(case: Case) -> object:
    name = case.mutate.choose(TABLES)
    case.copy("pets")
    text = (case.good / name).read_text()
    if case.mutate.maybe(0.5):
        text = _cells(case.mutate, table_rows(case.good / name), name)
    elif case.mutate.rng:
        text = case.mutate.text(text)
    if case.mutate.maybe(0.1):
        text = text.replace("\n", case.mutate.choose(("\r\n", "\r", "\n\n")))
    file = case.write(name, case.mutate.encoded(text))
    _read(case, table=file, root=case.folder / "pets", **_settings(case, name))


def _cells(mutate: Mutator, rows: list[list[str]], name: str) -> str:
    """Return a table some of whose cells are other ones, with the separators of `name`."""
    sign = {"table.tsv": "\t", "semicolons.csv": ";"}.get(name, ",")
    rows = [row[0].split(sign) if len(row) == 1 else row for row in rows]
    for _ in range(mutate.rng.choice((1, 1, 2, 8))):
        row = mutate.rng.choice(rows)
        place = mutate.rng.randrange(len(row)) if row else 0
        kind = mutate.rng.randrange(5)
        if kind == 0 and row:
            row[place] = mutate.word()
        elif kind == 1:
            row.insert(place, mutate.word())
        elif kind == 2 and row:
            del row[place]
        elif kind == 3 and row:
            row[place] = mutate.rng.choice(rows[-1] or [""])
        elif row:
            cell = row[place]
            row[place] = mutate.rng.choice(("../" + cell, f'"{cell}"', cell.upper(), cell + " ", "/" + cell))
    return "".join(sign.join(row) + "\n" for row in rows)


@target("xlsx", 5)
def _xlsx(case: Case) -> object:
    case.copy("pets")

    def inside(content: bytes) -> bytes:
        """Change a workbook's XML as text, mostly."""
        return case.mutate.text(content.decode("utf-8", "replace")).encode("utf-8", "replace") if case.mutate.maybe(0.7) else \
            case.mutate.bytes(content)

    file = case.write("table.xlsx", case.mutate.zip((case.good / "table.xlsx").read_bytes(), inside))
    _read(case, table=file, root=case.folder / "pets", **_settings(case, "table.xlsx"))


@target("folder", 6)
def _folder(case: Case) -> object:
    root = case.copy(case.mutate.choose(("pets", "split")), "data")
    rng = case.mutate.rng
    for _ in range(rng.choice((1, 1, 2, 5)) if rng else 0):
        _break(case, root, rng)
    settings = {"val_split": case.mutate.choose(("0.5", "1/2", case.mutate.word()))} if case.mutate.maybe(0.1) else {}
    _read(case, root=root, **settings)


def _break(case: Case, root: Path, rng: random.Random) -> None:
    """Do one harm to a folder of classes."""
    inside = sorted(path for path in root.rglob("*") if not path.is_symlink())
    files, folders = [path for path in inside if path.is_file()], [root, *(path for path in inside if path.is_dir())]
    file, folder = rng.choice(files or [root / "x"]), rng.choice(folders)
    new = folder / (rng.choice(NAMES) + rng.choice(("", ".jpg", ".PNG", ".txt", ".jpg.png")))
    kind = rng.randrange(14)
    with contextlib.suppress(OSError):             # a name that is taken, too long, or not there any more
        if kind < 3:
            file.write_bytes(case.mutate.bytes(file.read_bytes()))
        elif kind == 3:
            file.write_bytes((case.good / "pictures" / rng.choice(("a.gif", "I16.png", "cmyk.jpg", "a.pgm"))).read_bytes())
        elif kind == 4:
            for one in folder.iterdir():
                one.unlink()
        elif kind == 5:
            rng.choice((file, folder)).rename(new)
        elif kind == 6:
            new.mkdir()
        elif kind == 7:
            new.write_bytes(rng.choice((b"", b"x", file.read_bytes())))
        elif kind == 8:
            new.symlink_to(rng.choice((file, folder, "nowhere", new, "..", "/dev/null")))
        elif kind == 9:
            (new if rng.random() < 0.9 else file).unlink()
        elif kind == 10 and rng.random() < 0.2:    # rarely, as each that is waited for takes the whole limit
            os.mkfifo(new.with_suffix(".jpg"))
        elif kind == 11:
            file.rename(file.with_suffix(rng.choice((".JPG", ".jpeg", ".tiff", ".eps", "", ".svg"))))
        elif kind == 12:
            folder.rename(folder.with_name(rng.choice(NAMES)))
        else:
            file.unlink()


@target("photo cache", 4)
def _photos(case: Case) -> object:
    import numpy as np

    from paddle_cls.data.images import resized_cache
    folder = case.copy("photos")
    paths, size = sorted(folder.iterdir()), 8
    quiet = contextlib.redirect_stderr(io.StringIO())
    with quiet:
        whole, _ = resized_cache.load_resized(paths, size)
    caches = [path for path in Path(os.environ["PADDLE_CLS_CACHE"], "photos").rglob("*") if path.is_file()]
    if not caches:
        raise Wrong("no cache was filled")
    file = case.mutate.choose(sorted(caches))
    content = file.read_bytes()
    if case.mutate.maybe(0.3) and content.startswith(b"PK"):       # whole arrays of other kinds
        with np.load(file, allow_pickle=False) as kept:
            arrays = dict(kept)
        name, out = case.mutate.choose(sorted(arrays)), io.BytesIO()
        arrays[name] = _array(case.mutate.rng, arrays[name])
        np.savez(out, **arrays)
        content = out.getvalue()
    else:
        content = case.mutate.zip(content, case.mutate.bytes)
    file.write_bytes(content)
    with quiet:
        again, problems = resized_cache.load_resized(paths, size)
    for path in caches:
        path.unlink(missing_ok=True)
    if problems or again.shape != whole.shape:
        raise Wrong(f"shape {again.shape}, {problems}")


def _array(rng: random.Random, array):
    """Return an array of another kind, shape or length."""
    import numpy as np
    return rng.choice((lambda: array[:-1], lambda: array[None], lambda: array.reshape(-1)[:0], lambda: np.array(5),
                       lambda: array[..., None], lambda: np.array(["x"] * len(array)), lambda: np.arange(len(array)),
                       lambda: np.repeat(array, 2, 0), lambda: np.full(array.shape, np.nan), lambda: array[..., :1],
                       lambda: np.zeros(len(array), "M8[s]"), lambda: np.zeros((len(array), 2), complex)))()
