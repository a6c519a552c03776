"""`folder`: pictures of one's own, a folder for each class, with train/ and val/ above them or without."""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ..dataset import Data
from ..images.files import ImageFiles, entries, is_folder, list_images, strange_names
from ..images.transforms import EXTENSIONS
from ..manifest import Manifest, in_order, to_data
from ..reader import Split

TRAIN, VAL = ("train", "training"), ("val", "valid", "validation", "test", "testing")      # the first that is there is taken


def dataset(*, root: Path | None = None, image_size: int | None = None, val: bool = True) -> Data:
    """Return the data set of the folder `root`, after a check of every file (`files.survey`). Raises one UserError for all
    mistakes.

    As `read_manifest` finds it; image_size: as in `manifest.to_data`.
    """
    return to_data(read_manifest(root=root, val=val), image_size)


def read_manifest(*, root: Path | None = None, val: bool = True) -> Manifest:
    """Return what is in the folder `root`: root/CLASS/*.jpg, or root/train/CLASS/*.jpg and root/val/CLASS/*.jpg.

    The names in TRAIN and VAL are allowed. Without one of VAL, or with val=False, there is no validation split. Other files in
    `root` are ignored; pictures and other folders there are mistakes.
    """
    if root is None:
        raise UserError("--data-dir: where are the pictures? Name the folder that holds a folder for each class, or train/ and "
                        "val/ with these")
    root, notes = Path(root), []
    inside = entries(root)
    loose = [entry.path for entry in inside if not is_folder(entry) and entry.name.lower().endswith(EXTENSIONS)]
    folders = {entry.name.lower(): entry.name for entry in inside if is_folder(entry)}
    if not folders:
        raise UserError(f"{root}: no folders in it{f', but {len(loose):,} pictures' if loose else ''}; put the pictures of each "
                        f"class into a folder named like it, or list them in a table (--dataset table --table FILE)")
    problems = [f"{path}: a picture outside the class folders; move it into one" for path in loose]
    train, test = (next((folders[name] for name in names if name in folders), None) for names in (TRAIN, VAL))
    if train is None:
        train, test = "", None
    else:
        problems += strange_names(root, [entry.name for entry in inside if is_folder(entry)])          # train beside TRAIN
        for name in sorted(set(folders.values()) - {train, test}):
            if name.lower() in VAL:
                notes.append(f"{root / name} is not used: {test} is there to validate on")
            else:
                problems.append(f"{root / name}: a folder beside {train}; move it elsewhere")
    found = _classes(root, train, problems)
    classes = in_order(list(found))
    if len(found) < 2:
        problems.append(f"{root / train}: {f'only one class folder, {classes[0]!r}' if found else 'no class folders'}; a folder "
                        f"for each of two or more classes is needed")
    if test is None or not val:
        return Manifest(_split(root, train, classes, found), None, tuple(classes), problems, notes)
    judged = _classes(root, test, problems)
    problems += [f"{root / test / name}: a class that {root / train} does not have; it has {', '.join(classes)}"
                 for name in judged if found and name not in found]
    if missing := [name for name in classes if name not in judged]:
        notes.append(f"no validation picture of {', '.join(missing)}")
    return Manifest(_split(root, train, classes, found), _split(root, test, classes, judged), tuple(classes), problems, notes)


def _split(root: Path, part: str, classes: list[str], found: dict[str, list[str]]) -> Split:
    names = (f"{part}{'/' * bool(part)}{name}/{file}" for name in classes for file in found.get(name, ()))
    return Split(ImageFiles(root, names), np.repeat(np.arange(len(classes)), [len(found.get(name, ())) for name in classes]))


def _classes(root: Path, part: str, problems: list[str]) -> dict[str, list[str]]:
    """Return {class: names of its pictures} of the class folders in root/part; add to `problems`."""
    folder = root / part
    inside = entries(folder)
    names = [entry.name for entry in inside if is_folder(entry)]
    problems += strange_names(folder, names)
    if part:
        problems += [f"{entry.path}: not a class folder; move it elsewhere" for entry in inside if not is_folder(entry)]
    found = {}
    for name in names:
        found[name], wrong = list_images(folder / name)
        problems += wrong or ([] if found[name] else [f"{folder / name}: no picture of this class"])
    return found
