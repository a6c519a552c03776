"""Label tables of iChallenge-PM, checked against the pictures they are about."""

from collections.abc import Iterable
from pathlib import Path

from ...errors import UserError
from ..spreadsheets import read_cells, split_header

NAME, LABEL = "imgName", "Label"


def read_labels(table: Path, images: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Return ({name of an image: 0 or 1}, what is wrong with the table, each with file and line).

    table: has the columns imgName and Label (in any case) and any others, such as an index column; see `spreadsheets.read_cells`
    for its kinds. images: names of the files it must be about, each exactly once, whatever the case of the letters. With any
    problem the labels are of no use.
    """
    problems: list[str] = []
    try:
        cells = read_cells(table)
        header, body = split_header(table, cells, problems)
    except UserError as error:
        return {}, [str(error)]
    columns = [name.lower() for name in header]
    counts = {name: columns.count(name.lower()) for name in (NAME, LABEL)}
    missing = [f"{table}:{cells.index[0]}: {count or 'no'} column{'s' * bool(count)} {name!r}; found: "
               f"{', '.join(filter(None, header))}" for name, count in counts.items() if count != 1]
    if missing:
        return {}, missing
    files: dict[str, str] = {}
    for image in sorted(images):
        if image.lower() in files:
            problems.append(f"{image} and {files[image.lower()]} differ in the case of letters only")
        files[image.lower()] = image
    labels: dict[str, int] = {}
    seen: dict[str, int] = {}
    pairs = body[[columns.index(NAME.lower()), columns.index(LABEL.lower())]]
    for number, name, text in pairs.itertuples(name=None):
        where = f"{table}:{number}"
        if not name:
            problems.append(f"{where}: no {NAME}")
            continue
        if name.lower() in seen:
            problems.append(f"{where}: {name} again, first in line {seen[name.lower()]}")
            continue
        seen[name.lower()] = number
        if name.lower() not in files:
            problems.append(f"{where}: there is no image {name}")
        if text not in ("0", "1", "0.0", "1.0"):
            problems.append(f"{where}: label {text!r} of {name} is not 0 or 1" if text else f"{where}: no label of {name}")
        elif name.lower() in files:
            labels[files[name.lower()]] = int(float(text))
    problems += [f"image {image} is not in {table}" for image in files.values() if image.lower() not in seen]
    return labels, problems
