"""iChallenge-PM (PALM, Fu et al. 2019): photographs of the fundus, with pathologic myopia or without.

Readers with the eye-disease tutorial's names, and the whole set as arrays. The data is given out by its organisers; it
is read as it comes from them, or as the tutorial has it.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ...errors import UserError, report_all
from ..dataset import Data
from ..images.files import list_images
from ..images.resized_cache import load_resized
from ..images.transforms import HALF, eval_transform
from ..reader import Reader, Split, batches
from .ichallenge_labels import read_labels

SIZE = 224                                         # pixels a side, the tutorial's
CLASSES = ("not pathologic", "pathologic myopia")
LETTERS = {"P": 1, "H": 0, "N": 0}                 # pathologic, high myopia, normal: first letter of a training file
TRAIN, VAL = "PALM-Training400", "PALM-Validation400"
TABLES = ("labels.csv", "PM_Label_and_Fovea_Location.xlsx", "PALM-Validation-GT/PM_Label_and_Fovea_Location.xlsx")


def transform_img(img: np.ndarray) -> np.ndarray:
    """Return float32 (3, 224, 224) in [-1, 1] of a photograph uint8 (H, W, 3) RGB of any size.

    The shorter side is brought to 224 and the middle cut out, as in training, evaluation and inference everywhere in the
    package (the tutorial squeezes to a square, takes each fourth or so pixel, and keeps OpenCV's BGR).
    """
    return eval_transform([img], SIZE, HALF)[0]


def data_loader(datadir: str | Path, batch_size: int = 10, mode: str = "train", *, seed: int = 0) -> Reader:
    """Return a reader of (images float32 (B, 3, 224, 224) in [-1, 1], labels float32 (B, 1)).

    The label is in the first letter of a file's name: P is 1; H and N are 0. mode: "train" gives another order at each
    pass, the same for the same `seed`; any other keeps the files' order. All photographs are decoded here and kept, so
    that every mistake in the folder shows now, as one UserError.
    """
    return _batched(_checked(*_train_files(Path(datadir))), batch_size, seed if mode == "train" else None)


def valid_data_loader(datadir: str | Path, csvfile: str | Path, batch_size: int = 10) -> Reader:
    """Return a reader like `data_loader`'s, in the files' order, with labels from the table `csvfile`.

    csvfile: a CSV or .xlsx with the columns imgName and Label (see `labels.read_labels`) of exactly the photographs in
    `datadir`. Raises one UserError for all mistakes.
    """
    return _batched(_checked(*_val_files(Path(datadir), Path(csvfile))), batch_size, None)


def dataset(*, root: Path | None = None, image_size: int | None = None, val: bool = True) -> Data:
    """Return the data set, its photographs shrunk to `image_size` pixels a side (None: SIZE). root, val: as in `load`."""
    size = image_size or SIZE
    return Data(*load(root, size, val=val), CLASSES, size, HALF, sigmoid=True)


def load(root: Path | None, size: int = SIZE, *, val: bool = True) -> tuple[Split, Split | None]:
    """Return the (training, validation) splits, the photographs shrunk to `size` pixels a side.

    root: the folder with PALM-Training400, PALM-Validation400 and the first of TABLES that is there. val=False reads the
    first of these only and returns None for the second split. Raises one UserError that lists all that is missing or wrong.
    """
    if root is None:
        raise UserError(f"--data-dir: where is iChallenge-PM? Its organisers give it out at https://palm.grand-challenge.org; "
                        f"name the folder that holds {TRAIN}, {VAL} and {TABLES[0]}")
    root = Path(root)
    parts = [_train_files(_unnested(root / TRAIN))]
    if val:
        table = next((root / name for name in TABLES if (root / name).exists()), root / TABLES[0])
        parts.append(_val_files(_unnested(root / VAL), table))
    alone = [f"{paths[0].parent}: all {len(labels)} photographs have label {labels[0]}; both labels are needed"
             for paths, labels, problems in parts if not problems and len(set(labels)) == 1]
    paths, labels, problems = ([*chain.from_iterable(kind)] for kind in zip(*parts, strict=True))
    both = _checked(paths, labels, problems + alone, size)
    count = len(parts[0][0])
    train, rest = (Split(both.images[part], both.labels[part], (both.names or ())[part])
                   for part in (slice(count), slice(count, None)))
    return train, rest if val else None


def _batched(split: Split, batch_size: int, seed: int | None) -> Reader:
    passes = 0

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal passes
        passes += 1
        for batch in batches(split, batch_size, lambda images, _: HALF(np.asarray(images)), seed=seed, epoch=passes)():
            yield batch.images, batch.labels.astype(np.float32)[:, None]
    return read


def _checked(paths: Sequence[Path], labels: Sequence[int], problems: Sequence[str], size: int = SIZE) -> Split:
    """Return the split of these photographs. Raises UserError for `problems` and all files that cannot be read."""
    images, unreadable = load_resized(paths, size)
    report_all([*problems, *unreadable])
    return Split(images, np.asarray(labels), [path.name for path in paths])


def _train_files(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    """Return (photographs, their labels, problems) of a folder whose file names tell the label."""
    files, problems = _pictures(folder)
    problems += [f"{file}: the first letter of a training photograph's name must be P (pathologic), H or N (not)"
                 for file in files if file.name[0].upper() not in LETTERS]
    return files, [LETTERS.get(file.name[0].upper(), 0) for file in files], problems


def _val_files(folder: Path, table: Path) -> tuple[list[Path], list[int], list[str]]:
    """Return (photographs, their labels, problems) of a folder with a table."""
    files, problems = _pictures(folder)
    labels, wrong = read_labels(table, [file.name for file in files]) if files else ({}, [])
    return files, [labels.get(file.name, 0) for file in files], problems + wrong


def _pictures(folder: Path) -> tuple[list[Path], list[str]]:
    if not folder.is_dir():
        return [], [f"{folder}: no such folder"]
    names, problems = list_images(folder)
    return [folder / name for name in names], problems if names or problems else [f"{folder}: the folder is empty"]


def _unnested(folder: Path) -> Path:
    """Return the folder of the same name inside `folder` if there is one, as the organisers' archives unpack."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder
