"""Label tables in the form of the FashionAI contest (2018): path, task, and a letter for each class of the task."""

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ..spreadsheets import strange_cells, texts

if TYPE_CHECKING:
    import pandas


def is_fashion(cells: "pandas.DataFrame") -> bool:
    """Return whether a table (of `spreadsheets.read_cells`) has this form: no header, and letters in the third column."""
    first = cells.iloc[0, 2] if len(cells) and cells.shape[1] > 2 else ""
    return bool(first) and not set(first) - set("nmy?")


def task_lines(table: Path, cells: "pandas.DataFrame", task: str | None, problems: list[str],
               notes: list[str]) -> tuple["pandas.DataFrame", list[str]]:
    """Return (the lines of one task with the columns path and label, the classes, named by their position from 0).

    y is at the place of the class, n at those of the others. m, "maybe", is taken for n: the picture is trained and judged
    as of its class alone; how often it occurs is added to `notes`. Other letters, and lines that are too short or too long,
    are added to `problems`. task: which, where there are several. Raises UserError, with the tasks there are, for another.
    """
    tasks = sorted(set(cells[1]))
    if task is None and len(tasks) > 1:
        raise UserError(f"{table}: {len(tasks)} tasks; choose one with --task: {', '.join(tasks)}")
    if task is not None and task not in tasks:
        raise UserError(f"--task {task}: {table} has no such task; it has: {', '.join(tasks)}")
    lines = cells.loc[cells[1] == (task or tasks[0]), [0, 2]].set_axis(["path", "label"], axis=1)
    if strange := strange_cells(table, "label", lines["label"]):
        problems += strange.values()
        lines = lines[~lines.index.isin(strange)]
    letters = lines["label"]
    if not len(letters):
        return lines, []
    count = int(letters.str.len().mode()[0])
    good = letters.str.fullmatch("[nm]*y[nm]*") & (letters.str.len() == count)
    problems += [f"{table}:{line}: {text!r} is not {count} letters, one y and the others n or m"
                 for line, text in letters[~good].items()]
    if maybe := letters.str.contains("m").sum():
        notes.append(f"{table}: {maybe:,} of {len(lines):,} pictures are perhaps (m) of another class too, which counts as no")
    places = [str(text.find("y")) for text in letters[good]]
    return lines[good].assign(label=texts(places, letters.index[good])), [str(place) for place in range(count)]
