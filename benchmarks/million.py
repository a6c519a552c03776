"""Starting on a million pictures: python benchmarks/million.py [--quick] [--pictures 1000000] [--rounds 3]

A folder of 1,000 JPEGs is linked under 1,000 names, a class each, and all are listed in a table. Measured in a process of its
own: the time from the start of reading to a data set whose files are all checked to be there, and to its first batch of 128
(random resized crop to 224), and the peak of that process's memory after 20 more batches; for the table and for the folder.
Linux or macOS.
"""

import argparse
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.folder import make_photo
from benchmarks.rounds import Measure, Side, machine, table
from paddle_cls.system.entry import reported

FILES = 1000                                       # in the one folder that there is


def make(folder: Path, count: int) -> None:
    """Make the folders pictures/ and classes/, and table.csv of `count` pictures in the latter."""
    (folder / "pictures").mkdir()
    for number in range(FILES):
        (folder / "pictures" / f"{number:08d}.jpg").write_bytes(make_photo(number % 50))
    (folder / "classes").mkdir()
    with open(folder / "table.csv", "w", encoding="utf-8") as file:
        file.write("path,label\n")
        for number in range(count // FILES):
            name = f"class_{number:04d}"
            (folder / "classes" / name).symlink_to(folder / "pictures")
            file.writelines(f"classes/{name}/{place:08d}.jpg,{name}\n" for place in range(FILES))


def main() -> None:
    """Take the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 50,000 pictures")
    parser.add_argument("--pictures", type=int, help="how many (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, help="how often all is measured (default: 3)")
    chosen = parser.parse_args()
    chosen.pictures = chosen.pictures or (50_000 if chosen.quick else 1_000_000)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    ours = Side(Path(__file__).with_name("ours.py"))
    kinds = {"table": ("table", "table.csv"), "folder": ("root", "classes")}
    units = {"ready": "s to a checked data set", "first": "s to the first batch", "memory": "GB of memory"}
    measures = {(kind, key): Measure(f"{kind}, {unit}", 2) for kind in kinds for key, unit in units.items()}
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary), chosen.pictures)
        for number in range(chosen.rounds):
            for kind, (argument, place) in kinds.items():
                answer = ours.ask("first_batch", dataset=kind, **{argument: str(Path(temporary, place))})
                for key in units:
                    measures[kind, key].ours.append(answer[key])
                print(f"round {number + 1}, {kind}: {answer}", file=sys.stderr, flush=True)
    print(f"{machine()}; {answer['images']:,} pictures; {chosen.rounds} rounds\n")
    print(table(list(measures.values())))


if __name__ == "__main__":
    with reported("million.py"):
        main()
