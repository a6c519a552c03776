"""Write ten validation pictures of the data set `shapes` as PNG files: paddle-cls draw-shapes FOLDER"""

from collections.abc import Sequence
from pathlib import Path

from ..data.sets.shapes import write_examples
from ..errors import UserError

PROGRAM = "python -m paddle_cls.data.shapes"


def main(argv: Sequence[str]) -> int:
    """Write ten pictures into the folder that the arguments name; return the exit status."""
    if len(argv) != 1 or argv[0].startswith("-") or not argv[0]:
        raise UserError(f"name a folder to write ten of the validation pictures into: {PROGRAM} FOLDER")
    for path in write_examples(Path(argv[0])):
        print(path)
    return 0
