"""Check the user's own pictures: decode all files, find copies, draw a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from ..errors import UserError
from ..formats import fonts
from ..system.files import hash_of
from ..system.threads import for_each
from .images.transforms import decode, resize
from .manifest import Manifest, pictures_of
from .reader import Split

SHOWN = 20                                         # problems of a kind that are listed, and classes on the sheet
ROW, SIDE = 8, 96                                  # pictures of a class on the sheet, and their pixels a side


def splits_of(manifest: Manifest) -> dict[str, Split]:
    """Return the splits that there are by their names."""
    return {"train": manifest.train} | ({"val": manifest.val} if manifest.val is not None else {})


def findings(manifest: Manifest) -> tuple[list[str], dict[str, list[str]]]:
    """Return (lines about what there is, {kind of problem: where it is found}), having decoded every file."""
    wrong = {"mistakes": manifest.problems, "not readable": [], "in train and val": [], "under two labels": [], "copies": []}
    sizes: list[np.ndarray] = []
    copies: dict[str, list[tuple[str, int]]] = {}
    for name, split in splits_of(manifest).items():
        measured, hashes = _read_all(name, split, wrong["not readable"])
        sizes.append(measured)
        for index, digest in enumerate(hashes):
            copies.setdefault(digest, []).append((name, index))
    copies.pop("", None)
    splits = splits_of(manifest)
    for indices in copies.values():
        if len(indices) > 1:
            labels = {splits[name].labels[index] for name, index in indices}
            kind = ("under two labels" if len(labels) > 1 else
                    "in train and val" if len({name for name, _ in indices}) > 1 else "copies")
            wrong[kind].append(" = ".join(pictures_of(splits[name]).name(index) for name, index in indices))
    return [*_counts(manifest), *_sizes(np.concatenate(sizes))], {kind: found for kind, found in wrong.items() if found}


def _read_all(name: str, split: Split, unreadable: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return ((width, height) int64 (n, 2) of the files that can be decoded, the hash of each file or "")."""
    sizes, hashes = np.zeros((len(split), 2), np.int64), [""] * len(split)
    problems, files = [""] * len(split), pictures_of(split)

    def read(index: int) -> None:
        path = files.path(index)
        try:
            sizes[index] = decode(path).shape[1::-1]
            hashes[index] = hash_of(Path(path))
        except UserError as error:
            problems[index] = files.where(index) + str(error)
        bar.update()

    with tqdm(total=len(split), desc=f"reading {name}", unit="img", leave=False, disable=None) as bar:
        for_each(read, len(split))
    unreadable += filter(None, problems)
    return sizes[sizes[:, 0] > 0], hashes


def _counts(manifest: Manifest) -> list[str]:
    counts = {name: np.bincount(split.labels, minlength=len(manifest.classes)) for name, split in splits_of(manifest).items()}
    width = max(map(len, (*manifest.classes, "class")))
    lines = ["  ".join([f"{name:{width}}", *(f"{of[label]:8,}" for of in counts.values())])
             for label, name in enumerate(manifest.classes)]
    most, least = counts["train"].max(), counts["train"].min()
    return ["  ".join([f"{'class':{width}}", *(f"{name:>8}" for name in counts)]), *lines,
            f"balance: the largest class has {most:,} training pictures, the smallest {least:,}"
            + ("; see --class-weights and --sampling of train.py" if most > 2 * least else "")]


def _sizes(sizes: np.ndarray) -> list[str]:
    return [f"{name}: {of.min():,} to {of.max():,} pixels, median {np.median(of):,.0f}"
            for name, of in zip(("width", "height"), sizes.T, strict=True) if len(of)]


def contact_sheet(manifest: Manifest) -> Image.Image:
    """Return a row for each of the first SHOWN classes: its name and up to ROW training pictures, evenly out of all."""
    classes = manifest.classes[:SHOWN]
    sheet = Image.new("RGB", (SIDE * (ROW + 2), SIDE * len(classes)), "white")
    draw, font = ImageDraw.Draw(sheet), _font(classes)
    for row, name in enumerate(classes):
        draw.text((6, SIDE * row + SIDE // 2), name[:24], "black", font, anchor="lm")
        indices = np.flatnonzero(manifest.train.labels == row)
        for column, index in enumerate(indices[np.linspace(0, len(indices) - 1, min(ROW, len(indices))).astype(int)]):
            try:
                image = decode(pictures_of(manifest.train).path(index), SIDE)
            except UserError:                      # told of already
                continue
            sheet.paste(Image.fromarray(resize(image, SIDE)), (SIDE * (column + 2), SIDE * row))
    return sheet


def _font(names: Sequence[str]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    file = fonts.for_names(names)
    try:
        return ImageFont.truetype(str(file), 14) if file else ImageFont.load_default(14)
    except OSError as error:
        raise UserError(f"{file}: no font that can be read: {error}; name another with {fonts.VARIABLE}") from None
