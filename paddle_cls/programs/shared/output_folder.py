"""The folder that a program's result goes to: it takes the place of an earlier result, and of nothing else."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from ...errors import UserError


def check(folder: Path, own: Collection[str], what: str) -> None:
    """Raise UserError unless `folder` can be made, is empty, or holds nothing but an earlier result.

    own: the files of that, as seen from the folder. what: such as "a report".
    """
    if not folder.parent.is_dir():
        raise UserError(f"--output {folder}: there is no folder {folder.parent}; make it first")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file; name a folder")
    known = {str(path) for name in own for path in (PurePosixPath(name), *PurePosixPath(name).parents)}
    for found in (folder.iterdir, lambda: folder.rglob("*")):  # first what lies at the top: a stranger's folder may be large
        names = {path.relative_to(folder).as_posix() for path in found()} if folder.exists() else set()
        if names - known:
            raise UserError(f"--output {folder}: holds {min(names - known)}, which is no part of {what}; choose another folder")
